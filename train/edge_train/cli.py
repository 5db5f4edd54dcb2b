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
from edge_classify.learn.head import HeadSettings

from .backbone import ALPHAS, HUB, RESOLUTIONS
from .cell import Settings
from .training import check, train
from .views import Augmentation
from .weights import available_alphas

_FINE_TUNING_EPOCHS = 15


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
        help="a folder of photos for each class, or train/ with validation/ or test/ of those; "
        "unknown/ among them holds pictures of nothing in particular",
    )
    add(
        "-o", "--output", type=Path, metavar="RUN", help="the run folder to write (default: runs/ and the photos' name)"
    )
    add("--check", action="store_true", help="only look for what is wrong with the photos")

    grid = parser.add_argument_group("grid")
    add = grid.add_argument
    add("--alpha", nargs="+", default=["0.5"], metavar="A", help=f"width multipliers: all, or of {_list(ALPHAS)}")
    add("--resolution", nargs="+", default=["160"], metavar="R", help=f"pixels a side: all, or of {_list(RESOLUTIONS)}")
    weights_help = "the backbone's: imagenet, none, a .weights.h5 file, or a folder of them (default: imagenet)"
    add("--weights", default="imagenet", metavar="W", help=weights_help)
    add(
        "--backbone",
        default="mobilenet_v2",
        metavar="B",
        help=f"mobilenet_v2, or {HUB}URL_OR_FOLDER: a TF2 feature vector that takes [0, 1] images",
    )

    head = parser.add_argument_group("fitting")
    add = head.add_argument
    default = HeadSettings()
    add("--epochs", type=int, default=default.epochs, metavar="N", help="passes at most (default: %(default)s)")
    add("--patience", type=int, default=default.patience, metavar="N", help="stop after N passes without a better one")
    add("--batch-size", type=int, default=default.batch_size, metavar="N", help="photos a step (default: %(default)s)")
    add("--learning-rate", type=float, default=default.learning_rate, metavar="X", help="at the start; it falls to 0")
    add("--label-smoothing", type=float, default=default.label_smoothing, metavar="X", help="default: %(default)s")
    add("--class-weights", choices=("balanced", "none"), default="balanced", help="default: every class counts alike")
    add("--views", type=int, default=Augmentation().views, metavar="N", help="augmented views of each photo to keep")
    add("--no-flip", action="store_true", help="views are not mirrored: for text, and things with a left and a right")
    add("--no-crop", action="store_true", help="views show the whole photo")
    add("--no-color", action="store_true", help="views keep the photo's light and colours")
    add(
        "--fine-tune",
        type=int,
        nargs="?",
        const=_FINE_TUNING_EPOCHS,
        default=0,
        metavar="N",
        help=f"train the backbone too, for N passes (default: {_FINE_TUNING_EPOCHS}): "
        "more accurate, and minutes for each cell instead of seconds",
    )
    add("--distill", action="store_true", help="smaller cells learn from the largest's soft labels too")
    add("--seed", type=int, default=0, metavar="N", help="of all that is random (default: 0)")

    unknown = parser.add_argument_group("unknown")
    add = unknown.add_argument
    add("--no-unknown", action="store_true", help="leave out the output that says: none of these")
    add("--keep", type=float, default=Settings().keep, metavar="X", help="share of own pictures not called unknown")
    add(
        "--strangers",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FOLDER",
        help="measure unknown on these pictures too",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _train(options: argparse.Namespace) -> int:
    for name in ("epochs", "patience", "batch_size", "learning_rate"):
        if not getattr(options, name) > 0:
            raise UsageError(f"--{name.replace('_', '-')} is {getattr(options, name)}: it must be above 0")
    for name in ("views", "fine_tune", "seed"):
        if getattr(options, name) < 0:
            raise UsageError(f"--{name.replace('_', '-')} is {getattr(options, name)}: it must be 0 or more")
    if not 0.5 <= options.keep < 1:
        raise UsageError(f"--keep is {options.keep:g}: it is a share, from 0.5 to below 1")
    if not 0 <= options.label_smoothing < 1:
        raise UsageError(f"--label-smoothing is {options.label_smoothing:g}: it is a share, from 0 to below 1")
    settings = Settings(
        backbone=options.backbone,
        weights=options.weights,
        augmentation=Augmentation(options.views, not options.no_flip, not options.no_crop, not options.no_color),
        head=HeadSettings(
            options.epochs, options.batch_size, options.learning_rate, options.label_smoothing, options.patience
        ),
        class_weights=options.class_weights,
        fine_tune=options.fine_tune,
        distill=options.distill,
        unknown=not options.no_unknown,
        keep=options.keep,
        seed=options.seed,
    )
    grid = _grid(options)
    output = options.output or Path("runs") / options.photos.resolve().name
    names = [folder.name for folder in options.strangers]
    strangers = {folder.name if names.count(folder.name) == 1 else str(folder): folder for folder in options.strangers}
    if options.check:
        print(check(options.photos, output, grid, settings))
        print(f"wrote {output / 'photo_check.json'}")
        return 0
    print(train(options.photos, output, grid, settings, strangers))
    print(f"wrote {output} (look at {output / 'report.html'}); next: edge-convert {output} -o models")
    return 0


def _grid(options: argparse.Namespace) -> list[tuple[float, int]]:
    alphas = _choose("--alpha", options.alpha, ALPHAS)
    if alphas is None:
        alphas = available_alphas(options.weights)
    resolutions = _choose("--resolution", options.resolution, RESOLUTIONS) or list(RESOLUTIONS)
    grid = [(alpha, int(resolution)) for alpha in alphas for resolution in resolutions]
    if options.backbone.startswith(HUB):
        if len(grid) > 1:
            raise UsageError(f"--backbone {options.backbone}: it is one width and resolution: give its own two")
        if options.fine_tune:
            raise UsageError("--fine-tune works with mobilenet_v2 only, not with a hub backbone")
    elif options.backbone != "mobilenet_v2":
        raise UsageError(f"--backbone {options.backbone}: it is mobilenet_v2, or {HUB}URL_OR_FOLDER")
    return grid


def _choose(option: str, words: Sequence[str], values: Sequence[float]) -> list[float] | None:
    """The chosen values, in order and once each; None for `all`."""
    if list(words) == ["all"]:
        return None
    chosen = set()
    for word in words:
        try:
            value = float(word)
        except ValueError:
            value = -1
        if value not in values:
            raise UsageError(f"{option} {word}: it is all, or some of {_list(values)}")
        chosen.add(value)
    return sorted(chosen)


def _list(values: Sequence[float]) -> str:
    return ", ".join(map(str, values))


if __name__ == "__main__":
    raise SystemExit(main())
