"""The command `edge-convert`: run folder in, model files out."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from edge_classify import __version__
from edge_classify.command import run
from edge_classify.errors import DataError, ModelFileError, UsageError
from edge_classify.parallel import in_processes

from . import contract
from .cell_files import MEMORY, CellJob, make_cell_files, prepare_process
from .conversion import PRECISIONS
from .exports import EXPORTS
from .manifest import cell_key, is_whole, read_manifest, verify, write_manifest
from .run_folder import read_run
from .verification import points_lost


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.verify is not None:
        return run(lambda: verify_folder(options.verify), quiet=True)
    if options.run is None or options.output is None:
        parser.error("RUN and -o MODELS are needed, or --verify MODELS")
    return run(lambda: convert_run(options), quiet=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-convert",
        description="Make a .tflite file for each cell of a run and each precision, measured on the held-out photos.",
    )
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="a run folder from edge-train")
    parser.add_argument("-o", "--output", type=Path, metavar="MODELS", help="the folder to write model files to")
    parser.add_argument(
        "--verify", type=Path, metavar="MODELS", help="check a folder of model files against its manifest, and stop"
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
    return parser


def convert_run(options: argparse.Namespace) -> int:
    """Convert the cells in parallel; one that fails leaves no file, is told at the end, and the others are done."""
    if options.max_drop < 0:
        raise UsageError(f"--max-drop is {options.max_drop:g}: it is a number of points, 0 or more")
    trained = read_run(options.run)
    output: Path = options.output
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: a file of that name is in the way: give another folder with -o")
    output.mkdir(parents=True, exist_ok=True)
    keys = [cell_key(trained, cell, options.author, options.license) for cell in trained.cells]
    kept = _find_kept(output, keys, options.max_drop)
    jobs = []
    for number, cell in enumerate(trained.cells):
        wanted = tuple(
            precision for precision in options.precision if str(contract.file_name(cell, precision)) not in kept
        )
        if wanted:
            job = CellJob(options.run, number, wanted, output, options.max_drop, options.author, options.license)
            jobs.append(job)
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
        from .report import write_report  # brings matplotlib, which the workers need not load

        write_report(output, options.run.resolve().name, entries)
        write_manifest(output, trained, entries)
        for name in options.export:
            for path in EXPORTS[name](output, trained.labels, entries):
                print(f"wrote {path}")
    if failures:
        raise DataError(
            f"{'; '.join(failures)}: no file was written for it; train another cell, or allow more with --max-drop"
        )
    wanted_files = len(trained.cells) * len(options.precision)
    if wanted_files > len(made):
        print(f"{wanted_files - len(made)} of {wanted_files} files were made before and are unchanged")
    example = output / contract.file_name(trained.cells[-1], options.precision[-1])
    print(f"wrote {output} (look at {output / 'report.html'}); here or on the device: edge-classify --model {example}")
    return 0


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
        if points_lost(entry["figures"]) <= max_drop
    }


def verify_folder(folder: Path) -> int:
    count, wrong = verify(folder)
    if wrong:
        raise ModelFileError("; ".join(wrong))
    print(f"{folder}: {count} model files are those of the manifest, and give here what was recorded in them")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
