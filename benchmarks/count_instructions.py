"""Runs under qemu for instructions.py: each os.getppid() has the emulator print what was executed since the one before.

    count_instructions.py EDGE_SOURCE MODEL...

Per model file and round four sections end with a mark: all that was before, preparing a frame, inference, and frame to
label. Prints the machine and the versions as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import sys

# In the first, Python still adapts its code to what it meets.
ROUNDS = 2


def main(source: str, paths: list[str]) -> None:
    # Whether a module is compiled or read changes what Python's own part of a section takes, by some ten instructions.
    sys.dont_write_bytecode = True
    sys.path.insert(0, source)
    import cv2
    import numpy as np

    from edge_classify import Classifier
    from edge_classify.benchmark.environment import describe
    from edge_classify.images.preprocessing import preprocess
    from edge_classify.model.self_test import draw_card
    from edge_classify.system.machine import System

    cv2.setNumThreads(1)
    gc.disable()  # in whichever section it comes, it would be counted
    mark, frame = os.getppid, draw_card(0)
    for path in paths:
        classifier = Classifier(path)
        invoke, prepared = classifier._interpreter.invoke, np.empty((*classifier.input_size, 3), np.uint8)
        for _ in range(ROUNDS):
            mark()
            preprocess(frame, prepared)
            mark()
            invoke()
            mark()
            classifier.classify(frame)
            mark()
    print(json.dumps(describe(System())))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
