"""The parts that make a TFLite model a model file: labels.txt, edge.json and the test card, in an appended zip."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_classify.images.preprocessing import PREPARATION, Image
from edge_classify.model.classifier import Classifier
from edge_classify.model.model_file import FORMAT
from edge_classify.model.self_test import prepare_card

from .run_folder import Cell, Run
from .versions import converter_versions

LABELS, CONTRACT, CARD, PICTURE = "labels.txt", "edge.json", "test_card.png", "test_picture.png"

# Mean over the card. Linear resizing differs by 0.07 at most between ARM and x86-64; area, nearest, other
# crops and colours differ by 0.7 to 80.
_PIXEL_TOLERANCE = 0.25
# Where XNNPACK cannot run (tflite-runtime, a container without /sys), other kernels round otherwise: of the grid's 20
# cells int8 shifts by up to 0.13, dynamic by up to 0.07, float32 by 0.00001.
_SCORE_TOLERANCE = {"float32": 0.01, "float16": 0.01, "dynamic": 0.2, "int8": 0.2, "integer": 0.2}
_CARD_VARIANTS = 32
# Photos in one mixture, mixtures and cards tried, and the photos' share.
_MIXED_PHOTOS, _MIXTURES, _SHARES = 8, 4, (0.7, 0.85, 1.0)


def attach(model: bytes, parts: Mapping[str, bytes]) -> bytes:
    """Append `parts` to the model as an uncompressed zip, the way TFLite Metadata does; equal bytes for equal input."""
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)
    return file.getvalue()


def labels_part(labels: tuple[str, ...]) -> bytes:
    return ("\n".join(labels) + "\n").encode()


def test_card(classifier: Classifier, precision: str, calibration: Image) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Record the self-test: its entry in edge.json, and its pictures as PNG, by name.

    A drawn card is prepared; classified is a picture whose probabilities are spread, for there a wrong result shows.
    A card alone is so strange to most models that `unknown` is all they say, so it is mixed with the mean of a few
    calibration photos; of many such mixtures the one is taken whose probabilities are spread most.
    """
    height, width = classifier.input_size
    cards = [prepare_card(variant, height, width) for variant in range(_CARD_VARIANTS)]
    groups = [calibration[first :: max(1, len(calibration) // _MIXED_PHOTOS)] for first in range(_MIXTURES)]
    means = [group[:_MIXED_PHOTOS].mean(axis=0) for group in groups if len(group)]
    pictures = list(enumerate(cards))
    for variant, card in enumerate(cards[:_MIXTURES]):
        for mean in means:
            for share in _SHARES:
                pictures.append((variant, np.round(share * mean + (1 - share) * card).astype(np.uint8)))
    scores = [classifier.probabilities(picture[..., ::-1]) for _, picture in pictures]
    best = int(np.argmax([-float((s * np.log(s + 1e-9)).sum()) for s in scores]))
    variant, picture = pictures[best]
    entry = {
        "variant": variant,
        "labels": list(classifier.labels),
        "scores": [round(float(score), 6) for score in scores[best]],
        "pixel_tolerance": _PIXEL_TOLERANCE,
        "score_tolerance": _SCORE_TOLERANCE[precision],
    }
    return entry, {CARD: _png(cards[variant]), PICTURE: _png(picture)}


def _png(picture: Image) -> bytes:
    _, png = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return png.tobytes()


def contract(
    run: Run, cell: Cell, precision: str, model: bytes, card: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> bytes:
    """edge.json: all that a device, or a person, needs to know of this file.

    model: the flatbuffer that the parts are appended to.
    """
    index = run.index
    content = {
        "format": FORMAT,
        "model": {
            "family": cell.backbone,
            "alpha": cell.alpha,
            "resolution": cell.resolution,
            "precision": precision,
            "parameters": cell.parameters,
            "multiply_adds": cell.multiply_adds,
            "crc32": zlib.crc32(model),
        },
        "preprocess": PREPARATION,
        "decision": {"unknown": "prototypes" in cell.head, **cell.decision},
        "test_card": card,
        "evaluation": evaluation,
        "provenance": {
            "data_fingerprint": index["photos"]["fingerprint"],
            "seed": index["seed"],
            "arguments": index["arguments"],
            "weights": {"name": cell.weights_name, "sha256": cell.weights_sha256},
            "versions": {
                "train": index["versions"],
                "convert": converter_versions(),
            },
        },
    }
    return json.dumps(content, indent=1, ensure_ascii=False).encode()


def file_name(cell: Cell, precision: str) -> Path:
    return Path(f"mobilenet_v2_{cell.name}_{precision}.tflite")
