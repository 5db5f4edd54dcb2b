"""The command `edge-convert`: run folder in, model files out."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_classify import __version__
from edge_classify.command import run
from edge_classify.errors import DataError, ModelFileError, UsageError
from edge_classify.model.manifest import read_manifest
from edge_train.workers import in_processes

from . import contract
from .conversion import INTEGER, PRECISIONS
from .edge_tpu import COMPILER, compile_model
from .exports import EXPORTS
from .manifest import cell_key, is_whole, verify, write_manifest
from .run_folder import read_run
from .verification import loses_too_much

IMAGENET = "imagenet"
_IMAGENET_OPTIONS = ("alpha", "resolution", "photos", "weights", "top", "labels")
_CALIBRATION_PHOTOS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.verify is not None:
        return run(lambda: verify_folder(options.verify), quiet=True)
    if options.run is None or options.output is None:
        parser.error("RUN and -o MODELS are needed, or --verify MODELS")
    given = [name for name in _IMAGENET_OPTIONS if getattr(options, name) is not None]
    if options.run == Path(IMAGENET):
        return run(lambda: convert_imagenet(options), quiet=True)
    if given:
        parser.error(f"--{given[0]} goes with `edge-convert {IMAGENET}`: a run has its own")
    return run(lambda: convert_run(options, options.run), quiet=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-convert",
        description="Make a .tflite file for each cell of a run and each precision, measured on the held-out photos.",
    )
    parser.add_argument(
        "run", type=Path, nargs="?", metavar="RUN", help=f"a run folder from edge-train, or {IMAGENET} (see below)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="MODELS", help="the folder to write model files to")
    parser.add_argument(
        "--verify", type=Path, metavar="MODELS", help="check a folder of model files against its manifest, and stop"
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        metavar="P",
        help=f"of {', '.join(PRECISIONS)} (default: all)",
    )
    parser.add_argument(
        "--edgetpu",
        action="store_true",
        help="also int8 files with nothing but integers, for Coral's Edge TPU; compiled if its compiler is installed",
    )
    parser.add_argument(
        "--calibration-photos",
        type=int,
        default=_CALIBRATION_PHOTOS,
        metavar="N",
        help=f"photos from which int8 takes its ranges (default: {_CALIBRATION_PHOTOS})",
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        default=3.0,
        metavar="POINTS",
        help="the accuracy that a file may lose against the trained float model, in points (default: 3); "
        "one or two photos are chance",
    )
    parser.add_argument(
        "--export",
        nargs="+",
        choices=EXPORTS,
        default=[],
        metavar="PROGRAM",
        help=f"write what {', '.join(EXPORTS)} want",
    )
    parser.add_argument("--author", default="", metavar="NAME", help="recorded in the files' metadata")
    parser.add_argument("--license", default="", metavar="TEXT", help="recorded in the files' metadata")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    imagenet = parser.add_argument_group(
        f"edge-convert {IMAGENET}", "Google's MobileNetV2 with its 1000 ImageNet classes, without training"
    )
    imagenet.add_argument("--alpha", type=float, nargs="+", metavar="A", help="width multipliers (default: 1.0)")
    imagenet.add_argument("--resolution", type=int, nargs="+", metavar="R", help="pixels a side (default: 224)")
    imagenet.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="pictures as your camera takes them; int8 needs some"
    )
    imagenet.add_argument("--weights", metavar="FILE", help="a .weights.h5 file (default: Keras' own, downloaded)")
    imagenet.add_argument("--top", type=Path, metavar="FILE", help="an .npz with the top's kernel and bias")
    imagenet.add_argument("--labels", type=Path, metavar="FILE", help="the names of the classes (default: Keras' own)")
    return parser


def convert_imagenet(options: argparse.Namespace) -> int:
    """Write a run of the network as it comes into a temporary folder, and convert that."""
    from .imagenet import Choice, write_imagenet_run

    if options.photos is None:
        if options.edgetpu or "int8" in (options.precision or ()):
            raise UsageError("int8 takes its ranges from pictures: give some with --photos FOLDER")
        if options.precision is None:
            options.precision = [precision for precision in PRECISIONS if precision != "int8"]
            print("without --photos FOLDER there are no int8 files: they take their ranges from pictures")
    choice = Choice(
        options.alpha or (1.0,),
        options.resolution or (224,),
        options.weights or "imagenet",
        options.top,
        options.labels,
        options.photos,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_imagenet_run(choice, Path(folder))
        return convert_run(options, Path(folder))


def convert_run(options: argparse.Namespace, folder: Path) -> int:
    """Convert the cells in parallel; one that fails leaves no file, is told at the end, and the others are done."""
    # `--verify` runs on devices, which have not got what these bring.
    from tqdm import tqdm

    from .cell_files import MEMORY, CellJob, make_cell_files, prepare_process, remove_leftovers

    if options.max_drop < 0:
        raise UsageError(f"--max-drop is {options.max_drop:g}: it is a number of points, 0 or more")
    if options.calibration_photos < 1:
        raise UsageError(f"--calibration-photos is {options.calibration_photos}: it must be at least 1")
    trained = read_run(folder)
    precisions = [*(options.precision or PRECISIONS), *([INTEGER] if options.edgetpu else [])]
    output: Path = options.output
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: a file of that name is in the way: give another folder with -o")
    output.mkdir(parents=True, exist_ok=True)
    remove_leftovers(output)
    settings = {name: getattr(options, name) for name in ("calibration_photos", "author", "license")}
    keys = [cell_key(trained, cell, *settings.values()) for cell in trained.cells]
    kept = _find_kept(output, keys, options.max_drop)
    jobs = []
    for number, cell in enumerate(trained.cells):
        wanted = tuple(precision for precision in precisions if str(contract.file_name(cell, precision)) not in kept)
        if wanted:
            jobs.append(CellJob(folder, number, wanted, output, max_drop=options.max_drop, **settings))
    made: list[Mapping[str, Any]] = []
    failures = []
    with tqdm(total=len(jobs), desc="converting", unit="cell", disable=not jobs) as progress:
        for job, files in zip(jobs, in_processes(make_cell_files, jobs, prepare_process, MEMORY), strict=True):
            for line in files.lines:
                progress.write(line)
            progress.update()
            made += [{**entry, "key": keys[job.cell]} for entry in files.entries]
            failures += [files.failure] if files.failure else []
    entries = [*kept.values(), *made]
    if entries:
        if trained.held_out_labels is not None:
            from .report import write_report  # brings matplotlib, which the workers need not load

            write_report(output, folder.resolve().name, entries)
        write_manifest(output, trained, entries)
        for name in options.export:
            for path in EXPORTS[name](output, trained.labels, entries):
                print(f"wrote {path}")
    if failures:
        raise DataError(
            f"{'; '.join(failures)}: no file was written for it; train another cell, or allow more with --max-drop"
        )
    if options.edgetpu:
        _compile([output / entry["file"] for entry in entries if entry["precision"] == INTEGER])
    wanted_files = len(trained.cells) * len(precisions)
    if wanted_files > len(made):
        print(f"{wanted_files - len(made)} of {wanted_files} files were made before and are unchanged")
    example = output / contract.file_name(trained.cells[-1], precisions[-1])
    look = f" (look at {output / 'report.html'})" if trained.held_out_labels is not None else ""
    print(f"wrote {output}{look}; here or on the device: edge-classify --model {example}")
    return 0


def _compile(paths: Sequence[Path]) -> None:
    compiled = [compile_model(path) for path in paths]
    for path in compiled:
        if path:
            print(f"wrote {path}")
    if paths and not compiled[0]:
        print(f"{COMPILER} is not installed here: run it on {paths[0].parent}/*_{INTEGER}.tflite for the Edge TPU")


def _find_kept(output: Path, keys: Sequence[str], max_drop: float) -> dict[str, Mapping[str, Any]]:
    """Entries of the manifest, by file, that are still what this run would give."""
    try:
        entries = read_manifest(output)["files"]
    except ModelFileError:
        return {}  # none yet, or one that is made anew
    return {
        entry["file"]: entry
        for entry in entries
        if entry.get("key") in keys and is_whole(output, entry)
        if not loses_too_much(entry["figures"], max_drop)
    }


def verify_folder(folder: Path) -> int:
    count, wrong = verify(folder)
    if wrong:
        raise ModelFileError("; ".join(wrong))
    print(f"{folder}: {count} model files are those of the manifest, and give here what was recorded in them")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
