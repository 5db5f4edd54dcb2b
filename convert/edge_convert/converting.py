"""The conversion story, top down: a run folder → cells, several at once → model files, manifest and report."""

from __future__ import annotations

import tempfile
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edge_classify.benchmark.candidates import read_candidates
from edge_classify.benchmark.rule import BoardChoice, choose_for_boards, comparable
from edge_classify.errors import DataError
from edge_classify.model.manifest import ManifestEntry
from edge_classify.system.packages import install_command
from edge_train.backbone import TENSORFLOW_MEMORY_BYTES, require_tensorflow
from edge_train.cluster import Cluster
from edge_train.progress import show_progress
from edge_train.run_folder import Run, read_run
from edge_train.workers import WorkerKilledError, in_processes

from .cell_files import (
    CellFiles,
    CellJob,
    check_figures,
    describe,
    heading,
    make_cell_files,
    model_file_name,
    prepare_process,
)
from .exports import EXPORTS, check_exports, warn_of_crop
from .imagenet import ImagenetModels, write_imagenet_run
from .manifest import cell_key, write_manifest
from .model_folder import check_output, keep_current, open_output, warn_of_unlisted
from .on_cluster import convert_on
from .settings import FLOAT32, INT8, Settings
from .versions import needs_tensorflow

# Which edge-convert has beside what edge-train needs.
_PACKAGES = ("tensorflow>=2.20,<3", "ai-edge-quantizer>=0.10")


@dataclass(frozen=True)
class Conversion:
    """What a conversion left.

    files: the model files that were asked for. made: how many of them were made now; the others were there already.
    report: `report.html`, or None if nobody knows what the held-out photos show. exports: for third-party programs.
    choices: which file to take for which board, of all in the folder; none without a report.
    """

    files: tuple[Path, ...]
    made: int
    report: Path | None
    exports: tuple[Path, ...]
    choices: tuple[BoardChoice, ...]


def convert(run: Path, output: Path, settings: Settings | None = None, cluster: Cluster | None = None) -> Conversion:
    """Make the model files of a run folder, with `manifest.json` and `report.html`, in the folder `output`.

        convert(Path("runs/cups"), Path("models"), Settings(precisions=("int8",)))

    cluster: where the cells are converted; None: in processes here.

    Files that would be the same as those already in `output` are not made again. A cell that fails leaves no file,
    while the others are converted; then DataError is raised, with the cells' tracebacks as its notes. Raises DataError
    too if `run` or `output` cannot be used, or `output` has model files of another run or conversion, and UsageError
    for an export that no cell fits.
    """
    settings = settings or Settings()
    check_output(output)
    trained = read_run(run)
    resolutions = [cell.resolution for cell in trained.cells]
    check_exports(settings.exports, resolutions, settings.precisions, "train with --resolution 224")
    warn_of_crop(settings.exports, trained.crop)
    if needs_tensorflow(trained):
        require_tensorflow(
            f"{run}: converting weights of Keras",
            "train with --backbone FILE.tflite",
            _PACKAGES,
        )
    # The head that is appended to a backbone file is written in int8 already.
    _check_quantizer(settings.precisions, {FLOAT32} if needs_tensorflow(trained) else {FLOAT32, INT8})
    asked_for = [model_file_name(cell, name) for cell in trained.cells for name in settings.precisions]
    with open_output(output) as unfinished:
        kept = keep_current(output, trained, settings, asked_for)
        made, failures = _make_missing(trained, output, unfinished, settings, kept, cluster)
        entries = [*kept.values(), *made]
        failures += _find_losses([kept[name] for name in asked_for if name in kept], settings)
        choices = _choose(trained, output, entries)
        report, exports = _write_summaries(trained, output, settings, entries, choices) if entries else (None, ())
    _raise_failures(failures)
    return Conversion(tuple(output / name for name in asked_for), len(made), report, exports, choices)


def _check_quantizer(precisions: Iterable[str], without: set[str]) -> None:
    """Raise DataError if a precision needs a package that is not installed. without: precisions that do not need it."""
    wanted = [name for name in precisions if name not in without]
    if wanted and find_spec("ai_edge_quantizer") is None:
        raise DataError(
            f"--precision {' '.join(wanted)} needs a package that is not installed: "
            f"{install_command('ai-edge-quantizer>=0.10')}, or use --precision {' '.join(sorted(without))}"
        )


