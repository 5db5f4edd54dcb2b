"""The model files of one cell: converted, measured, completed with their contract, and loaded as a device will."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from edge_classify.errors import DataError, EdgeClassifyError, explain_os_error, first_line
from edge_classify.learn.memory import encode
from edge_classify.model.classifier import Classifier
from edge_classify.model.manifest import Evaluation, ManifestEntry
from edge_classify.model.metadata_writing import Description, add_metadata
from edge_classify.model.model_file import CONTRACT_PART, LABELS_PART, MEMORY_PART, read_model_file
from edge_classify.model.parts import attach, encode_labels
from edge_classify.model.self_test_recording import record_self_test
from edge_classify.system.atomic_write import write_atomic
from edge_classify.system.checksum import file_sha256
from edge_classify.system.counted import counted
from edge_train.backbone import SCALINGS
from edge_train.run_folder import Cell, Run, read_run

from .conversion import Converter
from .edge_json import encode_contract
from .settings import DYNAMIC, FLOAT16, FLOAT32, INT8, Settings
from .verification import Negatives, accepts_too_much, loses_too_much, make_negatives, measure, points_lost

# The measured figures that the manifest repeats.
_FIGURES = (
    "photos",
    "accuracy",
    "accuracy_with_unknown",
    "float32_accuracy",
    "kept",
    "float32_kept",
    "lost",
    "gained",
    "agreement",
    "confidence_change",
    "calibration_error",
    "made_accepted",
)
# Of the longest name, mobilenet_v2_0.35_160_float32.tflite.
_NAME_WIDTH = 36
# What to use instead of a precision that loses too much.
_REMEDIES = {
    FLOAT32: "train this cell again",
    FLOAT16: f"use --precision {FLOAT32}",
    DYNAMIC: f"use --precision {FLOAT16}",
    INT8: f"use --precision {FLOAT16} or {DYNAMIC}",
}


@dataclass(frozen=True)
class CellJob:
    """One cell to convert, in a process of its own.

    cell: its place in the run, and title its name. precisions: those to make. folder: where to, for the time being.
    """

    run: Path
    cell: int
    title: str
    precisions: tuple[str, ...]
    folder: Path
    settings: Settings


@dataclass(frozen=True)
class CellFiles:
    """What became of a cell, whose files are in the job's folder.

    lines: to print, one per file. entries: for the manifest; none if there is a failure, in one line.
    details: the failure's traceback.
    """

    lines: tuple[str, ...]
    entries: tuple[ManifestEntry, ...]
    failure: str = ""
    details: str = ""


def describe(job: CellJob) -> str:
    """What a job works on, in words."""
    return f"cell {job.title}"


def model_file_name(cell: Cell, precision: str) -> str:
    return f"mobilenet_v2_{cell.name}_{precision}.tflite"


def make_cell_files(job: CellJob) -> CellFiles:
    """Make all files of a cell; that one fails is returned, not raised, and without the others."""
    run = read_run(job.run)
    cell = run.cells[job.cell]
    lines: list[str] = []
    try:
        return CellFiles(entries=_make_files(job, run, cell, lines), lines=tuple(lines))
    except Exception as error:  # TensorFlow's converter raises errors of any kind; the other cells are still wanted
        failure = f"cell {job.title}: {_explain(error)} (none of its files was written)"
        return CellFiles(tuple(lines), (), failure, traceback.format_exc())


def prepare_process() -> None:
    """Use one thread per process, and compute graphs as they are.

    So sums are taken in the same order, and files are equal, whatever the number of cores.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _explain(error: Exception) -> str:
    if isinstance(error, EdgeClassifyError):
        return str(error)
    if isinstance(error, OSError):
        return explain_os_error(error)
    if isinstance(error, MemoryError):
        return "not enough memory: use --workers 1, or close other programs"
    return f"unexpected {type(error).__name__} ({first_line(error)[:200]}): use --traceback for a bug report"


def _make_files(job: CellJob, run: Run, cell: Cell, lines: list[str]) -> tuple[ManifestEntry, ...]:
    """Make a cell's files; a line for each is added to `lines`, whatever comes after."""
    converter = Converter(cell, run.calibration(cell.resolution, job.settings.calibration_photos))
    negatives = cache(partial(make_negatives, run, cell))  # when there is a file to measure
    entries = []
    for precision in job.precisions:
        path, figures = _make_file(run, converter, negatives, precision, job)
        lines.append(_line(path, figures))
        check_figures(precision, figures, job.settings)
        entries.append(_entry(path, cell, precision, figures))
    return tuple(entries)


