"""Alien vs Predator through the whole path: accuracy, `unknown`, agreement with MediaPipe, and seconds.

    python benchmarks/accuracy.py

Everything is measured on the finished files: photos from disk, through `Classifier`, as a device would.
The strangers are the flowers' validation photos.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import cv2
import mediapipe
import numpy as np
from common import CELLS, FLOWERS, PHOTOS, Row, command, machine, read_words, record, run_folder, show, train_arguments
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

from edge_classify import Classifier, read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.learn.metrics import auroc, evaluate


def main() -> None:
    read_words(__doc__)
    print(machine())
    files: list[Row] = []
    seconds: list[Row] = []
    for alpha, resolution in CELLS:
        arguments = train_arguments(alpha, resolution)
        models = run_folder(alpha, resolution) / "models"
        shutil.rmtree(models.parent, ignore_errors=True)
        with tempfile.TemporaryDirectory() as cache:
            os.environ["XDG_CACHE_HOME"] = cache
            first = command("edge-train", *arguments)
            again = command("edge-train", *arguments)
        converted = command("edge-convert", arguments[2], "-o", models, "--precision", "float32", "int8")
        times: Row = {"from photos to both files (s)": round(first + converted), "training again (s)": round(again, 1)}
        seconds.append(show({"cell": f"{alpha}@{resolution}", **times}))
        for precision in ("float32", "int8"):
            figures = measure(models / f"mobilenet_v2_{alpha}_{resolution}_{precision}.tflite")
            files.append(show({"cell": f"{alpha}@{resolution}", "precision": precision, **figures}))
    record(__file__, files)
    record(__file__, seconds, part="seconds")


def measure(path: Path) -> Row:
    classifier = Classifier(path)
    *classes, _ = classifier.labels
    photos = [
        (photo, index) for index, label in enumerate(classes) for photo in list_pictures(PHOTOS / "validation" / label)
    ]
    images = [read_photo(photo) for photo, _ in photos]
    scores = np.stack([classifier.probabilities(image) for image in images])
    strange = np.stack([classifier.probabilities(read_photo(photo)) for photo in list_pictures(FLOWERS)])
    figures = evaluate(scores, np.array([index for _, index in photos]), tuple(classes))
    accepted = (strange.argmax(axis=1) < len(classes)).mean()

    options = vision.ImageClassifierOptions(tasks.BaseOptions(model_asset_path=str(path)), max_results=1)
    with vision.ImageClassifier.create_from_options(options) as peer:
        own = [classifier.labels[row.argmax()] for row in scores]
        size = classifier.input_size[::-1]
        small = [cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) for image in images]
        resized = np.mean([label_of(peer, image) == label for image, label in zip(small, own, strict=True)])
        whole = np.mean([label_of(peer, image) == label for image, label in zip(images, own, strict=True)])
    return {
        "kB": round(path.stat().st_size / 1e3),
        "accuracy (%)": round(100 * figures["accuracy"], 1),
        "kept (%)": round(100 * figures["kept"], 1),
        "flowers: AUROC": round(auroc(1 - scores[:, -1], 1 - strange[:, -1]), 4),
        "flowers: accepted (%)": round(100 * float(accepted), 1),
        "MediaPipe's label is ours (%)": round(100 * float(resized), 1),
        "with its own resize (%)": round(100 * float(whole), 1),
    }


def label_of(peer: vision.ImageClassifier, image: np.ndarray) -> str:
    rgb = np.ascontiguousarray(image[..., ::-1])
    result = peer.classify(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb))
    return str(result.classifications[0].categories[0].category_name)


if __name__ == "__main__":
    main()
