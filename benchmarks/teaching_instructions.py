"""ARM instructions of edge-teach, by its parts, on the processors of a Pi 3, 4 and 5.

    python benchmarks/teaching_instructions.py [--boards pi4 pi5] [--shots 20]

An int8 file of Alien vs Predator at 0.5@160 is taught photos of the five flowers, under qemu, one thread, as
instructions.py counts; a board takes some minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from common import DATA, ROOT, model_file
from instructions import BOARDS, MARK, arm_root, millions

from edge_classify.benchmark.tables import as_markdown
from edge_classify.images.folder import list_pictures

# What each mark of count_teaching.py ends; the first is the start of Python.
SECTIONS = ("", "loading", "base's self-test", "features", "head and `unknown`", "file and its self-test", "advice")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--boards", nargs="+", choices=BOARDS, default=list(BOARDS))
    parser.add_argument("--shots", type=int, default=20, help="photos a class")
    options = parser.parse_args()
    base = model_file(0.5, 160)
    with tempfile.TemporaryDirectory() as work:
        photos = Path(work) / "photos"
        for folder in sorted((DATA / "data" / "flowers" / "train").iterdir()):
            (photos / folder.name).mkdir(parents=True)
            pictures = list_pictures(folder)
            for path in pictures[:: max(1, len(pictures) // options.shots)][: options.shots]:
                (photos / folder.name / path.name).symlink_to(path)
        rows = [[BOARDS[board], *count(board, base, photos, Path(work) / "taught.tflite")] for board in options.boards]
    print("Million instructions.\n")
    print(as_markdown(["", *SECTIONS[1:], "in all"], rows))


def count(board: str, base: Path, photos: Path, output: Path) -> list[str]:
    """A board's row."""
    script = Path(__file__).with_name("count_teaching.py")
    words = [DATA / "tools" / "piinsn.sh", "-b", board, arm_root(), script, ROOT / "edge", base, photos, output]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{BOARDS[board]}: {done.stderr[-2000:]}")
    print(f"{BOARDS[board]}: {done.stdout.strip()}")
    counts = [int(mark[0]) for mark in MARK.findall(done.stderr)][1:]
    assert len(counts) == len(SECTIONS) - 1, done.stderr[-2000:]
    return [millions({"instructions": number}) for number in (*counts, sum(counts))]


if __name__ == "__main__":
    main()
