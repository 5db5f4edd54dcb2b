"""The conversion story, top down: a run folder → cells, several at once → model files, manifest and report."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from edge_classify.errors import DataError, ModelFileError
from edge_classify.model.manifest import ManifestEntry, read_manifest
from edge_classify.recognize import recognize
from edge_train.backbone import TENSORFLOW_MEMORY_BYTES
from edge_train.run_folder import Run, read_run
from edge_train.workers import in_processes

from .cell_files import CellFiles, CellJob, make_cell_files, model_file_name, prepare_process, remove_leftovers
from .exports import EXPORTS, check_exports
from .imagenet import ImagenetModels, write_imagenet_run
from .manifest import cell_key, is_unchanged, write_manifest
from .settings import Settings
from .verification import accepts_too_much, loses_too_much


@dataclass(frozen=True)
class Conversion:
    """What a conversion left.

    files: the model files that were asked for. made: how many of them were made now; the others were there already.
    report: `report.html`, or None if nobody knows what the held-out photos show. exports: for third-party programs.
    """

    files: tuple[Path, ...]
    made: int
    report: Path | None
    exports: tuple[Path, ...]


def convert(run: Path, output: Path, settings: Settings | None = None) -> Conversion:
    """Make the model files of a run folder, with `manifest.json` and `report.html`, in the folder `output`.

        convert(Path("runs/cups"), Path("models"), Settings(precisions=("int8",)))

    Files that would be the same as those already in `output` are not made again. A cell that fails leaves no file,
    while the others are converted; then DataError is raised, with the cells' tracebacks as its notes. Raises DataError
    too if `run` or `output` cannot be used, and UsageError for an export that no cell fits.
    """
    settings = settings or Settings()
    _check_output(output)
    trained = read_run(run)
    check_exports(settings.exports, trained)
    output.mkdir(parents=True, exist_ok=True)
    remove_leftovers(output)

    keys = [
        cell_key(trained, cell, settings.calibration_photos, settings.author, settings.license)
        for cell in trained.cells
    ]
    kept = _find_kept(output, keys, settings)
    results = _make_missing(_plan(trained, output, settings, kept), keys)
    made = [entry for files in results for entry in files.entries]

    entries = [*kept.values(), *made]
    report, exports = _write_summaries(trained, output, settings, entries) if entries else (None, ())
    _raise_failures(results)
    asked_for = [output / model_file_name(cell, name) for cell in trained.cells for name in settings.precisions]
    return Conversion(tuple(asked_for), len(made), report, exports)


def convert_imagenet(models: ImagenetModels, output: Path, settings: Settings | None = None) -> Conversion:
    """As `convert`, of the networks as they come, with their 1000 ImageNet classes. Raises UsageError or DataError."""
    settings = settings or Settings()
    models.check_precisions(settings.precisions)
    _check_output(output)
    with tempfile.TemporaryDirectory() as folder:
        write_imagenet_run(models, Path(folder))
        return convert(Path(folder), output, settings)


def _check_output(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: this is a file, not a folder: give another name with -o")
    kind = recognize(output)
    if kind in ("run folder", "photos"):
        what = "a run folder" if kind == "run folder" else "a folder of photos"
        raise DataError(f"{output}: {what}, which model files do not belong in: give another folder with -o")


def _find_kept(output: Path, keys: Sequence[str], settings: Settings) -> dict[str, ManifestEntry]:
    """Entries of the manifest, by file, that are still what this run would give."""
    try:
        entries = read_manifest(output)["files"]
    except ModelFileError:
        return {}  # there is none yet, or a damaged one, which will be replaced
    return {
        entry["file"]: entry
        for entry in entries
        if entry.get("key") in keys
        and is_unchanged(output, entry)
        and not loses_too_much(entry["figures"], settings.max_drop)
        and not accepts_too_much(entry["figures"], settings.max_accepted)
    }


def _plan(run: Run, output: Path, settings: Settings, kept: Mapping[str, ManifestEntry]) -> list[CellJob]:
    """A job for each cell that misses files."""
    jobs = []
    for number, cell in enumerate(run.cells):
        missing = tuple(name for name in settings.precisions if model_file_name(cell, name) not in kept)
        if missing:
            jobs.append(CellJob(run.folder, number, missing, output, settings))
    return jobs


def _make_missing(jobs: Sequence[CellJob], keys: Sequence[str]) -> list[CellFiles]:
    """Do the jobs in parallel; prints a line for each file. Entries get the key of their cell."""
    results = []
    with tqdm(total=len(jobs), desc="converting", unit="cell", disable=not jobs) as progress:
        done = in_processes(make_cell_files, jobs, prepare_process, TENSORFLOW_MEMORY_BYTES)
        for job, files in zip(jobs, done, strict=True):
            for line in files.lines:
                progress.write(line)
            progress.update()
            for entry in files.entries:
                entry["key"] = keys[job.cell]
            results.append(files)
    return results


def _write_summaries(
    run: Run, output: Path, settings: Settings, entries: Sequence[ManifestEntry]
) -> tuple[Path | None, tuple[Path, ...]]:
    """Write report, manifest and exports; returns the report's path, if there is one, and those of the exports."""
    report = None
    if run.held_out_labels is not None:
        from .report import write_report  # loads matplotlib, which the workers do not need

        report = write_report(output, run.folder.resolve().name, entries)
    write_manifest(output, run, entries)
    exports = [path for name in settings.exports for path in EXPORTS[name](output, run.labels, entries)]
    return report, tuple(exports)


def _raise_failures(results: Sequence[CellFiles]) -> None:
    failed = [files for files in results if files.failure]
    if not failed:
        return
    error = DataError(f"{'; '.join(files.failure for files in failed)} (no file of a failed cell was written)")
    for files in failed:
        error.add_note(f"\n{files.failure}\n{files.details}")
    raise error
