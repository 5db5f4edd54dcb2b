"""Recognise your own things with a camera, offline: the device side of edge-classify.

from edge_classify import Classifier, open_source

classifier = Classifier("models/mobilenet_v2_0.5_160_int8.tflite")
for frame in open_source(0):
    print(classifier.classify(frame.image))
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# OpenCV reads these when it is first imported. It waits 10 s for a camera that stalls, and writes warnings of its
# own to standard error; what they say is said by ours.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

if TYPE_CHECKING:
    from .errors import CameraError, DataError, EdgeClassifyError, ModelFileError, SelfTestError, UsageError
    from .images.photo import read_photo
    from .images.preprocessing import preprocess
    from .model.classifier import Category, Classification, Classifier
    from .pipeline.decision import Change, Decision
    from .sources.frame import Frame
    from .sources.opening import list_cameras, open_source

__version__ = "0.1.0"

_HOMES = {
    "Category": "model.classifier",
    "Change": "pipeline.decision",
    "Classification": "model.classifier",
    "Classifier": "model.classifier",
    "Decision": "pipeline.decision",
    "CameraError": "errors",
    "DataError": "errors",
    "EdgeClassifyError": "errors",
    "ModelFileError": "errors",
    "SelfTestError": "errors",
    "UsageError": "errors",
    "read_photo": "images.photo",
    "preprocess": "images.preprocessing",
    "Frame": "sources.frame",
    "list_cameras": "sources.opening",
    "open_source": "sources.opening",
}

__all__ = [
    "CameraError",
    "Category",
    "Change",
    "Classification",
    "Classifier",
    "DataError",
    "Decision",
    "EdgeClassifyError",
    "Frame",
    "ModelFileError",
    "SelfTestError",
    "UsageError",
    "list_cameras",
    "open_source",
    "preprocess",
    "read_photo",
]


def __getattr__(name: str) -> Any:
    # Loaded when first used, so that the command can limit BLAS's threads before numpy is imported.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