def convert_imagenet(
    models: ImagenetModels, output: Path, settings: Settings | None = None, cluster: Cluster | None = None
) -> Conversion:
    """As `convert`, of the networks as they come, with their 1000 ImageNet classes. Raises UsageError or DataError."""
    settings = settings or Settings()
    models.check_precisions(settings.precisions)
    check_exports(settings.exports, models.resolutions, settings.precisions, "use --resolution 224")
    require_tensorflow("edge-convert imagenet", "use edge-train with --backbone FILE.tflite", _PACKAGES)
    _check_quantizer(settings.precisions, {FLOAT32})
    check_output(output)
    with tempfile.TemporaryDirectory() as folder:
        write_imagenet_run(models, Path(folder))
        return convert(Path(folder), output, settings, cluster)


def _plan(run: Run, unfinished: Path, settings: Settings, kept: Container[str]) -> list[CellJob]:
    """A job for each cell that misses files."""
    jobs = []
    for number, cell in enumerate(run.cells):
        missing = tuple(name for name in settings.precisions if model_file_name(cell, name) not in kept)
        if missing:
            title = f"{cell.alpha} @ {cell.resolution}"
            jobs.append(CellJob(run.folder, number, title, missing, unfinished, settings))
    return jobs


def _make_missing(
    run: Run,
    output: Path,
    unfinished: Path,
    settings: Settings,
    kept: Mapping[str, ManifestEntry],
    cluster: Cluster | None,
) -> tuple[list[ManifestEntry], list[CellFiles]]:
    """Make what is not `kept`, several cells at once; returns the entries of what was made, and what failed.

    Prints a line for each file. A finished cell is moved into place and listed in the manifest at once.
    """
    jobs = _plan(run, unfinished, settings, kept)
    made: list[ManifestEntry] = []
    failures = []
    if any(INT8 in job.precisions for job in jobs) and not needs_tensorflow(run):
        print(
            "int8: with the value ranges of the backbone file; to take them from your photos, train with --weights, "
            "which needs TensorFlow"
        )
    if jobs and heading(run):
        print(heading(run))
    with show_progress("converting", len(jobs), "cell", disable=not jobs) as progress:
        prepare, memory = (prepare_process, TENSORFLOW_MEMORY_BYTES) if needs_tensorflow(run) else (None, 0)
        if cluster is None:
            done = in_processes(make_cell_files, jobs, prepare, memory, describe)
        else:
            done = convert_on(cluster, jobs, prepare, memory)
        try:
            for job, files in zip(jobs, done, strict=True):
                for line in files.lines:
                    progress.write(line)
                progress.update()
                for entry in files.entries:
                    entry["key"] = cell_key(run, run.cells[job.cell], settings)
                    (unfinished / entry["file"]).replace(output / entry["file"])
                made += files.entries
                if files.failure:
                    failures.append(files)
                else:
                    write_manifest(output, run, settings, [*kept.values(), *made])
        except WorkerKilledError as error:
            failures.append(CellFiles((), (), str(error)))
    return made, failures


def _find_losses(entries: Iterable[ManifestEntry], settings: Settings) -> list[CellFiles]:
    """A failure for each file made earlier that is not allowed now: made again it would be the same."""
    failures = []
    for entry in entries:
        try:
            check_figures(entry["precision"], entry["figures"], settings)
        except DataError as error:
            failures.append(CellFiles((), (), f"{entry['file']}, made earlier: {error}"))
    return failures


def _choose(run: Run, output: Path, entries: Sequence[ManifestEntry]) -> tuple[BoardChoice, ...]:
    """Which file to take; nothing if nobody knows what the held-out photos show."""
    if run.held_out_labels is None or not entries:
        return ()
    return tuple(choose_for_boards(comparable(read_candidates(output / entry["file"] for entry in entries))))


def _write_summaries(
    run: Run, output: Path, settings: Settings, entries: Sequence[ManifestEntry], choices: Sequence[BoardChoice]
) -> tuple[Path | None, tuple[Path, ...]]:
    """Write report, manifest and exports; returns the report's path, if there is one, and those of the exports."""
    report = None
    if run.held_out_labels is not None:
        from .report import write_report  # loads matplotlib, which the workers do not need

        report = write_report(output, run.folder.resolve().name, run.crop, entries, choices)
    write_manifest(output, run, settings, entries)
    warn_of_unlisted(output)
    exports = [path for name in settings.exports for path in EXPORTS[name](output, run.labels, entries)]
    return report, tuple(exports)


def _raise_failures(failed: Sequence[CellFiles]) -> None:
    if not failed:
        return
    error = DataError("; ".join(files.failure for files in failed))
    for files in failed:
        error.add_note(f"\n{files.failure}\n{files.details}")
    raise error
