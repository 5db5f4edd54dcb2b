"""The command `edge-train`: photos in, run folder out."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from edge_classify.errors import DataError, EdgeClassifyError, UsageError
from edge_classify.images.crop import WHOLE, Crop
from edge_classify.learn.head import LEARNING_RATE_STILL_CAMERA, HeadSettings
from edge_classify.learn.open_set import KEEP, KEEP_STILL_CAMERA
from edge_classify.learn.photos.views import Augmentation
from edge_classify.options import Parser, crop, integer, number, suggest
from edge_classify.system.command import run
from edge_classify.system.packages import install_command

from .backbone import ALPHAS, BACKBONE_FILE_SUFFIX, HUB, RESOLUTIONS
from .backbone_file import read_backbone_file
from .cluster import add_cluster_option, core_count, node_count, open_cluster
from .settings import AUTO, FINE_TUNING_EPOCHS, Settings
from .shards import command as make_shards_command
from .shards.source import MAX_BAD, PhotoSource, parse_photos
from .training import check, check_source, plan, train
from .weights import available_alphas
from .workers import Pool, add_workers_option, in_processes, limit_workers

log = logging.getLogger(__name__)

_ALL = "all"
_KERAS_BACKBONE = "mobilenet_v2"
_DEFAULT_WEIGHTS = "imagenet"
_DEFAULT_CELL = (0.5, 160)

# What --help leaves to --help-all.
_DETAILS = (
    *(
        "--max-bad",
        "--cluster",
        "--workers",
        "--backbone",
        "--epochs",
        "--patience",
        "--batch-size",
        "--learning-rate",
        "--label-smoothing",
    ),
    *("--class-weights", "--views", "--no-random-crops", "--no-color", "--seed", "--no-unknown", "--keep"),
)


# What every run needs besides the device side, and the modules by which it is seen.
_PACKAGES = {"matplotlib": "matplotlib", "pillow": "PIL", "tqdm": "tqdm"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["make-shards"]:
        return make_shards_command.main(words[1:])
    options = make_parser().parse_args(words)
    return run(lambda: _train(options), quiet=True, traceback=options.traceback)


def _check_packages() -> None:
    """Raise DataError if what every run needs is not installed."""
    missing = [package for package, module in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise DataError(
            f"edge-train needs packages that are not installed ({', '.join(missing)}): in the clone, "
            f"{install_command('-c', 'constraints.txt', '-e', '.[train]')}"
        )


def make_parser() -> Parser:
    """The command line, with each option's range."""
    parser = Parser(
        "edge-train",
        "Fit a classifier head on MobileNetV2's features of your photos, for each width and resolution.",
        usage="edge-train PHOTOS [options]",
        examples=[
            ("edge-train photos", "one model: width 0.5 at 160 pixels; writes runs/photos"),
            ("edge-train photos --alpha 1.0 --resolution 224 --fine-tune", "slower to train, and more accurate"),
        ],
        details=_DETAILS,
        errors=[DataError],
    )
    parser.add_argument(
        "photos",
        type=_photos,
        metavar="PHOTOS",
        help="a folder with one folder of photos per class, or with train/ and validation/ or test/ that each have "
        "these; a class unknown holds negatives: pictures of none; or a table (.csv, .parquet), or shards",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="RUN",
        help="the run folder to write, or to add cells to if it has a run of the same photos and settings "
        "(default: runs/NAME_OF_PHOTOS)",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace RUN's run if it is of other photos or settings",
    )
    parser.add_argument("--check", action="store_true", help="only report problems with the photos")
    parser.add_argument(
        "--plan",
        action="store_true",
        help="only say what it would cost, judged by 200 photos",
    )
    parser.add_argument(
        "--max-bad",
        type=number(minimum=0, maximum=100),
        metavar="PERCENT",
        help="stop if more of the photos of shards or of a table are missing or unreadable; in a folder, all such are "
        f"left out (default: {MAX_BAD:g})",
    )
    crop = parser.add_argument(
        "--crop",
        type=_crop,
        metavar="X,Y,W,H",
        help="use only this part of photos and frames; the middle half: 0.25,0,0.5,1; "
        f"{AUTO}: find where the classes differ, if the camera does not move",
    )
    suggest(crop, AUTO)
    _add_grid_options(parser)
    _add_fitting_options(parser)
    _add_unknown_options(parser)
    add_workers_option(parser)
    add_cluster_option(parser)
    parser.add_common_options()
    return parser


