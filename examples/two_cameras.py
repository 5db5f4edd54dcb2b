"""Classify two cameras at once, each in a thread with a classifier of its own, into one file of JSON lines each.

python examples/two_cameras.py FOLDER [CAMERA CAMERA]
"""

import sys
from itertools import islice
from pathlib import Path
from threading import Thread

from edge_classify import Classifier, JsonLines, classify_frames, open_source


def watch(camera: str, path: Path) -> None:
    with open_source(camera) as source, JsonLines(path, live=True) as out:
        for result in islice(classify_frames(source, Classifier()), 100):
            out.append(result)


cameras = sys.argv[2:4] or ["demo", "demo"]
threads = [Thread(target=watch, args=(c, Path(sys.argv[1], f"{i}.jsonl"))) for i, c in enumerate(cameras)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
