"""Fine-tuning: train the backbone's upper blocks together with the head, from where the frozen backbone's head settled.

The blocks below do not change, so their maps of each photo's views are computed once and kept on disk: an epoch then
costs a quarter.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from edge_classify.learn.head import Curves, Examples, Head, accuracy, calibrated_loss, softmax, split_batches
from edge_classify.learn.rows import Rows

from .backbone import Backbone, load_backbone
from .cache import cache_folder
from .feature_model import open_feature_model, split_for_fine_tuning
from .photos import TRAINING, VALIDATION, Photo
from .settings import (
    FINE_TUNING_LEARNING_RATE,
    FINE_TUNING_VIEWS,
    MAX_GRADIENT_NORM,
    WARM_UP_SHARE,
    Settings,
)
from .training_run import CellJob
from .views import show_view
from .workers import threads_per_worker

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class FineTuned:
    """The backbone with its new weights, the head that belongs to it, and the course of the fit."""

    backbone: Backbone
    head: Head
    curves: Curves


def fine_tune(job: CellJob, head: Head, examples: Examples, chosen_on: np.ndarray) -> FineTuned:
    """Train on `examples.photos`; the epoch with the best loss on `chosen_on` is taken.

    head: fitted on the frozen backbone. examples: of the run's training and validation photos, in that order.
    chosen_on: indices of photos, like `examples.photos`.
    Of the head's settings, the epochs and the learning rate have no meaning here. The new weights are written to the
    run folder, named by content.
    """
    settings = job.run.settings
    tuner = FineTuner(job.backbone, head, settings, len(examples.photos))
    photos = job.run.photos.of(TRAINING, VALIDATION)
    training = [photos[index] for index in examples.photos]
    validation = [photos[index] for index in chosen_on]
    tuner.compute_maps(job.run.root, training, validation)

    rng = np.random.default_rng(settings.seed)
    curves = Curves()
    best_loss, best_epoch, best = np.inf, 0, tuner.snapshot()
    with tqdm(total=settings.fine_tune, desc=f"fine-tuning {job.name}", unit="epoch") as progress:
        for epoch in range(1, settings.fine_tune + 1):
            tuner.train_epoch(examples, rng, curves)
            loss = tuner.validate(examples.labels[chosen_on], curves)
            progress.set_postfix(validation=f"{curves.validation_accuracy[-1]:.1%}", refresh=False)
            progress.update()
            if loss < best_loss:
                best_loss, best_epoch, best = loss, epoch, tuner.snapshot()
            elif epoch - best_epoch >= settings.head.patience:
                break
    return FineTuned(tuner.save(best.weights, job.run.folder / "weights"), best.head, curves)


@dataclass(frozen=True)
class _Snapshot:
    """All weights of the backbone, as Keras orders them, and the head."""

    weights: list[np.ndarray]
    head: Head


class FineTuner:
    """A backbone and a head in training: their weights, the optimizer, and the maps that they are trained on.

    Adam at a low rate, with warm-up and a cosine. Batch norms keep their statistics: a few hundred photos would give
    worse ones.
    """

    def __init__(self, backbone: Backbone, head: Head, settings: Settings, training_photos: int) -> None:
        _make_tensorflow_deterministic()
        import keras
        import tensorflow as tf

        self._backbone = backbone
        self._settings = settings
        self._model = load_backbone(backbone.weights, backbone.alpha, backbone.resolution)
        lower, self._upper = split_for_fine_tuning(self._model, backbone.resolution)
        self._lower = open_feature_model(lower)
        self._kernel, self._bias = keras.Variable(head.kernel), keras.Variable(head.bias)
        self._variables = [*self._upper.trainable_variables, self._kernel, self._bias]
        steps = settings.fine_tune * -(-training_photos // settings.head.batch_size)
        warm_up = max(1, int(WARM_UP_SHARE * steps))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warm_up), warmup_target=FINE_TUNING_LEARNING_RATE, warmup_steps=warm_up
        )
        self._optimizer = keras.optimizers.Adam(rate, global_clipnorm=MAX_GRADIENT_NORM)
        self._optimizer.build(self._variables)
        maps = tf.TensorSpec((None, *self._upper.input_shape[1:]), tf.float16)
        targets, weights = tf.TensorSpec((None, len(head.bias))), tf.TensorSpec((None,))
        self._train = tf.function(self._train_step, input_signature=[maps, targets, weights])
        self._infer = tf.function(self._logits, input_signature=[maps])

    def compute_maps(self, root: Path, training: Sequence[Photo], validation: Sequence[Photo]) -> None:
        """Compute the last frozen layer's maps of all views of the training photos, and of the validation photos."""
        augmentation = self._settings.augmentation
        views = replace(augmentation, views=FINE_TUNING_VIEWS if augmentation.views else 0).keys()
        self._views = len(views)
        total = len(training) * len(views) + len(validation)
        description = f"views {self._backbone.alpha}_{self._backbone.resolution}"
        with tqdm(total=total, desc=description, unit="view") as progress:
            self._training_maps = self._maps_of(root, training, views, progress)
            self._validation_maps = self._maps_of(root, validation, [""], progress)

    def train_epoch(self, examples: Examples, rng: np.random.Generator, curves: Curves) -> None:
        """One pass over `examples.photos`, each in one of its views, in random order."""
        first_row = np.zeros(len(examples.labels), np.intp)
        first_row[examples.photos] = np.arange(len(examples.photos)) * self._views
        batches = split_batches(rng.permutation(examples.photos), self._settings.head.batch_size)
        for batch in batches:
            maps = self._training_maps.read(first_row[batch] + rng.integers(self._views, size=len(batch)))
            labels = examples.labels[batch]
            targets = examples.targets(batch, self._settings.head.label_smoothing)
            logits = np.asarray(self._train(maps, targets, examples.weights[labels]))
            curves.add_batch(softmax(logits), labels)
        curves.end_epoch(batches)

    def validate(self, labels: np.ndarray, curves: Curves) -> float:
        """The loss on the validation photos, whose class indices are `labels`, at the temperature that is best there.

        So will the head be; without it, a more confident epoch would look worse than it is.
        """
        rows = np.arange(len(self._validation_maps))
        batches = split_batches(rows, self._settings.head.batch_size)
        logits = np.concatenate([np.asarray(self._infer(self._validation_maps.read(batch))) for batch in batches])
        loss = calibrated_loss(logits, labels)
        curves.validation_loss.append(loss)
        curves.validation_accuracy.append(accuracy(logits, labels))
        return loss

    def snapshot(self) -> _Snapshot:
        """Copies of all weights as they are now."""
        return _Snapshot(self._model.get_weights(), Head(np.array(self._kernel.value), np.array(self._bias.value)))

    def save(self, weights: list[np.ndarray], folder: Path) -> Backbone:
        """Write these weights of the backbone into `folder`, named by content; returns the backbone that has them."""
        self._model.set_weights(weights)
        content = hashlib.sha256()
        for array in self._model.get_weights():
            content.update(array.tobytes())
        path = folder / f"{content.hexdigest()[:16]}.weights.h5"
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{os.getpid()}.partial.weights.h5"
        try:
            self._model.save_weights(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return replace(self._backbone, weights=path, sha256=content.hexdigest())

    def _maps_of(self, root: Path, photos: Sequence[Photo], views: Sequence[str], progress: tqdm[Any]) -> Rows:
        """float16 (len(photos) · len(views), h, w, C), all views of a photo consecutively."""
        rows = Rows(cache_folder(), tuple(self._upper.input_shape[1:]), np.float16)
        for photo in photos:
            picture = photo.read(root)
            for view in views:
                rows.append(self._lower(show_view(picture, view, photo.sha256, self._backbone.resolution)))
                progress.update()
        return rows

    def _logits(self, maps: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        features = self._upper(tf.cast(maps, tf.float32), training=False)
        return tf.matmul(features, self._kernel.value) + self._bias.value

    def _train_step(self, maps: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """One step of the optimizer; returns the logits before it."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            logits = self._logits(maps)
            loss = tf.reduce_mean(weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        gradients = tape.gradient(loss, [variable.value for variable in self._variables])
        self._optimizer.apply(gradients, self._variables)
        return logits


def _make_tensorflow_deterministic() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads_per_worker())
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return  # TensorFlow has started already, in this process
