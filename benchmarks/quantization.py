"""What int8 costs, and what was tried to make it cost less: simulated in TensorFlow, on the narrow cells.

    python benchmarks/quantization.py                # half an hour

Every activation and weight is rounded as TFLite rounds it (activations to 256 steps of one range a tensor, weights to
255 of one range a channel), the head is left in float32, as it was trained: edge-convert fits it to the rounded
features besides (`edge_convert.head_correction`). So each way of choosing ranges and weights can be tried,
those that the converter does not offer among them. Figures: held-out accuracy, and agreement with the float model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import keras
import numpy as np
import tensorflow as tf
from common import DATA, WORK, Row, command, machine, read_words, record, show

from edge_classify.learn.head import Head
from edge_classify.learn.open_set import FeatureSpace, OpenSet
from edge_classify.learn.votes import give_probabilities
from edge_convert.backbone_graph import build_backbone
from edge_convert.bias_correction import _batch_norm_after, _round_channels, round_weights
from edge_train.backbone import SCALINGS
from edge_train.run_folder import Cell, Run, read_run

SETS = ("alien_vs_predator", "flowers")
ALPHAS, RESOLUTIONS = (0.35, 0.5), (96, 128, 160)
BATCH = 50
SAMPLES = 4000
SCALING = SCALINGS["mobilenet_v2"]

Range = tuple[float, float]
Samples = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Way:
    """One way to quantize.

    photos: to take ranges from. choose: from values seen, the range; None is the smallest and the largest.
    relu6: the activation is kept; equalization needs one without an upper end. rounded: or all left in float32.
    """

    name: str
    photos: int = 200
    choose: Callable[[np.ndarray], Range] | None = None
    correct: bool = True
    relu6: bool = True
    equalize: bool = False
    rounded: bool = True


def min_max(values: np.ndarray) -> Range:
    return float(values.min()), float(values.max())


def percentile(share: float) -> Callable[[np.ndarray], Range]:
    return lambda values: (float(np.percentile(values, 100 - share)), float(np.percentile(values, share)))


def least_squares(values: np.ndarray) -> Range:
    """The range, of shrunken ones, after which the values' squared error is least."""
    low, high = min_max(values)
    tried = [(share * low, share * high) for share in np.linspace(0.4, 1, 31)]
    errors = []
    for begin, end in tried:
        begin, end = min(begin, 0.0), max(end, 1e-6)
        step = (end - begin) / 255
        rounded = np.clip(np.round((values - begin) / step), 0, 255) * step + begin
        errors.append(((rounded - values) ** 2).sum())
    return tried[int(np.argmin(errors))]


WAYS = (
    Way("weights and activations rounded, no more", correct=False),
    Way("bias correction (as edge-convert does)"),
    *(Way(f"ranges of {photos} photos", photos=photos) for photos in (5, 10, 25, 50, 100)),
    Way("ranges: 99.9th percentile", choose=percentile(99.9)),
    Way("ranges: 99.99th percentile", choose=percentile(99.99)),
    Way("ranges: least squared error", choose=least_squares),
    Way("ReLU for ReLU6, nothing rounded", relu6=False, rounded=False),
    Way("cross-layer equalization, ReLU for ReLU6", relu6=False, equalize=True, correct=False),
)


def main() -> None:
    read_words(__doc__)
    print(machine())
    measured: dict[str, list[tuple[float, float]]] = {way.name: [] for way in WAYS}
    floats = []
    for name in SETS:
        for number, cell in enumerate(runs(name).cells):
            floats.append(cell.evaluation["accuracy"])
            for way in WAYS:
                measured[way.name].append(measure(runs(name), number, way))
    rows = [row_of("float32", np.array(floats))]
    rows += [row_of(way, *np.array(figures).T) for way, figures in measured.items()]
    record(__file__, rows)


def row_of(way: str, accuracy: np.ndarray, agreement: np.ndarray | None = None) -> Row:
    mean, worst = (None, None) if agreement is None else (agreement.mean(), agreement.min())
    row: Row = {
        "way": way,
        "accuracy (%)": round(100 * float(accuracy.mean()), 2),
        "agreement, mean (%)": None if mean is None else round(100 * float(mean), 2),
        "agreement, worst (%)": None if worst is None else round(100 * float(worst), 2),
    }
    return show(row)


def runs(name: str) -> Run:
    folder = WORK / "quantization" / name
    if not (folder / "run.json").exists():
        grid = ("--alpha", *ALPHAS, "--resolution", *RESOLUTIONS)
        command("edge-train", DATA / "data" / name, "-o", folder, "--weights", DATA / "weights", *grid)
    return read_run(folder)


def measure(run: Run, number: int, way: Way) -> tuple[float, float]:
    """Accuracy on the held-out photos, and agreement with the trainer's model."""
    cell = run.cells[number]
    network = build_backbone(cell.weights, cell.alpha, cell.resolution)
    calibration = run.calibration(cell.resolution, way.photos)
    if way.equalize:
        equalize(network)
    ranges: dict[str, Range] = {}
    if way.rounded and way.correct:
        round_weights(network, calibration)
    elif way.rounded:
        round_only(network)
    if way.rounded:
        for point, (values, whole) in collect(network, calibration, relu6=way.relu6).items():
            ranges[point] = whole if way.choose is None else way.choose(values)
    outputs = [
        forward(network, SCALING.apply(photos), ranges, relu6=way.relu6)
        for photos in batches(run.prepared(cell.resolution, "held_out"))
    ]
    probabilities = head(cell, [np.concatenate(parts) for parts in zip(*outputs, strict=True)])
    assert run.held_out_labels is not None
    accuracy = (probabilities[:, : len(run.classes)].argmax(1) == run.held_out_labels).mean()
    agreement = (probabilities.argmax(1) == cell.held_out_probabilities.argmax(1)).mean()
    return float(accuracy), float(agreement)


