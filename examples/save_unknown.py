"""Save a picture of everything the model does not know, at most one per second, to label and train on later.

python examples/save_unknown.py FOLDER [MODEL.tflite [CAMERA]]
"""

import sys
from pathlib import Path

import cv2

from edge_classify import Classifier, Decision, classify_frames, open_source

if len(sys.argv) < 2:
    sys.exit("usage: python examples/save_unknown.py FOLDER [MODEL.tflite [CAMERA]]")
folder = Path(sys.argv[1])
classifier = Classifier(sys.argv[2] if len(sys.argv) > 2 else None)
folder.mkdir(parents=True, exist_ok=True)
saved_at = 0.0
with open_source(sys.argv[3] if len(sys.argv) > 3 else "demo") as source:
    for result in classify_frames(source, classifier, Decision(classifier.labels)):
        if result.state == "unknown" and result.captured_time - saved_at >= 1:
            path = folder / f"{result.time.replace(':', '-')}.png"
            cv2.imwrite(str(path), result.frame.image)
            print(path, flush=True)
            saved_at = result.captured_time
