"""Fine-tuning: train the backbone's upper blocks together with the head, from where the frozen backbone's head settled.

The blocks below do not change, so their maps of each photo's views are computed once and kept on disk: an epoch then
costs a quarter. Whether the result is taken, and how far, is decided in `fine_tuned_fit`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edge_classify.images.preprocessing import Image
from edge_classify.learn.head import Curves, Examples, Head, accuracy, calibrated_loss, softmax, split_batches
from edge_classify.learn.photos.photo_set import TRAINING, VALIDATION
from edge_classify.learn.photos.views import show_view
from edge_classify.learn.rows import Rows

from .backbone import Backbone, load_backbone, save_weights
from .cache import cache_folder
from .feature_model import open_feature_model, split_for_fine_tuning
from .progress import show_progress
from .settings import FINE_TUNING_LEARNING_RATE, FINE_TUNING_VIEWS, MAX_GRADIENT_NORM, WARM_UP_SHARE
from .training_run import CellJob
from .workers import threads_per_worker

if TYPE_CHECKING:
    import tensorflow as tf

# One step of training: maps, targets and weights of a batch → its logits before the step.
Step: TypeAlias = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class TunedWeights:
    """What fine-tuning changes: the upper blocks' variables, float32, in Keras' order, and the head."""

    upper: list[np.ndarray]
    head: Head

    def towards(self, other: TunedWeights, share: float) -> TunedWeights:
        """Each weight moved by `share` of the way to the other's, 0 to 1 (WiSE-FT, Wortsman et al. 2022)."""

        def mix(own: np.ndarray, others: np.ndarray) -> np.ndarray:
            return own + np.float32(share) * (others - own)

        head = Head(mix(self.head.kernel, other.head.kernel), mix(self.head.bias, other.head.bias))
        return TunedWeights([mix(*pair) for pair in zip(self.upper, other.upper, strict=True)], head)


