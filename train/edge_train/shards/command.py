"""The command `edge-train make-shards`: a folder of photos in, shards out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from edge_classify.errors import DataError
from edge_classify.options import Parser, integer
from edge_classify.system.command import run

from .making import make_shards


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = make_parser().parse_args(arguments)
    return run(lambda: _make(options), traceback=options.traceback)


def _make(options: argparse.Namespace) -> int:
    print(make_shards(options.photos, options.output, options.size * 1_000_000))
    return 0


def make_parser() -> Parser:
    parser = Parser(
        "edge-train make-shards",
        "Write the photos of a folder to a few large files, WebDataset's tar shards, for a bucket or for many machines "
        "at once. edge-train reads them in place of the folder, with the same result.",
        usage="edge-train make-shards PHOTOS OUT [options]",
        examples=[
            ("edge-train make-shards photos shards", "writes shards/shards-0000.tar, ..., and shards/index.json"),
            ("edge-train make-shards photos shards --size 100", "smaller ones: as many as there are cores, or more"),
        ],
        errors=[DataError],
    )
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="a folder of photos, as edge-train takes it")
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder to write shards and index.json to")
    parser.add_argument("--size", type=integer(1), default=512, metavar="MB", help="size of a shard, in MB")
    parser.add_common_options()
    return parser