def _make_file(
    run: Run, converter: Converter, negatives: Callable[[], Negatives | None], precision: str, job: CellJob
) -> tuple[Path, dict[str, Any]]:
    """Write one model file; returns its path and its figures, as `measure` has them."""
    cell, settings = converter.cell, job.settings
    path = job.folder / model_file_name(cell, precision)
    scaling = SCALINGS[cell.backbone]
    description = Description(
        name=path.stem,
        text=f"MobileNetV2 {cell.alpha} at {cell.resolution} pixels, {precision}, {len(run.labels)} labels"
        + ("" if run.crop is None else f", for the part {run.crop} of the picture (x, y, width, height in fractions)"),
        labels_file=LABELS_PART,
        mean=scaling.mean,
        deviation=scaling.deviation,
        author=settings.author,
        license=settings.license,
    )
    model = add_metadata(converter.convert(precision), description)
    labels = {LABELS_PART: encode_labels(run.labels)}
    write_atomic(path, attach(model, labels))
    # The file was made just now: no need to try in another process first whether the interpreter survives it.
    classifier = Classifier(replace(read_model_file(path), intact=True))
    figures = measure(classifier, run, cell, negatives())
    self_test, pictures = record_self_test(classifier, model, run.labels, precision, converter.calibration, run.crop)
    memory = cell.memory if settings.memory and cell.has_unknown else None
    contract = encode_contract(run, cell, precision, model, self_test, figures, memory)
    remembered = {} if memory is None else {MEMORY_PART: encode(memory)}
    write_atomic(path, attach(model, {**labels, CONTRACT_PART: contract, **pictures, **remembered}))
    Classifier(path)  # reads the contract and runs the self-test
    return path, figures


def check_figures(precision: str, figures: Mapping[str, Any], settings: Settings) -> None:
    """Raises DataError, with what to do, for a file that loses too much accuracy, or accepts too many negatives."""
    _check_loss(precision, figures, settings.max_drop)
    _check_unknown(precision, figures, settings.max_accepted)


def _check_loss(precision: str, figures: Mapping[str, Any], max_drop: float) -> None:
    """Raise DataError if a file with these figures loses more than `max_drop` points."""
    if loses_too_much(figures, max_drop):
        raise DataError(
            f"{precision} loses {points_lost(figures):.1f} points, {max_drop:g} allowed: "
            f"{_REMEDIES[precision]}, or raise --max-drop"
        )


def _check_unknown(precision: str, figures: Mapping[str, Any], max_accepted: float) -> None:
    if accepts_too_much(figures, max_accepted):
        raise DataError(
            f"{precision}: unknown gives a class's label to {figures['made_accepted']:.0%} of the negatives made to "
            f"test it, {max_accepted:g}% allowed: use another width or resolution, put pictures of what else the "
            "camera sees into unknown/ and train again, or raise --max-accepted"
        )


def _entry(path: Path, cell: Cell, precision: str, figures: Mapping[str, Any]) -> ManifestEntry:
    return {
        "file": path.name,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "alpha": cell.alpha,
        "resolution": cell.resolution,
        "precision": precision,
        "parameters": cell.parameters,
        "multiply_adds": cell.multiply_adds,
        "figures": cast(Evaluation, {name: figures[name] for name in _FIGURES if name in figures}),
    }


def heading(run: Run) -> str:
    """What stands above the lines of `CellFiles`; nothing if nobody knows what the held-out photos show."""
    if run.held_out_labels is None:
        return ""
    columns = "correct  among classes  float model  agreement  accepted"
    return (
        f"measured on {len(run.held_out_labels)} held-out photos, by the code that the device runs; unknown counts as "
        "wrong in `correct`;\n`accepted`: how many of the negatives made to test `unknown` are given a class's label\n"
        f"  {'file':<{_NAME_WIDTH}}     kB  {columns}"
    )


def _line(path: Path, figures: Mapping[str, Any]) -> str:
    kilobytes = path.stat().st_size / 1e3
    if "accuracy" not in figures:
        agreement = (
            f", agreement {figures['agreement']:.1%} on {counted(figures['photos'], 'photo')}"
            if figures["photos"]
            else ""
        )
        return f"{path.name}: {kilobytes:.0f} kB{agreement}"
    accepted = f"{figures['made_accepted']:.1%}" if "made_accepted" in figures else "–"
    return (
        f"  {path.name:<{_NAME_WIDTH}}  {kilobytes:5.0f}  {figures['accuracy_with_unknown']:7.1%}  "
        f"{figures['accuracy']:13.1%}  {figures['float32_accuracy']:11.1%}  {figures['agreement']:9.1%}  {accepted:>8}"
    )
