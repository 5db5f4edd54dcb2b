"""Runs under qemu for teaching_instructions.py, as count_instructions.py: a mark ends each of the sections named there.

    count_teaching.py EDGE_SOURCE BASE PHOTOS OUTPUT

Prints how many photos there were, and how many pictures the backbone looked at.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(source: str, base: Path, photos: Path, output: Path) -> None:
    sys.dont_write_bytecode = True
    sys.path.insert(0, source)
    mark = os.getppid
    mark()
    import cv2

    from edge_classify.learn.teaching.advice import advise
    from edge_classify.learn.teaching.base import open_base
    from edge_classify.learn.teaching.fitting import fit
    from edge_classify.learn.teaching.lesson import read_lesson
    from edge_classify.learn.teaching.taught_file import make_file, write_file

    cv2.setNumThreads(1)
    mark()
    opened = open_base(base)
    mark()
    lesson = read_lesson(opened, photos, output.parent, lambda _done, _total: None)
    mark()
    fitted = fit(lesson)
    mark()
    write_file(output, make_file(opened, lesson, fitted, output.stem))
    mark()
    notes = list(advise(lesson, fitted))
    mark()
    pictures = len(lesson.rows) + len(lesson.negative_rows) + len(lesson.blanks) + len(lesson.trial)
    print(f"{len(lesson.photos)} photos, {pictures} pictures; {len(notes)} lines of advice")


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