def batches(photos: np.ndarray) -> list[np.ndarray]:
    return [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]


def head(cell: Cell, outputs: list[np.ndarray]) -> np.ndarray:
    names = ("basis", "prototypes", "votes", "shares", "direction")
    space = FeatureSpace(len(cell.head["kernel"]), **{name: cell.head[name] for name in names if name in cell.head})
    open_set = OpenSet(space, cell.head["sharpness"], cell.head["threshold"])
    own = Head(cell.head["kernel"], cell.head["bias"])
    return give_probabilities(own, float(cell.head["vote_weight"]), open_set, np.concatenate(outputs, axis=1))


def quantized_after(layer: keras.layers.Layer) -> bool:
    """Whether TFLite rounds what this layer gives: convolution, batch norm and activation are one operator."""
    following = [type(node.operation).__name__ for node in layer._outbound_nodes]
    return type(layer).__name__ in ("ReLU", "Add", "GlobalAveragePooling2D") or (
        type(layer).__name__ == "BatchNormalization" and "ReLU" not in following
    )


def forward(network: keras.Model, images: np.ndarray, ranges: Mapping[str, Range], *, relu6: bool) -> list[np.ndarray]:
    """Features and middle, each tensor rounded to its range, if it has one."""

    def rounded(layer: keras.layers.Layer, value: tf.Tensor) -> tf.Tensor:
        if layer.name not in ranges:
            return value
        low, high = ranges[layer.name]
        return tf.quantization.fake_quant_with_min_max_vars(value, min(low, 0.0), max(high, 1e-6), 8)

    return walk(network, images, rounded, relu6=relu6)


def collect(network: keras.Model, photos: np.ndarray, *, relu6: bool) -> dict[str, tuple[np.ndarray, Range]]:
    """Of each rounded tensor some values, and the smallest and largest of all."""
    rng = np.random.default_rng(0)
    values: dict[str, list[np.ndarray]] = {}
    wholes: dict[str, Range] = {}

    def seen(layer: keras.layers.Layer, value: tf.Tensor) -> tf.Tensor:
        array = np.asarray(value).ravel()
        low, high = min_max(array)
        before = wholes.get(layer.name, (low, high))
        wholes[layer.name] = min(low, before[0]), max(high, before[1])
        values.setdefault(layer.name, []).append(rng.choice(array, SAMPLES))
        return value

    for batch in batches(photos):
        walk(network, SCALING.apply(batch), seen, relu6=relu6)
    return {name: (np.concatenate(parts), wholes[name]) for name, parts in values.items()}


def walk(
    network: keras.Model,
    images: np.ndarray,
    at: Callable[[keras.layers.Layer, tf.Tensor], tf.Tensor],
    *,
    relu6: bool,
) -> list[np.ndarray]:
    """Run the network layer by layer, passing what is rounded through `at`."""
    values: dict[int, tf.Tensor] = {id(network.input): tf.constant(images)}
    for layer in network.layers[1:]:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        given = [values[id(tensor)] for tensor in inputs]
        if isinstance(layer, keras.layers.ReLU) and not relu6:
            value = tf.nn.relu(given[0])
        else:
            value = layer(given if len(given) > 1 else given[0], training=False)
        values[id(layer.output)] = at(layer, value) if quantized_after(layer) else value
    return [np.asarray(values[id(output)]) for output in network.outputs]


def convolutions(network: keras.Model) -> list[tuple[keras.layers.Layer, keras.layers.Layer, np.ndarray]]:
    """Each convolution, its batch norm, and by how much that scales each channel."""
    found = []
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            batch_norm = _batch_norm_after(layer)
            gamma, _, _, variance = batch_norm.get_weights()
            found.append((layer, batch_norm, np.abs(gamma) / np.sqrt(variance + batch_norm.epsilon)))
    return found


def round_only(network: keras.Model) -> None:
    for layer, _, scale in convolutions(network):
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        kernel = layer.get_weights()[0]
        axes = (0, 1) if depthwise else (0, 1, 2)
        layer.set_weights([_round_channels(kernel, scale[:, None] if depthwise else scale, axes=axes)])


def equalize(network: keras.Model) -> None:
    """Nagel et al. 2019: scale channels so that a layer's outputs and the next one's inputs have weights alike."""
    layers = convolutions(network)
    for _ in range(3):
        for (first, batch_norm, _), (second, _, _) in pairwise(layers):
            if not isinstance(first, keras.layers.DepthwiseConv2D) and not isinstance(
                second, keras.layers.DepthwiseConv2D
            ):
                continue  # a projection and the next expansion: what is between may be added to
            gamma, beta, mean, variance = batch_norm.get_weights()
            scale = np.abs(gamma) / np.sqrt(variance + batch_norm.epsilon)
            kernel, following = first.get_weights()[0], second.get_weights()[0]
            depthwise = isinstance(first, keras.layers.DepthwiseConv2D)
            out = np.abs(kernel).max(axis=(0, 1))[:, 0] if depthwise else np.abs(kernel).max(axis=(0, 1, 2))
            into = np.abs(following).max(axis=(0, 1, 3))
            factor = np.clip(np.sqrt(out * scale / np.maximum(into, 1e-9)), 1e-2, 1e2)
            batch_norm.set_weights([gamma / factor, beta / factor, mean, variance])
            second.set_weights([following * factor[:, None]])


if __name__ == "__main__":
    main()
