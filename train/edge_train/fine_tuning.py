"""Fine-tuning: the backbone's upper blocks trained on too, from where the frozen backbone's head has settled."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from edge_classify.photo import read_photo
from edge_classify.preprocessing import preprocess

from .backbone import MIDDLE, Backbone, load_backbone
from .cache import cache_folder
from .head import (
    Curves,
    Examples,
    Head,
    HeadSettings,
    cross_entropy,
    fit_temperature,
    share_right,
    softmax,
    split_batches,
)
from .parallel import threads_per_worker
from .rows import Rows
from .views import Augmentation, vary

_LEARNING_RATE = 3e-4
_WARM_UP = 0.1
_MOST_GRADIENT = 5.0
# Photos are kept this much larger than they are shown, so that a view cropped from one is still sharp.
_ALBUM_SCALE = 1.25


@dataclass(frozen=True)
class Tuned:
    """The backbone with its new weights, the head that belongs to it, and how it went."""

    backbone: Backbone
    head: Head
    curves: Curves


def fine_tune(
    backbone: Backbone,
    head: Head,
    examples: Examples,
    *,
    photos: Sequence[Path],
    chosen_on: np.ndarray,
    folder: Path,
    epochs: int,
    settings: HeadSettings,
    augmentation: Augmentation,
    seed: int,
) -> Tuned:
    """Train the backbone above its middle, and the head, on `examples.photos`, at a low rate that falls along a cosine.

    head: fitted on the frozen backbone. photos: the files of all examples. folder: where the new weights are put.
    chosen_on: examples whose loss decides which epoch's weights are taken.
    settings: of the head; its epochs and learning rate have no meaning here.

    Batch norms keep their statistics: a few hundred photos would give worse ones. Every epoch shows new views.
    """
    _use_tensorflow_repeatably()
    import keras
    import tensorflow as tf

    side, batch_size = backbone.resolution, settings.batch_size
    model = load_backbone(backbone.weights, backbone.alpha, side)
    kernel, bias = keras.Variable(head.kernel), keras.Variable(head.bias)
    steps = epochs * -(-len(examples.photos) // batch_size)
    names = [layer.name for layer in model.layers]
    for layer in model.layers[: names.index(MIDDLE) + 1]:
        layer.trainable = False
    variables = [*model.trainable_variables, kernel, bias]
    warm_up = max(1, int(_WARM_UP * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=_LEARNING_RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=_MOST_GRADIENT)
    optimizer.build(variables)

    def logits_of(pixels: tf.Tensor) -> tf.Tensor:
        features = model(tf.cast(pixels, tf.float32) / 127.5 - 1.0, training=False)
        return tf.matmul(features, kernel.value) + bias.value

    def step(pixels: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = logits_of(pixels)
            loss = tf.reduce_mean(weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return logits

    images = tf.TensorSpec((None, side, side, 3), tf.uint8)
    learn = tf.function(step, input_signature=[images, tf.TensorSpec((None, len(head.bias))), tf.TensorSpec((None,))])
    infer = tf.function(logits_of, input_signature=[images])

    album = _make_album(photos, examples.photos, side)
    place = {int(photo): index for index, photo in enumerate(examples.photos)}
    validation = _prepare(photos, chosen_on, side)
    rng = np.random.default_rng(seed)
    curves = Curves()
    best: tuple[float, int, list[np.ndarray], Head] = (np.inf, 0, [], head)
    with tqdm(total=epochs, desc=f"fine-tuning {backbone.alpha} @ {side}", unit="epoch") as progress:
        for epoch in range(1, epochs + 1):
            batches = split_batches(rng.permutation(examples.photos), batch_size)
            for batch in batches:
                shown = _show(album.read([place[int(photo)] for photo in batch]), side, augmentation, rng)
                labels = examples.labels[batch]
                targets = examples.targets(batch, settings.label_smoothing)
                probabilities = softmax(np.asarray(learn(shown, targets, examples.weights[labels])))
                curves.add_batch(probabilities, labels)
            curves.end_epoch(batches)
            progress.update()
            logits = np.concatenate(
                [
                    np.asarray(infer(validation.read(range(start, min(start + batch_size, len(validation))))))
                    for start in range(0, len(validation), batch_size)
                ]
            )
            truth = examples.labels[chosen_on]
            # Calibrated, as the head will be: else a surer epoch looks worse than it is.
            loss = cross_entropy(softmax(logits / fit_temperature(logits, truth)), truth)
            curves.validation_loss.append(loss)
            curves.validation_accuracy.append(share_right(logits, truth))
            progress.set_postfix(validation=f"{curves.validation_accuracy[-1]:.1%}", refresh=False)
            if loss < best[0]:
                best = (loss, epoch, model.get_weights(), Head(np.array(kernel.value), np.array(bias.value)))
            elif epoch - best[1] >= settings.patience:
                break
    model.set_weights(best[2])
    return Tuned(_save(model, backbone, folder), best[3], curves)


def _save(model: Any, backbone: Backbone, folder: Path) -> Backbone:
    """Write the weights into `folder`, named by content."""
    content = hashlib.sha256()
    for array in model.get_weights():
        content.update(array.tobytes())
    path = folder / f"{content.hexdigest()[:16]}.weights.h5"
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"partial_{os.getpid()}.weights.h5"
    model.save_weights(partial)
    partial.replace(path)
    return replace(backbone, weights=path, sha256=content.hexdigest())


def _make_album(photos: Sequence[Path], chosen: np.ndarray, side: int) -> Rows:
    """The chosen photos, squashed to a little more than they are shown at, uint8 BGR."""
    larger = round(side * _ALBUM_SCALE)
    album = Rows(cache_folder(), (larger, larger, 3), np.uint8)
    for photo in chosen:
        picture = read_photo(photos[photo])
        shrinks = min(picture.shape[:2]) > larger
        album.append(
            cv2.resize(picture, (larger, larger), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        )
    return album


def _prepare(photos: Sequence[Path], chosen: np.ndarray, side: int) -> Rows:
    """The chosen photos as the device would see them."""
    prepared = Rows(cache_folder(), (side, side, 3), np.uint8)
    out = np.empty((side, side, 3), np.uint8)
    for photo in chosen:
        prepared.append(preprocess(read_photo(photos[photo]), out))
    return prepared


def _show(pictures: np.ndarray, side: int, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    shown = np.empty((len(pictures), side, side, 3), np.uint8)
    for picture, out in zip(pictures, shown, strict=True):
        if augmentation.views:
            vary(picture, out, rng, augmentation.flip, augmentation.crop, augmentation.color)
        else:
            preprocess(picture, out)
    return shown


def _use_tensorflow_repeatably() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads_per_worker())
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return  # TensorFlow has started already, in this process
