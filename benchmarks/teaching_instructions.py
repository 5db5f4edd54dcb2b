"""ARM instructions of edge-teach, by its parts, on the processors of a Pi 3, 4 and 5.

    python benchmarks/teaching_instructions.py [--boards pi4 pi5] [--shots 5 10 20]

An int8 file of Alien vs Predator at 0.5@160 is taught photos of the five flowers, under qemu, one thread, as
instructions.py counts; a board takes some minutes.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import tempfile
from pathlib import Path

from common import DATA, ROOT, Row, model_file, record, show
from instructions import BOARDS, MARK, arm_root

from edge_classify.images.folder import list_pictures

# What each mark of count_teaching.py ends; the first is the start of Python.
SECTIONS = ("", "loading", "base's self-test", "features", "head and `unknown`", "file and its self-test", "advice")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--boards", nargs="+", choices=BOARDS, default=list(BOARDS))
    parser.add_argument("--shots", type=int, nargs="+", default=[20], help="photos a class")
    options = parser.parse_args()
    base = model_file(0.5, 160)
    rows: list[Row] = []
    for shots, board in itertools.product(options.shots, options.boards):
        with tempfile.TemporaryDirectory() as work:
            photos = Path(work) / "photos"
            for folder in sorted((DATA / "data" / "flowers" / "train").iterdir()):
                (photos / folder.name).mkdir(parents=True)
                pictures = list_pictures(folder)
                for path in pictures[:: max(1, len(pictures) // shots)][:shots]:
                    (photos / folder.name / path.name).symlink_to(path)
            counts = count(board, base, photos, Path(work) / "taught.tflite")
        rows.append(show({"board": BOARDS[board], **counts}))
    record(__file__, rows, notes="Million instructions, emulated: not time. 0.5@160, int8, five flowers, one thread.")


def count(board: str, base: Path, photos: Path, output: Path) -> Row:
    """Millions of each section, and how much was looked at."""
    script = Path(__file__).with_name("count_teaching.py")
    words = [DATA / "tools" / "piinsn.sh", "-b", board, arm_root(), script, ROOT / "edge", base, photos, output]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{BOARDS[board]}: {done.stderr[-2000:]}")
    looked_at = [int(number) for number in re.findall(r"(\d+) p", done.stdout)]
    counts = [int(mark[0]) for mark in MARK.findall(done.stderr)][1:]
    if len(looked_at) != 2 or len(counts) != len(SECTIONS) - 1:
        raise SystemExit(f"{done.stdout}\n{done.stderr[-2000:]}")
    millions = dict(zip(SECTIONS[1:], (round(number / 1e6) for number in counts), strict=True))
    return {"photos": looked_at[0], "pictures": looked_at[1], **millions, "in all": round(sum(counts) / 1e6)}


if __name__ == "__main__":
    main()
