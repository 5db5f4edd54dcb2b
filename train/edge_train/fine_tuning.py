"""Fine-tuning: the backbone's upper blocks trained on too, from where the frozen backbone's head has settled.

What is below them does not change, so that its maps of each photo's views are computed once and kept on disk: an epoch
then costs a quarter.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edge_classify.images.photo import read_photo
from edge_classify.images.preprocessing import Image
from edge_classify.learn.head import (
    Curves,
    Examples,
    Head,
    HeadSettings,
    calibrated_loss,
    share_right,
    softmax,
    split_batches,
)
from edge_classify.learn.rows import Rows

from .backbone import Backbone, load_backbone
from .cache import cache_folder
from .feature_model import open_feature_model, split_at_middle
from .photos import Photo
from .views import Augmentation, show_view
from .workers import threads_per_worker

_LEARNING_RATE = 3e-4
_WARM_UP = 0.1
_MOST_GRADIENT = 5.0
# Views of each photo, beside the photo as it is.
_VIEWS = 7


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
    root: Path,
    photos: Sequence[Photo],
    chosen_on: np.ndarray,
    folder: Path,
    epochs: int,
    settings: HeadSettings,
    augmentation: Augmentation,
    seed: int,
) -> Tuned:
    """Train the backbone above its middle, and the head, on `examples.photos`, at a low rate that falls along a cosine.

    head: fitted on the frozen backbone. root, photos: of all examples. folder: where the new weights are put.
    chosen_on: examples whose loss decides which epoch's weights are taken.
    settings: of the head; its epochs and learning rate have no meaning here.

    Batch norms keep their statistics: a few hundred photos would give worse ones.
    """
    _use_tensorflow_repeatably()
    import keras
    import tensorflow as tf

    batch_size = settings.batch_size
    model = load_backbone(backbone.weights, backbone.alpha, backbone.resolution)
    lower_model, upper = split_at_middle(model, backbone.resolution)
    lower = open_feature_model(lower_model)
    kernel, bias = keras.Variable(head.kernel), keras.Variable(head.bias)
    steps = epochs * -(-len(examples.photos) // batch_size)
    variables = [*upper.trainable_variables, kernel, bias]
    warm_up = max(1, int(_WARM_UP * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=_LEARNING_RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=_MOST_GRADIENT)
    optimizer.build(variables)

    def logits_of(maps: tf.Tensor) -> tf.Tensor:
        features = upper(tf.cast(maps, tf.float32), training=False)
        return tf.matmul(features, kernel.value) + bias.value

    def step(maps: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = logits_of(maps)
            loss = tf.reduce_mean(weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return logits

    shown = replace(augmentation, views=_VIEWS if augmentation.views else 0).keys()
    total = len(examples.photos) * len(shown) + len(chosen_on)
    with tqdm(total=total, desc=f"views {backbone.alpha} @ {backbone.resolution}", unit="view") as progress:

        def maps_of(chosen: np.ndarray, views: Sequence[str]) -> Rows:
            pictures = _show_views(root, [photos[index] for index in chosen], views, backbone.resolution)
            return _compute_maps(lower, pictures, progress)

        training, validation = maps_of(examples.photos, shown), maps_of(chosen_on, [""])
    signature = tf.TensorSpec((None, *training.shape), tf.float16)
    learn = tf.function(
        step, input_signature=[signature, tf.TensorSpec((None, len(head.bias))), tf.TensorSpec((None,))]
    )
    infer = tf.function(logits_of, input_signature=[signature])
    place = np.zeros(len(examples.labels), np.intp)
    place[examples.photos] = np.arange(len(examples.photos)) * len(shown)

    rng = np.random.default_rng(seed)
    curves = Curves()
    best: tuple[float, int, list[np.ndarray], Head] = (np.inf, 0, [], head)
    with tqdm(total=epochs, desc=f"fine-tuning {backbone.alpha} @ {backbone.resolution}", unit="epoch") as progress:
        for epoch in range(1, epochs + 1):
            batches = split_batches(rng.permutation(examples.photos), batch_size)
            for batch in batches:
                maps = training.read(place[batch] + rng.integers(len(shown), size=len(batch)))
                labels = examples.labels[batch]
                targets = examples.targets(batch, settings.label_smoothing)
                probabilities = softmax(np.asarray(learn(maps, targets, examples.weights[labels])))
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
            # As the head will be: else a surer epoch looks worse than it is.
            loss = calibrated_loss(logits, truth)
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


def _show_views(root: Path, photos: Sequence[Photo], views: Sequence[str], side: int) -> Iterator[Image]:
    for photo in photos:
        picture = read_photo(root / photo.path)
        for view in views:
            yield show_view(picture, view, photo.sha256, side)


def _compute_maps(lower: Callable[[Image], np.ndarray], pictures: Iterator[Image], progress: tqdm[Any]) -> Rows:
    rows: Rows | None = None
    for picture in pictures:
        maps = lower(picture)
        rows = rows or Rows(cache_folder(), maps.shape, np.float16)
        rows.append(maps)
        progress.update()
    assert rows is not None
    return rows


def _use_tensorflow_repeatably() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads_per_worker())
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return  # TensorFlow has started already, in this process
