"""Classify two cameras at once, each in a thread with a classifier of its own, into one file of JSON lines each.

python examples/two_cameras.py FOLDER [CAMERA CAMERA]
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from edge_classify import Classifier, JsonLines, classify_frames, open_source


def watch(camera: str, path: Path) -> None:
    with open_source(camera) as source, JsonLines(path, live=True) as out:
        for result in islice(classify_frames(source, Classifier()), 100):
            out.append(result)


if len(sys.argv) not in (2, 4):
    sys.exit("usage: python examples/two_cameras.py FOLDER [CAMERA CAMERA]")
cameras = sys.argv[2:4] or ["demo", "demo"]
with ThreadPoolExecutor() as threads:
    list(threads.map(watch, cameras, [Path(sys.argv[1], f"{number}.jsonl") for number in range(2)]))
