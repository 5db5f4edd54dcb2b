"""The command `edge-convert`: run folder in, model files out."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from edge_classify import __version__
from edge_classify.classifier import Classifier
from edge_classify.command import run
from edge_classify.errors import DataError, UsageError

from . import contract
from .conversion import PRECISIONS, convert
from .graph import SCALINGS
from .metadata import add_metadata
from .run_folder import Cell, Run, read_run
from .verification import measure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run(lambda: convert_run(options), quiet=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-convert",
        description="Make a .tflite file for each cell of a run and each precision, measured on the held-out photos.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder from edge-train")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="MODELS", help="the folder to write model files to"
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        default=list(PRECISIONS),
        metavar="P",
        help=f"of {', '.join(PRECISIONS)} (default: all)",
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        default=2.0,
        metavar="POINTS",
        help="the accuracy that a file may lose against the trained float model, in points (default: 2)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def convert_run(options: argparse.Namespace) -> int:
    """Convert, measure and write cell by cell; a cell that fails leaves no file, and the others are done."""
    if options.max_drop < 0:
        raise UsageError(f"--max-drop is {options.max_drop:g}: it is a number of points, 0 or more")
    trained = read_run(options.run)
    output: Path = options.output
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: a file of that name is in the way: give another folder with -o")
    output.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    with tqdm(total=len(trained.cells) * len(options.precision), desc="converting", unit="file") as progress:
        for cell in trained.cells:
            # Hidden and on the same disk, so that finished files can be moved into place at once.
            with tempfile.TemporaryDirectory(prefix=".edge-convert-", dir=output) as folder:
                failure = None
                for precision in options.precision:
                    line, drop = _convert_file(trained, cell, precision, Path(folder))
                    progress.update()
                    progress.write(line)
                    if drop > options.max_drop:
                        failure = (
                            f"cell {cell.alpha} @ {cell.resolution}: {precision} loses {drop:.1f} points, "
                            f"{options.max_drop:g} allowed"
                        )
                if failure is None:
                    for path in sorted(Path(folder).iterdir()):
                        path.replace(output / path.name)
                else:
                    failures.append(failure)
    if failures:
        raise DataError(
            f"{'; '.join(failures)}: no file was written for it; train another cell, or allow more with --max-drop"
        )
    example = output / contract.file_name(trained.cells[-1], options.precision[-1])
    print(f"wrote {output}; next, here or on the device: edge-classify --model {example}")
    return 0


def _convert_file(trained: Run, cell: Cell, precision: str, folder: Path) -> tuple[str, float]:
    """Write one model file into `folder`; returns a line about it and its loss of accuracy in points."""
    began = time.perf_counter()
    path = folder / contract.file_name(cell, precision)
    scaling = SCALINGS[cell.backbone]
    model = add_metadata(
        convert(trained, cell, precision),
        name=path.stem,
        description=f"MobileNetV2 {cell.alpha} at {cell.resolution} pixels, {precision}, {len(trained.labels)} labels",
        labels_file=contract.LABELS,
        mean=scaling.mean,
        deviation=scaling.deviation,
    )
    labels = contract.labels_part(trained.labels)
    path.write_bytes(contract.attach(model, {contract.LABELS: labels}))
    classifier = Classifier(path)
    figures = measure(classifier, trained, cell)
    calibration = trained.prepared(cell.resolution, "calibration")
    card, pictures = contract.test_card(classifier, precision, calibration)
    parts = {
        contract.LABELS: labels,
        contract.CONTRACT: contract.contract(trained, cell, precision, card, figures),
        **pictures,
    }
    path.write_bytes(contract.attach(model, parts))
    Classifier(path)  # as a device will load it: its contract is read, its test card run
    drop = 100 * (figures["float32_accuracy"] - figures["accuracy"])
    return _line(path, figures, time.perf_counter() - began), drop


def _line(path: Path, figures: dict[str, Any], seconds: float) -> str:
    return (
        f"{path.name}: {path.stat().st_size / 1e3:.0f} kB, "
        f"accuracy {figures['accuracy']:.1%} of {figures['photos']} held-out photos "
        f"(trained {figures['float32_accuracy']:.1%}), {figures['kept']:.1%} kept, "
        f"agreement {figures['agreement']:.1%}, {seconds:.0f} s"
    )


if __name__ == "__main__":
    raise SystemExit(main())
