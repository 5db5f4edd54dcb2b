"""The taught model file: the base's backbone, the new head, and everything else that a model file of ours has."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...model.answers import pack
from ...model.classifier import Classifier
from ...model.labels import UNKNOWN
from ...model.metadata_writing import Description, add_metadata
from ...model.model_file import CONTRACT_PART, FORMAT, LABELS_PART
from ...model.parts import attach, encode_labels
from ...model.self_test_recording import record_self_test
from ...model.tflite_metadata import read_metadata
from ...system.atomic_write import atomic_file
from ..open_set import SHAPE_CONSTANTS
from ..photos.photo_set import fingerprint
from .base import Base
from .fitting import Fitted, measure
from .head_graph import write_head
from .lesson import Lesson

# Of the normalization that files of other tools may lack.
_NO_NORMALIZATION = (0.0,), (1.0,)
# A part of a photo's SHA-256 that no two photos share by chance.
_HASH_DIGITS = 16


def make_file(base: Base, lesson: Lesson, fitted: Fitted, name: str) -> bytes:
    """The content of the taught file. name: without `.tflite`. The same photos give the same bytes."""
    labels = (*lesson.labels, UNKNOWN)
    graph, parts = base.graph()
    numbers = {"sharpness": fitted.open_set.sharpness, "threshold": fitted.open_set.threshold, **SHAPE_CONSTANTS}
    output = write_head(graph, parts, {**fitted.arrays(), **numbers}, base.precision)
    model = add_metadata(graph.pack(output), _describe(base, labels, name))
    classifier = base.classifier.twin(model)
    classifier.crop = None  # the photos kept show the part already
    self_test, pictures = record_self_test(
        classifier, model, labels, base.precision, lesson.calibration, base.classifier.model_file.crop
    )
    contract = {
        "format": FORMAT,
        "model": {**base.contract["model"], "crc32": zlib.crc32(model)},
        "preprocess": base.contract["preprocess"],
        "decision": _decision(lesson, fitted),
        "test_card": self_test,
        "evaluation": measure(lesson, fitted),
        "provenance": _provenance(base, lesson),
    }
    text = json.dumps(contract, indent=1, ensure_ascii=False).encode()
    return attach(model, {LABELS_PART: encode_labels(labels), CONTRACT_PART: text, **pictures})


def write_file(path: Path, content: bytes) -> None:
    """Write it whole or not at all, once it has passed its self-test. Raises OSError, or what `Classifier` raises."""
    with atomic_file(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the new name with nothing behind it
        Classifier(file.name)


def _describe(base: Base, labels: tuple[str, ...], name: str) -> Description:
    model, crop = base.contract["model"], base.classifier.model_file.crop
    (mean, *_), (deviation, *_) = read_metadata(base.model).normalization or _NO_NORMALIZATION
    text = (
        f"MobileNetV2 {model['alpha']} at {model['resolution']} pixels, {model['precision']}, {len(labels)} labels, "
        "its head taught by edge-teach"
    )
    if crop is not None:
        text += f", for the part {crop} of the picture (x, y, width, height in fractions)"
    return Description(name, text, LABELS_PART, mean, deviation)


def _decision(lesson: Lesson, fitted: Fitted) -> dict[str, Any]:
    calibration, open_set = fitted.calibration, fitted.open_set
    chosen = [lesson.photos[index] for index in fitted.cross_validated.judged]
    right = calibration.probabilities.argmax(axis=1) == np.array([photo.label for photo in chosen])
    decision: dict[str, Any] = {
        "unknown": True,
        "temperature": round(calibration.temperature, 4),
        "chosen_on": len(chosen),
        "choosing_loss": round(calibration.loss, 6),
        "keep": fitted.keep,
        "features": lesson.features,
        "dimensions": len(open_set.space.basis),
        "prototypes": len(open_set.space.prototypes),
        "sharpness": open_set.sharpness.tolist(),
        "threshold": open_set.threshold.tolist(),
        **SHAPE_CONSTANTS,
        "validation": pack(fingerprint(chosen)[:_HASH_DIGITS], right).encode(),
    }
    return decision if fitted.cross_validated.examples.views > 1 else {**decision, "views": 0}


def _provenance(base: Base, lesson: Lesson) -> dict[str, Any]:
    """Of the parent what made the backbone; and what this head was made from."""
    parent = base.contract["provenance"]
    photos = {
        label: [photo.sha256[:_HASH_DIGITS] for photo in lesson.photos if photo.label == index]
        for index, label in enumerate(lesson.labels)
    }
    negatives = [photo.sha256[:_HASH_DIGITS] for photo in lesson.negatives]
    return {
        "data_fingerprint": fingerprint([*lesson.photos, *lesson.negatives]),
        "weights": parent["weights"],
        "versions": parent["versions"],
        "taught": {
            "parent": {"name": base.path.name, "sha256": base.sha256},
            "photos": photos | ({UNKNOWN: negatives} if negatives else {}),
            "edge-classify": __version__,
        },
    }
