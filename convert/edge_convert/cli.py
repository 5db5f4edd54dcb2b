"""The command `edge-convert`: run folder in, model files out."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from edge_classify.errors import DataError, ModelFileError
from edge_classify.model.classifier import Classifier
from edge_classify.options import Parser, integer, number
from edge_classify.system.command import run
from edge_classify.system.counted import counted
from edge_train.backbone import ALPHAS, RESOLUTIONS
from edge_train.cluster import Cluster, add_cluster_option, open_cluster
from edge_train.workers import add_workers_option, limit_workers

from .exports import EXPORTS
from .manifest import verify
from .settings import INT8, PRECISIONS, Settings

if TYPE_CHECKING:
    from .converting import Conversion
    from .imagenet import ImagenetModels

IMAGENET = "imagenet"
_IMAGENET_OPTIONS = ("alpha", "resolution", "photos", "weights", "top", "labels")
_DEFAULTS = Settings()

# What --help leaves to --help-all.
_DETAILS = ("--calibration-photos", "--workers", "--cluster", "--author", "--license", "--weights", "--top", "--labels")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    return run(_work(parser, options), quiet=True, traceback=options.traceback)


def _parser() -> Parser:
    parser = Parser(
        "edge-convert",
        "Make .tflite model files of a run: one for each width, resolution and precision, each measured on the "
        "held-out photos.",
        usage="edge-convert RUN -o MODELS [options]",
        examples=(
            ("edge-convert runs/cups -o models", "all four precisions of each cell, with a manifest and a report"),
            (f"edge-convert {IMAGENET} -o models --photos pictures", "the pretrained network, with its 1000 classes"),
        ),
        details=_DETAILS,
        errors=(ModelFileError, DataError),
    )
    parser.add_argument(
        "run", type=Path, nargs="?", metavar="RUN", help=f"a run folder from edge-train, or {IMAGENET} (see below)"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="MODELS",
        help="the folder to write model files to, or to add them to if it has others of this run",
    )
    parser.add_argument(
        "--verify",
        type=Path,
        metavar="MODELS",
        help="check a folder of model files against its manifest and run each file's self-test, and exit; or one "
        "model file, which needs no manifest",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        metavar="P",
        help=f"one or more of {', '.join(PRECISIONS)} (default: all)",
    )
    parser.add_argument(
        "--calibration-photos",
        type=integer(1),
        default=_DEFAULTS.calibration_photos,
        metavar="N",
        help="number of photos that int8 takes its ranges from",
    )
    parser.add_argument(
        "--max-drop",
        type=number(minimum=0),
        default=_DEFAULTS.max_drop,
        metavar="POINTS",
        help="maximum accuracy loss against the float model, in points; a loss of one or two photos is ignored "
        "(default: %(default)g)",
    )
    parser.add_argument(
        "--max-accepted",
        type=number(minimum=0, maximum=100),
        default=_DEFAULTS.max_accepted,
        metavar="PERCENT",
        help="maximum share of the negatives made to test `unknown` that are given a class's label "
        "(default: %(default)g)",
    )
    parser.add_argument(
        "--no-memory",
        action="store_true",
        help="leave out the features of some training photos, with which edge-teach adds classes to a file later",
    )
    parser.add_argument(
        "--export",
        nargs="+",
        choices=EXPORTS,
        default=[],
        metavar="PROGRAM",
        help=f"also write configuration files for {', '.join(EXPORTS)}",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="remove the model files of another run or conversion that MODELS has, instead of refusing",
    )
    add_workers_option(parser)
    add_cluster_option(parser)
    parser.add_argument("--author", default="", metavar="NAME", help="recorded in the files' metadata")
    parser.add_argument("--license", default="", metavar="TEXT", help="recorded in the files' metadata")
    _add_imagenet_options(parser)
    parser.add_common_options()
    return parser


def _add_imagenet_options(parser: Parser) -> None:
    group = parser.add_argument_group(
        f"edge-convert {IMAGENET}", "Google's MobileNetV2 with its 1000 ImageNet classes, without training"
    )
    group.add_argument(
        "--alpha",
        type=float,
        nargs="+",
        choices=ALPHAS,
        metavar="A",
        help=f"width multipliers, of {', '.join(map(str, ALPHAS))} (default: 1.0)",
    )
    group.add_argument(
        "--resolution",
        type=int,
        nargs="+",
        choices=RESOLUTIONS,
        metavar="R",
        help=f"input resolutions in pixels, of {', '.join(map(str, RESOLUTIONS))} (default: 224)",
    )
    group.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="pictures such as your camera takes; required for int8"
    )
    group.add_argument(
        "--weights", metavar="FILE", help="a weights file of Keras (default: Keras' own, downloaded once)"
    )
    group.add_argument(
        "--top", type=Path, metavar="FILE", help="the top, for --weights: an .npz of kernel [F, 1000] and bias [1000]"
    )
    group.add_argument(
        "--labels", type=Path, metavar="FILE", help="the names of the classes, one per line (default: Keras' own)"
    )


def _work(parser: Parser, options: argparse.Namespace) -> Callable[[], int]:
    """What the command line asks for; what it alone shows to be impossible is refused here."""
    limit_workers(options.workers)
    if options.verify is not None:
        if options.run is not None or options.output is not None:
            parser.error("--verify MODELS goes without RUN and -o")
        return lambda: _verify(options.verify)
    if options.run is None:
        parser.error("expected RUN and -o MODELS, or --verify MODELS")
    if options.output is None:
        parser.error(f"-o MODELS is missing, the folder to write to: edge-convert {options.run} -o models")
    if options.run == Path(IMAGENET):
        return lambda: _convert_imagenet(options)
    for name in _IMAGENET_OPTIONS:
        if getattr(options, name) is not None:
            parser.error(f"--{name} is only for `edge-convert {IMAGENET}`: a run folder has its own")
    return lambda: _convert_run(options)


def _verify(folder: Path) -> int:
    if folder.is_file():
        if Classifier(folder).model_file.contract is None:
            raise ModelFileError(f"{folder}: not made by edge-convert or edge-teach: it records nothing to check")
        print(f"{folder}: is as it was made, and passes its self-test on this machine")
        return 0
    count, faults = verify(folder)
    if faults:
        raise ModelFileError("; ".join(faults))
    found = "its model file matches" if count == 1 else f"all {count} model files match"
    print(
        f"{folder}: {found} the manifest and {'passes its' if count == 1 else 'pass their'} self-test on this machine"
    )
    return 0


def _convert_run(options: argparse.Namespace) -> int:
    from .converting import convert  # of which --verify needs nothing

    settings = _settings(options, PRECISIONS)
    with _open_cluster(options) as cluster:
        return _report(convert(options.run, options.output, settings, cluster), options.output)


def _convert_imagenet(options: argparse.Namespace) -> int:
    from .converting import convert_imagenet

    models = _imagenet_models(options)
    default: tuple[str, ...] = PRECISIONS
    if models.photos is None and options.precision is None:
        default = tuple(name for name in PRECISIONS if name != INT8)
        print("making no int8 files: they take their ranges from pictures (give some with --photos FOLDER)")
    settings = _settings(options, default)
    with _open_cluster(options) as cluster:
        return _report(convert_imagenet(models, options.output, settings, cluster), options.output)


def _open_cluster(options: argparse.Namespace) -> AbstractContextManager[Cluster | None]:
    return nullcontext() if options.cluster is None else open_cluster(options.cluster, print)


def _settings(options: argparse.Namespace, default_precisions: Sequence[str]) -> Settings:
    return Settings(
        precisions=tuple(options.precision or default_precisions),
        calibration_photos=options.calibration_photos,
        max_drop=options.max_drop,
        max_accepted=options.max_accepted,
        author=options.author,
        license=options.license,
        memory=not options.no_memory,
        exports=tuple(options.export),
        replace=options.replace,
    )


def _imagenet_models(options: argparse.Namespace) -> ImagenetModels:
    from .imagenet import ImagenetModels

    given = {
        "alphas": options.alpha,
        "resolutions": options.resolution,
        "weights": options.weights,
        "top": options.top,
        "labels": options.labels,
        "photos": options.photos,
    }
    return ImagenetModels(**{name: value for name, value in given.items() if value is not None})


def _report(conversion: Conversion, output: Path) -> int:
    for path in conversion.exports:
        print(f"wrote {path}")
    unchanged = len(conversion.files) - conversion.made
    if unchanged:
        print(f"unchanged, and not made again: {unchanged} of {counted(len(conversion.files), 'file')}")
    report = f" (see {conversion.report})" if conversion.report else ""
    print(f"wrote {output}{report}")
    for choice in conversion.choices:
        print(f"for {', '.join(choice.boards)} take {choice.reason}")
    # The last one is for the newest board.
    model = conversion.choices[-1].candidate.path if conversion.choices else conversion.files[-1]
    print(f"next, here or on the device: edge-classify --model {model}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
