"""The command `edge-train`: photos in, run folder out."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
from collections.abc import Sequence
from pathlib import Path

from edge_classify import __version__
from edge_classify.command import run
from edge_classify.errors import UsageError

from .backbone import ALPHAS, RESOLUTIONS
from .training import Settings, train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run(lambda: _train(options), quiet=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-train",
        description="Fit a classifier head on MobileNetV2's features of your photos, for each width and resolution.",
    )
    add = parser.add_argument
    add(
        "photos",
        type=Path,
        metavar="PHOTOS",
        help="a folder of photos for each class, or train/ and validation/ of those",
    )
    add("-o", "--output", type=Path, required=True, metavar="RUN", help="the run folder to write, for edge-convert")
    add("--alpha", type=float, nargs="+", default=[0.5], choices=ALPHAS, help="width multipliers (default: 0.5)")
    add("--resolution", type=int, nargs="+", default=[160], choices=RESOLUTIONS, help="pixels a side (default: 160)")
    weights_help = "the backbone's: imagenet, none, a .weights.h5 file, or a folder of them (default: imagenet)"
    add("--weights", default="imagenet", metavar="W", help=weights_help)
    add("--epochs", type=int, default=30, metavar="N", help="passes over the photos (default: 30)")
    add("--batch-size", type=int, default=32, metavar="N", help="photos a step (default: 32)")
    add("--learning-rate", type=float, default=3e-4, metavar="X", help="at the start; it falls to 0 (default: 0.0003)")
    add("--no-unknown", action="store_true", help="leave out the output that says: none of these")
    add("--seed", type=int, default=0, metavar="N", help="of all that is random (default: 0)")
    add("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _train(options: argparse.Namespace) -> int:
    for name in ("epochs", "batch_size", "learning_rate"):
        if not getattr(options, name) > 0:
            raise UsageError(f"--{name.replace('_', '-')} is {getattr(options, name)}: it must be above 0")
    if options.seed < 0:
        raise UsageError(f"--seed is {options.seed}: it must be 0 or more")
    grid = [
        (alpha, resolution) for alpha in sorted(set(options.alpha)) for resolution in sorted(set(options.resolution))
    ]
    settings = Settings(
        weights=options.weights,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        unknown=not options.no_unknown,
        seed=options.seed,
    )
    print(train(options.photos, options.output, grid, settings))
    print(f"wrote {options.output}; next: edge-convert {options.output} -o models")
    return 0
