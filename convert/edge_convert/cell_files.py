"""The model files of one cell: converted, measured, given their contract, and loaded as a device will load them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_classify.errors import DataError, EdgeClassifyError
from edge_classify.model.classifier import Classifier
from edge_classify.model.model_file import read_model_file

from . import contract
from .conversion import INTEGER, Converter
from .diagnosis import find_losses
from .edge_tpu import check_integer
from .graph import SCALINGS
from .metadata import add_metadata
from .run_folder import Cell, Run, read_run
from .verification import loses_too_much, measure, points_lost

# 1.0 at 224 was seen to need 1.1 GB; and a half more.
MEMORY = 1_600_000_000
_LAYERS_NAMED = 3
# A cell's folder until all its files are there; the process that writes it follows.
_UNFINISHED = ".edge-convert-"
# Of those measured, what the manifest repeats.
_FIGURES = (
    *("photos", "accuracy", "float32_accuracy", "kept", "float32_kept"),
    *("agreement", "confidence_change", "calibration_error"),
)


@dataclass(frozen=True)
class CellJob:
    """One cell to convert, told so that another process can do it.

    cell: its place in the run. calibration_photos: how many to take ranges from. max_drop: the accuracy that a file
    may lose, in points.
    """

    run: Path
    cell: int
    precisions: tuple[str, ...]
    output: Path
    calibration_photos: int
    max_drop: float
    author: str
    license: str


@dataclass(frozen=True)
class CellFiles:
    """What came of it: lines to print, and the manifest's entries, or why there are none."""

    lines: tuple[str, ...]
    entries: tuple[Mapping[str, Any], ...]
    failure: str = ""


def make_cell_files(job: CellJob) -> CellFiles:
    """Write all files of a cell, or none of them where one fails; whatever goes wrong is told, not raised."""
    trained = read_run(job.run)
    cell = trained.cells[job.cell]
    lines: list[str] = []
    try:
        # Hidden and on the same disk, so that finished files can be moved into place at once.
        with tempfile.TemporaryDirectory(prefix=f"{_UNFINISHED}{os.getpid()}-", dir=job.output) as folder:
            entries = []
            converter = Converter(cell, trained.calibration(cell.resolution, job.calibration_photos))
            for precision in job.precisions:
                began = time.perf_counter()
                path, figures = _make_file(job, trained, converter, precision, Path(folder))
                lines.append(_line(path, figures, time.perf_counter() - began))
                if loses_too_much(figures, job.max_drop):
                    where = f" ({_where_lost(converter, path)})" if precision != "float32" else ""
                    raise DataError(
                        f"{precision} loses {points_lost(figures):.1f} points, {job.max_drop:g} allowed{where}"
                    )
                entries.append(_entry(path, cell, precision, figures))
            for entry in entries:
                (Path(folder) / entry["file"]).replace(job.output / entry["file"])
        return CellFiles(tuple(lines), tuple(entries))
    except EdgeClassifyError as error:
        reason = str(error)
    except Exception as error:  # TensorFlow's converter fails in any way it likes; the other cells are still wanted
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
    return CellFiles(tuple(lines), (), f"cell {cell.alpha} @ {cell.resolution}: {reason}")


def remove_leftovers(output: Path) -> None:
    """Remove what processes left behind that were killed."""
    for folder in output.glob(f"{_UNFINISHED}*"):
        process = folder.name.removeprefix(_UNFINISHED).partition("-")[0]
        try:
            os.kill(int(process), 0)  # asks whether it is running
        except (ProcessLookupError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:  # it is, as another user's
            continue


def prepare_process() -> None:
    """One thread for each process, and graphs computed as they stand.

    So sums are in the same order, and files equal, whatever the number of cores.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _make_file(
    job: CellJob, trained: Run, converter: Converter, precision: str, folder: Path
) -> tuple[Path, dict[str, Any]]:
    cell = converter.cell
    path = folder / contract.file_name(cell, precision)
    scaling = SCALINGS[cell.backbone]
    converted = converter.convert(precision)
    if precision == INTEGER:
        check_integer(converted)
    model = add_metadata(
        converted,
        name=path.stem,
        description=f"MobileNetV2 {cell.alpha} at {cell.resolution} pixels, {precision}, {len(trained.labels)} labels",
        labels_file=contract.LABELS,
        mean=scaling.mean,
        deviation=scaling.deviation,
        author=job.author,
        license=job.license,
    )
    labels = contract.labels_part(trained.labels)
    path.write_bytes(contract.attach(model, {contract.LABELS: labels}))
    # The file was just made here: no need to try in another process whether it does harm.
    classifier = Classifier(replace(read_model_file(path), intact=True))
    figures = measure(classifier, trained, cell)
    card, pictures = contract.test_card(classifier, precision, converter.calibration)
    parts = {
        contract.LABELS: labels,
        contract.CONTRACT: contract.contract(trained, cell, precision, model, card, figures),
        **pictures,
    }
    path.write_bytes(contract.attach(model, parts))
    Classifier(path)  # its contract is read, its test card run
    return path, figures


def _where_lost(converter: Converter, path: Path) -> str:
    losses = find_losses(converter.convert("float32"), path.read_bytes(), converter.calibration)
    worst = ", ".join(f"{one.layer} to {one.signal_to_noise:.0f} dB" for one in losses[:_LAYERS_NAMED])
    return f"signal to noise falls most in {worst}"


def _entry(path: Path, cell: Cell, precision: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    content = path.read_bytes()
    return {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "alpha": cell.alpha,
        "resolution": cell.resolution,
        "precision": precision,
        "parameters": cell.parameters,
        "multiply_adds": cell.multiply_adds,
        "figures": {name: figures[name] for name in _FIGURES if name in figures},
    }


def _line(path: Path, figures: Mapping[str, Any], seconds: float) -> str:
    size = f"{path.name}: {path.stat().st_size / 1e3:.0f} kB"
    if "accuracy" not in figures:
        compared = f", agreement {figures['agreement']:.1%} on {figures['photos']} photos" if figures["photos"] else ""
        return f"{size}{compared}, {seconds:.0f} s"
    return (
        f"{size}, "
        f"accuracy {figures['accuracy']:.1%} of {figures['photos']} held-out photos "
        f"(trained {figures['float32_accuracy']:.1%}), {figures['kept']:.1%} kept, "
        f"agreement {figures['agreement']:.1%}, {seconds:.0f} s"
    )