def _add_grid_options(parser: Parser) -> None:
    group = parser.add_argument_group(
        "grid",
        "One model for each width at each resolution: 6 × 5 = 30 if both are all.",
    )
    alpha = group.add_argument(
        "--alpha",
        nargs="+",
        type=_one_of(ALPHAS),
        metavar="A",
        help=f"width multipliers: one or more of {_list(ALPHAS)}, or all that --weights has "
        f"(default: {_DEFAULT_CELL[0]}, or that of --backbone FILE)",
    )
    resolution = group.add_argument(
        "--resolution",
        nargs="+",
        type=_one_of(RESOLUTIONS),
        metavar="R",
        help=f"pixels per side: one or more of {_list(RESOLUTIONS)}, or all "
        f"(default: {_DEFAULT_CELL[1]}, or that of --backbone FILE)",
    )
    weights = group.add_argument(
        "--weights",
        default=_DEFAULT_WEIGHTS,
        metavar="W",
        help="weights of the backbone: imagenet (downloaded once), a weights file of Keras, a backbone file, a folder "
        "of these, or none",
    )
    backbone = group.add_argument(
        "--backbone",
        type=_backbone,
        default=_KERAS_BACKBONE,
        metavar="B",
        help=f"{_KERAS_BACKBONE}; a backbone file, FILE{BACKBONE_FILE_SUFFIX}, which needs no TensorFlow; or "
        f"{HUB}URL_OR_FOLDER for a TF2 feature vector that takes images in [0, 1]",
    )
    suggest(alpha, *ALPHAS, _ALL)
    suggest(resolution, *RESOLUTIONS, _ALL)
    suggest(weights, _DEFAULT_WEIGHTS, "none")
    suggest(backbone, _KERAS_BACKBONE)


def _add_fitting_options(parser: Parser) -> None:
    group = parser.add_argument_group("fitting")
    head, augmentation = HeadSettings(), Augmentation()
    above_0 = number(above=0)
    group.add_argument("--epochs", type=integer(1), default=head.epochs, metavar="N", help="maximum epochs")
    group.add_argument(
        "--patience",
        type=integer(1),
        default=head.patience,
        metavar="N",
        help="stop after N epochs without improvement",
    )
    group.add_argument("--batch-size", type=integer(1), default=head.batch_size, metavar="N", help="photos per step")
    group.add_argument(
        "--learning-rate",
        type=above_0,
        metavar="X",
        help="initial learning rate; decays to 0 along a cosine "
        f"(default: {head.learning_rate:g}, or {LEARNING_RATE_STILL_CAMERA:g} if the camera does not move)",
    )
    group.add_argument(
        "--label-smoothing",
        type=number(minimum=0, below=1),
        default=head.label_smoothing,
        metavar="X",
        help="share of each target that is spread over all classes",
    )
    group.add_argument(
        "--class-weights",
        choices=("balanced", "none"),
        default="balanced",
        help="balanced: every class counts the same, whatever its size; none: every photo does",
    )
    group.add_argument(
        "--views",
        type=_views,
        default=AUTO,
        metavar="N",
        help=f"augmented views per photo; {AUTO}: {augmentation.views}, or none if they do harm in cross-validation",
    )
    group.add_argument(
        "--no-flip", action="store_true", help="do not mirror views: for text, and for things with a left and a right"
    )
    group.add_argument("--no-random-crops", action="store_true", help="do not crop views at random")
    # What the option was called before there was --crop.
    group.add_argument("--no-crop", action="store_true", dest="no_random_crops", help=argparse.SUPPRESS)
    group.add_argument("--no-color", action="store_true", help="do not change brightness and colours of views")
    group.add_argument(
        "--fine-tune",
        type=integer(0),
        nargs="?",
        const=FINE_TUNING_EPOCHS,
        default=0,
        metavar="N",
        help=f"train the backbone too, for N epochs ({FINE_TUNING_EPOCHS} if N is left out): more accurate, "
        "and takes minutes per model instead of seconds",
    )
    group.add_argument("--seed", type=integer(0), default=0, metavar="N", help="random seed (default: 0)")


