"""What pretraining is worth: MNIST's digits 5 to 9, learned by MobileNetV2 in four ways, plotted over epochs.

    python train/recipes/mnist_transfer.py -o runs/mnist                       # MNIST and weights by Keras
    python train/recipes/mnist_transfer.py -o runs/mnist --mnist mnist.npz --weights FILE

The 28×28 digits are padded to 96×96×3; on top of the features come a hidden layer of 100 units and a softmax.

    frozen     ImageNet's features, only the new layers are trained
    tuned      the same, then the whole network
    scratch    the same network from random weights
    digits     the same network, first trained on digits 0 to 4
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from builtin_model import load_mnist
from matplotlib.figure import Figure

from edge_train.backbone import MOBILENET, SCALINGS, load_backbone
from edge_train.plots import BLUE, GREY, ORANGE, RED
from edge_train.weights import find_backbone

if TYPE_CHECKING:
    import keras

ALPHA = 0.35
RESOLUTION = 96
HIDDEN_UNITS = 100
CLASSES = 5
BATCH_SIZE = 32
COLORS = {"frozen": GREY, "tuned": BLUE, "scratch": RED, "digits": ORANGE}

Digits = tuple[np.ndarray, np.ndarray]
# (accuracy on test digits, seconds since the start of this way) after each epoch
History = list[tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--mnist", type=Path, metavar="FILE", help="mnist.npz as Keras has it (default: downloaded)")
    parser.add_argument("--weights", default="imagenet", help="as edge-train's --weights")
    parser.add_argument("--ways", nargs="+", choices=COLORS, default=list(COLORS))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    train, test = load_mnist(options.mnist)
    low = [(pad(images[labels < 5]), labels[labels < 5]) for images, labels in (train, test)]
    high = [(pad(images[labels >= 5]), labels[labels >= 5] - 5) for images, labels in (train, test)]
    weights = find_backbone("mobilenet_v2", options.weights, ALPHA, RESOLUTION, seed=options.seed).weights
    print(f"{len(high[0][1])} training digits from 5 to 9, {len(high[1][1])} test digits")

    histories: dict[str, History] = {}
    for way in options.ways:
        import keras

        keras.utils.set_random_seed(options.seed)
        began = time.perf_counter()
        network = Network(weights if way in ("frozen", "tuned") else None)
        if way in ("frozen", "tuned"):
            history = network.fit_top(high[0], high[1], options.epochs if way == "frozen" else 3, began)
            if way == "tuned":
                history = network.fit_whole(high[0], high[1], options.epochs, began)
        else:
            if way == "digits":
                network.fit_whole(low[0], low[1], options.epochs, began)
                network.new_softmax()
            history = network.fit_whole(high[0], high[1], options.epochs, began)
        histories[way] = history
        accuracy, seconds = history[-1]
        print(f"{way}: {accuracy:.2%} of the test digits after {len(history)} epochs and {seconds:.0f} s")
    (options.output / "mnist_transfer.json").write_text(json.dumps(histories, indent=1))
    plot(histories, options.output / "mnist_transfer.png")
    print(f"wrote {options.output / 'mnist_transfer.png'}")


def pad(digits: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) → uint8 (n, 96, 96, 3), the digit in the middle of a black picture."""
    border = (RESOLUTION - digits.shape[1]) // 2
    return np.repeat(np.pad(digits, ((0, 0), (border, border), (border, border)))[..., None], 3, axis=3)


class Network:
    """MobileNetV2 without its top, 100 units, a softmax."""

    def __init__(self, weights: Path | None) -> None:
        import keras

        self.backbone = load_backbone(weights, ALPHA, RESOLUTION)
        for layer in self.backbone.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.9  # 0.999 is for the millions of steps of ImageNet
        self.hidden = keras.layers.Dense(HIDDEN_UNITS, activation="relu")
        self.new_softmax()

    def new_softmax(self) -> None:
        import keras

        self.softmax = keras.layers.Dense(CLASSES)

    def fit_top(self, train: Digits, test: Digits, epochs: int, began: float) -> History:
        """Train the new layers on features that are computed once."""
        import keras

        features = [self._features(images) for images, _ in (train, test)]
        top = keras.Sequential([keras.Input(features[0].shape[1:]), self.hidden, self.softmax])
        return _fit(top, (features[0], train[1]), (features[1], test[1]), epochs, 1e-3, began)

    def fit_whole(self, train: Digits, test: Digits, epochs: int, began: float) -> History:
        """Train all layers, batch norm's statistics among them: black pictures are not like ImageNet's."""
        import keras

        image = keras.Input((RESOLUTION, RESOLUTION, 3), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 127.5, -1)(image)
        features = self.backbone(scaled)
        network = keras.Model(image, self.softmax(self.hidden(features)))
        return _fit(network, train, test, epochs, 2e-3, began)

    def _features(self, images: np.ndarray) -> np.ndarray:
        batches = np.array_split(images, -(-len(images) // 256))
        scaled = (SCALINGS[MOBILENET].divide(batch.astype(np.float32)) for batch in batches)
        return np.concatenate([self.backbone(batch, training=False) for batch in scaled])


def _fit(network: keras.Model, train: Digits, test: Digits, epochs: int, rate: float, began: float) -> History:
    import keras

    steps = epochs * -(-len(train[1]) // BATCH_SIZE)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
    network.compile(optimizer, loss, metrics=["accuracy"])
    history: History = []

    def measure(*_: object) -> None:
        _, accuracy = network.evaluate(*test, batch_size=256, verbose=0)
        history.append((accuracy, time.perf_counter() - began))

    after: Callable[..., object] = keras.callbacks.LambdaCallback
    network.fit(*train, batch_size=BATCH_SIZE, epochs=epochs, verbose=0, callbacks=[after(on_epoch_end=measure)])
    return history


def plot(histories: dict[str, History], path: Path) -> None:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, by_time in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
        for way, history in histories.items():
            x = [seconds for _, seconds in history] if by_time else range(1, len(history) + 1)
            axes.plot(x, [100 * accuracy for accuracy, _ in history], marker=".", color=COLORS[way], label=way)
        axes.set_xlabel("seconds, including preparation" if by_time else "epoch")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("accuracy on test digits 5 to 9 (%)")
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
