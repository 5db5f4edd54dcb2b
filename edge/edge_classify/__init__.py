"""Recognise your own objects with a camera, offline: the device side of edge-classify.

from edge_classify import Classifier, JsonLines, classify_frames, open_source

with JsonLines("out.jsonl") as out:
    for result in classify_frames(open_source(0), Classifier("models/mobilenet_v2_0.5_160_int8.tflite")):
        out.append(result)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

# OpenCV reads these when it is first imported. By default it waits 10 s for a camera that stalls, and prints warnings
# about what our own errors report.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api import *  # noqa: F403
else:
    # When a name is first used, and not before: the commands import this package too, and start without most of it.
    def __getattr__(name):
        if name == "__all__":
            return __dir__()
        api = None if name.startswith("_") else import_module(".api", __name__)
        if not hasattr(api, name):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(api, name)

    def __dir__():
        return [name for name in vars(import_module(".api", __name__)) if not name.startswith("_")]