def _add_unknown_options(parser: Parser) -> None:
    group = parser.add_argument_group("unknown")
    group.add_argument("--no-unknown", action="store_true", help="do not add an `unknown` output")
    group.add_argument(
        "--keep",
        type=number(minimum=0.5, below=1),
        metavar="X",
        help="share of your own photos that should not be called unknown "
        f"(default: {KEEP:g}, or {KEEP_STILL_CAMERA:g} if the camera does not move)",
    )
    group.add_argument(
        "--negatives",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FOLDER",
        help="pictures of none of the classes, to measure `unknown` on; nothing is learned from them",
    )
    # What the option was called first.
    group.add_argument("--strangers", type=Path, nargs="+", action="extend", dest="negatives", help=argparse.SUPPRESS)


def _photos(text: str) -> Path | PhotoSource:
    try:
        return parse_photos(text)
    except EdgeClassifyError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _views(text: str) -> int | str:
    return text if text == AUTO else integer(0)(text)


def _crop(text: str) -> Crop | Literal["auto"] | None:
    if text == AUTO:
        return AUTO
    found = crop(text)
    return None if found == WHOLE else found


def _train(options: argparse.Namespace) -> int:
    if options.backbone.endswith(BACKBONE_FILE_SUFFIX):
        _take_backbone_file(options)
    grid = _grid(options)
    settings = Settings(
        crop=options.crop,
        backbone=options.backbone,
        weights=options.weights,
        augmentation=Augmentation(
            views=Augmentation().views if options.views == AUTO else options.views,
            auto=options.views == AUTO,
            flip=not options.no_flip,
            crop=not options.no_random_crops,
            color=not options.no_color,
        ),
        head=HeadSettings(
            epochs=options.epochs,
            batch_size=options.batch_size,
            label_smoothing=options.label_smoothing,
            patience=options.patience,
        ),
        learning_rate=options.learning_rate,
        class_weights=options.class_weights,
        fine_tune=options.fine_tune,
        unknown=not options.no_unknown,
        keep=options.keep,
        seed=options.seed,
        replace=options.replace,
    )
    check_source(options.photos, settings)
    output = _output_folder(options)
    _check_packages()
    limit_workers(options.workers)
    source = options.photos
    if isinstance(source, PhotoSource) and options.max_bad is not None:
        source = replace(source, max_bad=options.max_bad)
    with open_pool(options.cluster, source) as pool:
        return _train_or_check(options, source, output, grid, settings, pool)


@contextmanager
def open_pool(cluster: str | None, source: Path | PhotoSource) -> Iterator[Pool]:
    """Processes here, or a cluster."""
    if cluster is None:
        yield in_processes
        return
    with open_cluster(cluster, print) as pool:
        if isinstance(source, Path) and node_count() > 1:
            log.warning(
                "%s: every node reads this folder by itself: it must be on a disk that all have under this name; if it "
                "is not, make shards of it (edge-train make-shards)",
                source,
            )
        yield pool


def _train_or_check(
    options: argparse.Namespace,
    source: Path | PhotoSource,
    output: Path,
    grid: Sequence[tuple[float, int]],
    settings: Settings,
    pool: Pool,
) -> int:
    if options.plan:
        print(plan(source, grid, settings, core_count(pool)))
        return 0
    if options.check:
        print(check(source, output, grid, settings, print, pool))
        return 0
    if options.output is None:
        print(f"run folder: {output}, after the photos' folder (-o RUN names another)")
    print(train(source, output, grid, settings, _by_name(options.negatives), print, pool))
    print(f"wrote {output} (see {output / 'report.html'}); next: edge-convert {output} -o models")
    return 0


