"""Do something when the state changes: here, print what appeared and for how long the last thing was seen.

python examples/on_change.py [MODEL.tflite [CAMERA]]
"""

import sys

from edge_classify import Classifier, Decision, classify_frames, open_source


def on_change(state: str, previous: str | None, seconds: float | None) -> None:
    """Put your own action here: switch a GPIO pin, play a sound, send a message."""
    print(state if previous is None else f"{state} (after {seconds:.1f} s of {previous})", flush=True)


classifier = Classifier(sys.argv[1] if len(sys.argv) > 1 else None)
with open_source(sys.argv[2] if len(sys.argv) > 2 else "demo") as source:
    for result in classify_frames(source, classifier, Decision(classifier.labels)):
        if result.change is not None:
            on_change(result.change.state, result.change.previous, result.change.lasted)
