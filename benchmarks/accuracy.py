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
from common import CELLS, FLOWERS, PHOTOS, command, machine, read_words, run_folder, train_arguments
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

from edge_classify import Classifier, read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.learn.metrics import auroc, evaluate


def main() -> None:
    read_words(__doc__)
    print(machine())
    for alpha, resolution in CELLS:
        arguments = train_arguments(alpha, resolution)
        models = run_folder(alpha, resolution) / "models"
        shutil.rmtree(models.parent, ignore_errors=True)
        with tempfile.TemporaryDirectory() as cache:
            os.environ["XDG_CACHE_HOME"] = cache
            first = command("edge-train", *arguments)
            again = command("edge-train", *arguments)
        converted = command("edge-convert", arguments[2], "-o", models, "--precision", "float32", "int8")
        print(f"{alpha}@{resolution}: photos to both files {first + converted:.0f} s; training again {again:.1f} s")
        for precision in ("float32", "int8"):
            measure(models / f"mobilenet_v2_{alpha}_{resolution}_{precision}.tflite")


def measure(path: Path) -> None:
    classifier = Classifier(path)
    *classes, unknown = classifier.labels
    photos = [
        (photo, index) for index, label in enumerate(classes) for photo in list_pictures(PHOTOS / "validation" / label)
    ]
    images = [read_photo(photo) for photo, _ in photos]
    scores = np.stack([classifier.probabilities(image) for image in images])
    strange = np.stack([classifier.probabilities(read_photo(photo)) for photo in list_pictures(FLOWERS)])
    figures = evaluate(scores, np.array([index for _, index in photos]), tuple(classes))
    print(f"  {path.name}, {path.stat().st_size / 1e3:.0f} kB")
    print(f"    accuracy {figures['accuracy']:.1%}, kept {figures['kept']:.1%}", end="; ")
    accepted = (strange.argmax(axis=1) < len(classes)).mean()
    print(f"flowers: AUROC {auroc(1 - scores[:, -1], 1 - strange[:, -1]):.4f}, accepted {accepted:.1%}")

    options = vision.ImageClassifierOptions(tasks.BaseOptions(model_asset_path=str(path)), max_results=1)
    with vision.ImageClassifier.create_from_options(options) as peer:
        own = [classifier.labels[row.argmax()] for row in scores]
        size = classifier.input_size[::-1]
        small = [cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) for image in images]
        resized = np.mean([label_of(peer, image) == label for image, label in zip(small, own, strict=True)])
        whole = np.mean([label_of(peer, image) == label for image, label in zip(images, own, strict=True)])
    print(f"    MediaPipe's label is ours on {resized:.1%}; with its own resize on {whole:.1%} ({unknown} among them)")


def label_of(peer: vision.ImageClassifier, image: np.ndarray) -> str:
    rgb = np.ascontiguousarray(image[..., ::-1])
    result = peer.classify(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb))
    return str(result.classifications[0].categories[0].category_name)


if __name__ == "__main__":
    main()
