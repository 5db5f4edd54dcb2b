"""Classify a camera's frames in a loop of your own, and stop when you have seen enough.

python examples/own_loop.py [MODEL.tflite [CAMERA]]
"""

import sys

from edge_classify import Classifier, open_source

model = sys.argv[1] if len(sys.argv) > 1 else None  # None is the built-in digit reader
camera = sys.argv[2] if len(sys.argv) > 2 else "demo"

classifier = Classifier(model, top_k=3)
with open_source(camera) as source:
    for frame in source:
        result = classifier.classify(frame.image)
        print(f"frame {frame.number}: {result} in {result.timing.inference:.1f} ms")
        if frame.number >= 30:
            break