class FineTuner:
    """Trains the upper blocks of a cell's backbone, again and again from its frozen weights, on different photos.

    Adam at a low rate, with warm-up and a cosine that ends at 0 with the last epoch, so that no epoch need be chosen.
    Batch norms keep their statistics: a few hundred photos would give worse ones.
    """

    def __init__(self, job: CellJob, classes: int) -> None:
        _make_tensorflow_deterministic()
        import keras
        import tensorflow as tf

        self._job = job
        backbone = job.backbone
        self._model = load_backbone(backbone.weights, backbone.alpha, backbone.resolution)
        lower, self._upper = split_for_fine_tuning(self._model, backbone.resolution)
        self._frozen = [np.array(variable) for variable in self._upper.trainable_variables]
        self._kernel = keras.Variable(np.zeros((self._upper.output_shape[1], classes), np.float32))
        self._bias = keras.Variable(np.zeros(classes, np.float32))
        self._variables = [*self._upper.trainable_variables, self._kernel, self._bias]
        maps = tf.TensorSpec((None, *self._upper.input_shape[1:]), tf.float16)
        self._step_signature = [maps, tf.TensorSpec((None, classes)), tf.TensorSpec((None,))]
        self._infer = tf.function(self._logits, input_signature=[maps])
        self._maps, self._views = self._compute_maps(open_feature_model(lower))

    def start(self, head: Head) -> TunedWeights:
        """The frozen weights, with a head that was fitted on their features."""
        return TunedWeights(self._frozen, head)

    def train(self, head: Head, examples: Examples, chosen_on: np.ndarray | None = None) -> tuple[TunedWeights, Curves]:
        """Train on `examples.photos` for all of the settings' epochs, from the frozen weights and `head`.

        examples: of the run's training and validation photos, in that order; their rows are not used.
        chosen_on: photos to draw the curves' validation from, indices like `examples.photos`; it changes nothing.
        Of the head's settings, the epochs and the learning rate have no meaning here.
        """
        settings = self._job.run.settings
        self._assign(self.start(head))
        step = self._make_step(len(examples.photos))
        rng = np.random.default_rng(settings.seed)
        curves = Curves()
        with show_progress(f"fine-tuning {self._job.name}", settings.fine_tune, "epoch") as progress:
            for _ in range(settings.fine_tune):
                self._train_epoch(step, examples, rng, curves)
                if chosen_on is not None:
                    logits, labels = self._current_logits(chosen_on), examples.labels[chosen_on]
                    # At the temperature that is best here, as the head will be.
                    curves.validation_loss.append(calibrated_loss(logits, labels))
                    curves.validation_accuracy.append(accuracy(logits, labels))
                progress.update()
        upper = [np.array(variable) for variable in self._upper.trainable_variables]
        return TunedWeights(upper, Head(np.array(self._kernel.value), np.array(self._bias.value))), curves

    def logits(self, weights: TunedWeights, photos: np.ndarray) -> np.ndarray:
        """Of these photos as they are, indices, by the network with these weights: (len(photos), K)."""
        self._assign(weights)
        return self._current_logits(photos)

    def save(self, weights: TunedWeights, folder: Path) -> Backbone:
        """Write the backbone with these weights into `folder`, named by content; returns that backbone."""
        self._assign(weights)
        content = hashlib.sha256()
        for array in self._model.get_weights():
            content.update(array.tobytes())
        path = folder / f"{content.hexdigest()[:16]}.weights.h5"
        save_weights(self._model, path)
        return replace(self._job.backbone, weights=path, sha256=content.hexdigest())

    def _compute_maps(self, lower: Callable[[Image], np.ndarray]) -> tuple[Rows, int]:
        """float16 (photos · views, h, w, C), all views of a photo consecutively, and the number of views."""
        run, resolution = self._job.run, self._job.backbone.resolution
        photos, augmentation = run.photos.of(TRAINING, VALIDATION), run.settings.augmentation
        views = replace(augmentation, views=FINE_TUNING_VIEWS if augmentation.views else 0).keys()
        rows = Rows(cache_folder(), tuple(self._upper.input_shape[1:]), np.float16)
        with show_progress(f"preparing views for {self._job.name}", len(photos), "photo") as progress:
            for photo in photos:
                picture = photo.read(run.root)
                for view in views:
                    rows.append(lower(show_view(picture, view, photo.sha256, resolution)))
                progress.update()
        return rows, len(views)

    def _assign(self, weights: TunedWeights) -> None:
        values = [*weights.upper, weights.head.kernel, weights.head.bias]
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    def _train_epoch(self, step: Step, examples: Examples, rng: np.random.Generator, curves: Curves) -> None:
        """One pass over `examples.photos`, each in one of its views, in random order."""
        settings = self._job.run.settings.head
        batches = split_batches(rng.permutation(examples.photos), settings.batch_size)
        for batch in batches:
            maps = self._maps.read(batch * self._views + rng.integers(self._views, size=len(batch)))
            labels = examples.labels[batch]
            targets = examples.targets(batch, settings.label_smoothing)
            logits = np.asarray(step(maps, targets, examples.weights[labels]))
            curves.add_batch(softmax(logits), labels)
        curves.end_epoch(batches)

    def _current_logits(self, photos: np.ndarray) -> np.ndarray:
        batches = split_batches(photos, self._job.run.settings.head.batch_size)
        return np.concatenate([np.asarray(self._infer(self._maps.read(batch * self._views))) for batch in batches])

    def _logits(self, maps: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        features = self._upper(tf.cast(maps, tf.float32), training=False)
        return tf.matmul(features, self._kernel.value) + self._bias.value

    def _make_step(self, photos: int) -> Step:
        """A step of a new optimizer, for an epoch of so many photos; it returns the logits before it."""
        import keras
        import tensorflow as tf

        settings = self._job.run.settings
        steps = settings.fine_tune * -(-photos // settings.head.batch_size)
        warm_up = max(1, int(WARM_UP_SHARE * steps))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warm_up), warmup_target=FINE_TUNING_LEARNING_RATE, warmup_steps=warm_up
        )
        optimizer = keras.optimizers.Adam(rate, global_clipnorm=MAX_GRADIENT_NORM)
        optimizer.build(self._variables)

        def step(maps: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                logits = self._logits(maps)
                loss = tf.reduce_mean(weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits))
            gradients = tape.gradient(loss, [variable.value for variable in self._variables])
            optimizer.apply(gradients, self._variables)
            return logits

        return tf.function(step, input_signature=self._step_signature)


def _make_tensorflow_deterministic() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads_per_worker())
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return  # TensorFlow has started already, in this process
