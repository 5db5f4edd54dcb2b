"""The taught model file: the base's backbone, the new head, and everything else that a model file of ours has."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...errors import DataError
from ...images.preprocessing import Image
from ...model.answers import pack
from ...model.classifier import Classifier
from ...model.labels import UNKNOWN
from ...model.metadata_writing import Description
from ...model.model_file import CONTRACT_PART, FORMAT, LABELS_PART, MEMORY_PART
from ...model.parts import attach, encode_labels
from ...model.self_test_recording import record_self_test
from ...model.tflite_metadata import read_metadata
from ...system.atomic_write import atomic_file
from ..head import Head
from ..memory import Memory, describe, encode, remember
from ..open_set import SHAPE_CONSTANTS, OpenSet
from ..photos.photo_set import NEGATIVE, Photo, fingerprint
from .base import Base
from .fitting import Fitted, measure
from .head_graph import write_head
from .lesson import Lesson

# Of the normalization that files of other tools may lack.
_NO_NORMALIZATION = (0.0,), (1.0,)
# A part of a photo's SHA-256 that no two photos share by chance.
_HASH_DIGITS = 16


@dataclass(frozen=True)
class Content:
    """What is in a new file that is not in its base.

    labels: with `unknown` last. vote_weight: what the space's answers are multiplied by and added to the head's logits.
    calibration: prepared photos for the self-test's picture, uint8 RGB [n, R, R, 3].
    decision: what edge.json says of the head beside the open set's numbers. evaluation, provenance: as there.
    memory: what the file remembers of its photos, or None.
    """

    labels: tuple[str, ...]
    head: Head
    vote_weight: float
    open_set: OpenSet
    calibration: Image
    decision: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    provenance: Mapping[str, Any]
    memory: Memory | None


def make_file(base: Base, lesson: Lesson, fitted: Fitted, name: str, *, memory: bool = True) -> bytes:
    """The content of the taught file. name: without `.tflite`. The same photos give the same bytes.

    memory: whether it remembers photos.
    """
    content = Content(
        labels=(*lesson.labels, UNKNOWN),
        head=fitted.calibration.head,
        vote_weight=fitted.calibration.vote_weight,
        open_set=fitted.open_set,
        calibration=lesson.calibration,
        decision=_decision(lesson, fitted),
        evaluation=measure(lesson, fitted),
        provenance=_provenance(base, lesson),
        memory=_remember(lesson) if memory else None,
    )
    return write_content(base, content, name)


def write_content(base: Base, content: Content, name: str) -> bytes:
    """A whole model file with the backbone of the base. name: without `.tflite`. Equal content gives equal bytes."""
    graph, parts = base.graph()
    space = content.open_set.space
    constants = {
        "vote_weight": content.vote_weight,
        "sharpness": content.open_set.sharpness.tolist(),
        "threshold": content.open_set.threshold.tolist(),
        **SHAPE_CONSTANTS,
    }
    arrays = {"kernel": content.head.kernel, "bias": content.head.bias, **space.arrays()}
    output = write_head(graph, parts, {**arrays, **constants}, base.precision)
    model = graph.pack(output, _describe(base, content.labels, name))
    self_test, pictures = record_self_test(
        base.classifier.twin(model),
        model,
        content.labels,
        base.precision,
        content.calibration,
        base.classifier.model_file.crop,
    )
    contract = {
        "format": FORMAT,
        "model": {**base.contract["model"], "crc32": zlib.crc32(model)},
        "preprocess": base.contract["preprocess"],
        "decision": {
            "unknown": True,
            "features": space.features,
            "dimensions": len(space.basis),
            "prototypes": len(space.prototypes),
            **constants,
            **content.decision,
        },
        "test_card": self_test,
        "evaluation": content.evaluation,
        "provenance": content.provenance,
    }
    parts_of_zip = {LABELS_PART: encode_labels(content.labels), **pictures}
    if content.memory is not None:
        contract["memory"] = describe(content.memory)
        parts_of_zip[MEMORY_PART] = encode(content.memory)
    text = json.dumps(contract, indent=1, ensure_ascii=False).encode()
    return attach(model, {**parts_of_zip, CONTRACT_PART: text})


def check_output(base: Path, output: Path, *, replace: bool) -> None:
    """Make the folder of `output`. Raises DataError if `output` is there and must stay."""
    if output.exists() and base.exists() and output.samefile(base):
        raise DataError(f"{output}: is the base itself, which is kept: give another name with -o")
    if output.exists() and not replace:
        raise DataError(f"{output}: there is such a file already: give another name with -o, or use --replace")
    output.parent.mkdir(parents=True, exist_ok=True)


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
    calibration = fitted.calibration
    chosen = [lesson.photos[index] for index in fitted.cross_validated.judged]
    right = calibration.probabilities.argmax(axis=1) == np.array([photo.label for photo in chosen])
    decision: dict[str, Any] = {
        "temperature": round(calibration.temperature, 4),
        "chosen_on": len(chosen),
        "choosing_loss": round(calibration.loss, 6),
        "keep": fitted.keep,
        "validation": pack(fingerprint(chosen)[:_HASH_DIGITS], right).encode(),
    }
    return decision if fitted.cross_validated.examples.views > 1 else {**decision, "views": 0}


def _remember(lesson: Lesson) -> Memory:
    labels = np.array([photo.label for photo in lesson.photos] + [NEGATIVE] * len(lesson.negative_rows), np.intp)
    own = lesson.rows.read(np.arange(len(lesson.photos)) * lesson.views)
    counts = np.bincount(labels[labels != NEGATIVE], minlength=len(lesson.labels))
    return remember(np.concatenate([own, lesson.negative_rows]), lesson.features, labels, counts)


def _provenance(base: Base, lesson: Lesson) -> dict[str, Any]:
    """What this head was made from."""
    return provenance(base, [*lesson.photos, *lesson.negatives], {"photos": photo_hashes(lesson)})


def photo_hashes(lesson: Lesson) -> dict[str, list[str]]:
    """Of the photos of each class, the beginnings of their SHA-256."""
    photos = {
        label: [photo.sha256[:_HASH_DIGITS] for photo in lesson.photos if photo.label == index]
        for index, label in enumerate(lesson.labels)
    }
    negatives = [photo.sha256[:_HASH_DIGITS] for photo in lesson.negatives]
    return photos | ({UNKNOWN: negatives} if negatives else {})


def provenance(base: Base, photos: Sequence[Photo], taught: Mapping[str, Any]) -> dict[str, Any]:
    """Of the parent what made the backbone; and, as `taught`, what was done to it."""
    parent = base.contract["provenance"]
    return {
        "data_fingerprint": fingerprint(photos),
        "weights": parent["weights"],
        "versions": parent["versions"],
        "taught": {
            "parent": {"name": base.path.name, "sha256": base.sha256},
            **taught,
            "edge-classify": __version__,
        },
    }