def _output_folder(options: argparse.Namespace) -> Path:
    if isinstance(options.photos, PhotoSource):
        return options.output or Path("runs") / options.photos.name
    photos = options.photos.resolve()
    output: Path = options.output or Path("runs") / photos.name
    if output.resolve().is_relative_to(photos):
        outside = os.path.relpath(photos.parent / "runs" / photos.name)
        raise UsageError(f"{output} is inside the folder of photos: write the run elsewhere, as with -o {outside}")
    return output


def _take_backbone_file(options: argparse.Namespace) -> None:
    """A backbone file is the weights of one cell, and says of which."""
    file = read_backbone_file(Path(options.backbone))
    given = {"--alpha": (options.alpha, file.alpha), "--resolution": (options.resolution, file.resolution)}
    for option, (values, own) in given.items():
        if values not in (None, [own]):
            raise UsageError(f"--backbone {options.backbone} has {option} {own}: leave {option} out")
    if options.weights != _DEFAULT_WEIGHTS:
        raise UsageError(f"--backbone {options.backbone} has its own weights: leave --weights out")
    options.alpha, options.resolution = [file.alpha], [file.resolution]
    options.weights, options.backbone = options.backbone, _KERAS_BACKBONE


def _grid(options: argparse.Namespace) -> list[tuple[float, int]]:
    options.alpha = options.alpha or [_DEFAULT_CELL[0]]
    options.resolution = options.resolution or [_DEFAULT_CELL[1]]
    for option, values in (("--alpha", options.alpha), ("--resolution", options.resolution)):
        if _ALL in values and len(values) > 1:
            raise UsageError(f"{option}: use {_ALL} alone, without other values")
    alphas = available_alphas(options.weights) if options.alpha == [_ALL] else sorted(set(options.alpha))
    resolutions = list(RESOLUTIONS) if options.resolution == [_ALL] else sorted(set(options.resolution))
    if not alphas:
        raise UsageError(
            f"--weights {options.weights}: no mobilenet_v2_*_no_top.weights.h5 or .h5, and no backbone file "
            "(mobilenet_v2_*_backbone.tflite) in this folder"
        )
    if options.backbone.startswith(HUB):
        if len(alphas) * len(resolutions) > 1:
            raise UsageError(
                f"--backbone {options.backbone} has one width and resolution: give these with --alpha and --resolution"
            )
        if options.fine_tune:
            raise UsageError(f"--fine-tune works with {_KERAS_BACKBONE} only, not with a hub backbone")
    return [(alpha, resolution) for alpha in alphas for resolution in resolutions]


def _by_name(folders: Sequence[Path]) -> dict[str, Path]:
    """Each folder by its name, or by its whole path if another has the same name."""
    names = [folder.name for folder in folders]
    return {folder.name if names.count(folder.name) == 1 else str(folder): folder for folder in folders}


def _one_of(values: Sequence[float]) -> Callable[[str], float | str]:
    """For `type=`: one of these numbers, or "all"."""

    def parse(text: str) -> float | str:
        if text == _ALL:
            return text
        for value in values:
            try:
                if float(text) == value:
                    return value
            except ValueError:
                break
        raise argparse.ArgumentTypeError(f"expected {_list(values)} or {_ALL}, found {text!r}")

    return parse


def _backbone(text: str) -> str:
    """For `type=`: which backbone."""
    if text != _KERAS_BACKBONE and not text.startswith(HUB) and not text.endswith(BACKBONE_FILE_SUFFIX):
        raise argparse.ArgumentTypeError(
            f"expected {_KERAS_BACKBONE}, FILE{BACKBONE_FILE_SUFFIX} or {HUB}URL_OR_FOLDER, found {text!r}"
        )
    return text


def _list(values: Sequence[float]) -> str:
    return ", ".join(map(str, values))


if __name__ == "__main__":
    raise SystemExit(main())
