"""Classifying frames with a model file."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from ..errors import ModelFileError, SelfTestError, UsageError
from ..images.preprocessing import Image, preprocess
from ..labels import UNKNOWN, read_labels
from .interpreter import BUILTIN_MODEL, load_interpreter
from .model_file import ModelFile, TestCard, read_model_file
from .self_test import pixel_difference, prepare_card

log = logging.getLogger(__name__)

# (mean, standard deviation) of the input for models that do not say: pixels of 0 to 255 become -1 to 1.
_DEFAULT_NORMALIZATION = (127.5, 127.5)


@dataclass(frozen=True, slots=True)
class Category:
    """One class of a result. index: its output's place. score: its probability, 0 to 1."""

    index: int
    category_name: str
    score: float


class Timing(NamedTuple):
    """Where the time of one classification went, in milliseconds."""

    preprocess: float
    inference: float
    postprocess: float


class Classification(NamedTuple):
    """What a picture shows.

    label: the best category's name, or "unknown" if its score is below the threshold.
    score: the best category's probability, 0 to 1.
    categories: the best `top_k`, best first.
    scores: the probabilities of all classes, float32, shape (K,), in the order of `Classifier.labels`.
    timing: how long each stage took.
    """

    label: str
    score: float
    categories: tuple[Category, ...]
    scores: np.ndarray
    timing: Timing

    def __str__(self) -> str:
        best = self.categories[0].category_name
        return f"{self.label} {self.score:.2f}" if self.label == best else f"{self.label} ({best} {self.score:.2f})"


class Classifier:
    """Classifies pictures with one model file. Not for use from two threads at once.

    model: a `.tflite` classifier, this project's or third-party, or what `read_model_file` returned for it; None is
        the built-in digit classifier.
    labels: a file with one label per line, or the labels; None takes those in the model file.
    top_k: how many categories a result lists.
    threshold: a best score below it is called "unknown". This project's model files have an `unknown` output and
        need no threshold.
    num_threads: threads that one inference may use. Two help models that take over 1 ms.

    labels (attribute): the classes in output order. input_size: (height, width) of the model's input.

    A file made by edge-convert runs its self-test here. Raises ModelFileError, SelfTestError, UsageError or DataError.
    """

    def __init__(
        self,
        model: str | Path | ModelFile | None = None,
        *,
        labels: str | Path | Sequence[str] | None = None,
        top_k: int = 1,
        threshold: float = 0.0,
        num_threads: int = 1,
    ) -> None:
        if top_k < 1:
            raise UsageError(f"top_k is {top_k}: expected 1 or more")
        if num_threads < 1:
            raise UsageError(f"num_threads is {num_threads}: expected 1 or more")
        if not 0 <= threshold <= 1:
            raise UsageError(f"threshold is {threshold}: expected a probability, 0 to 1")
        self.model_file = (
            model if isinstance(model, ModelFile) else read_model_file(BUILTIN_MODEL if model is None else model)
        )
        self.threshold = threshold
        if not self.model_file.intact:
            from .sandbox import try_model  # our own files need none, and start sooner

            try_model(self.model_file.path, num_threads)
        self._interpreter = load_interpreter(self.model_file.path, num_threads)
        self._open_input()
        self._open_output()
        known_labels = self.model_file.labels if labels is None else _given_labels(labels)
        if known_labels is not None and len(known_labels) != self._output.size:
            raise ModelFileError(
                f"{self.model_file.path}: {len(known_labels)} labels for {self._output.size} outputs: "
                "expected one label per output"
            )
        # Either warms up the runtime, too.
        if self.model_file.test_card is not None:
            self._self_test(self.model_file.test_card)
        else:
            self._learn_output_kind(known_labels)
        self.labels = known_labels or tuple(str(index) for index in range(self._output.size))
        self._top_k = min(top_k, len(self.labels))
        # numpy loads parts of itself when first used; not in the first frame's time.
        self._best_categories(self._scores())

    def classify(self, image: Image) -> Classification:
        """What `image` shows: uint8 BGR, shape (height, width, 3), as OpenCV reads it."""
        start = perf_counter_ns()
        self._write_input(image)
        preprocessed = perf_counter_ns()
        self._interpreter.invoke()
        inferred = perf_counter_ns()
        scores = self._scores()
        categories = self._best_categories(scores)
        best = categories[0]
        label = best.category_name if best.score >= self.threshold else UNKNOWN
        done = perf_counter_ns()
        timing = Timing((preprocessed - start) / 1e6, (inferred - preprocessed) / 1e6, (done - inferred) / 1e6)
        return Classification(label, best.score, categories, scores, timing)

    def probabilities(self, image: Image) -> np.ndarray:
        """The probabilities of all classes for `image`: float32, shape (K,), in the order of `labels`."""
        self._write_input(image)
        self._interpreter.invoke()
        return self._scores()

    def _write_input(self, image: Image) -> None:
        """Preprocess `image` into the model's input tensor."""
        preprocess(image, self._pixels)
        if self._normalization is not None:
            mean, deviation = self._normalization
            np.subtract(self._pixels, mean, out=self._input)
            np.divide(self._input, deviation, out=self._input)
        elif self._input_is_signed:
            # An int8 pixel is the uint8 one less 128: its top bit flipped.
            np.bitwise_xor(self._pixels, 0x80, out=self._pixels)

    def _best_categories(self, scores: np.ndarray) -> tuple[Category, ...]:
        labels = self.labels
        if self._top_k == 1:
            best = int(scores.argmax())
            return (Category(best, labels[best], scores.item(best)),)
        candidates = np.argpartition(scores, -self._top_k)[-self._top_k :].tolist()
        order = sorted(candidates, key=scores.item, reverse=True)
        return tuple([Category(index, labels[index], scores.item(index)) for index in order])

    def _scores(self) -> np.ndarray:
        """The probabilities of all classes from the last inference: a new array, float32, shape (K,)."""
        if self._scale == 1.0 and not self._zero_point:
            scores = self._output.astype(np.float32)
        else:
            scores = np.multiply(self._output, np.float32(self._scale), dtype=np.float32)
            if self._zero_point:
                scores -= np.float32(self._zero_point * self._scale)
        if self._outputs_are_logits:
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        return scores

    def _view(self, details: dict[str, Any]) -> np.ndarray:
        """The interpreter's own tensor as an array that may be kept.

        `invoke` refuses to run while an array from `tensor()` lives, and a new one for each frame costs
        time. This one holds only the address, which is fixed from `allocate_tensors` on and lives as
        long as the interpreter, which this object keeps.
        """
        tensor = self._interpreter.tensor(details["index"])()
        memory = (ctypes.c_uint8 * tensor.nbytes).from_address(tensor.ctypes.data)
        return np.frombuffer(memory, tensor.dtype).reshape(tensor.shape)

    def _open_input(self) -> None:
        """Find the input tensor, and how pixels become its values."""
        details = self._interpreter.get_input_details()
        path = self.model_file.path
        shape, dtype = details[0]["shape"].tolist(), details[0]["dtype"]
        if len(details) != 1 or len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
            raise ModelFileError(
                f"{path}: not for colour pictures: expected one input of shape [1, height, width, 3], "
                f"found {_shapes(details)}"
            )
        if dtype not in (np.uint8, np.int8, np.float32):
            raise ModelFileError(f"{path}: expected an input of uint8, int8 or float32, found {np.dtype(dtype).name}")
        self._input = self._view(details[0])[0]
        self.input_size: tuple[int, int] = (shape[1], shape[2])
        self._input_is_signed = dtype == np.int8
        self._normalization: tuple[np.float32, np.float32] | None = None
        if dtype != np.float32:
            self._pixels = self._input.view(np.uint8)
            return
        if self.model_file.normalization is None:
            log.warning("%s does not say how its input is scaled: assuming -1 to 1", path)
        mean, deviation = self.model_file.normalization or _DEFAULT_NORMALIZATION
        self._pixels = np.empty(self._input.shape, np.uint8)
        self._normalization = np.float32(mean), np.float32(deviation)

    def _open_output(self) -> None:
        """Find the output, as a vector, and what turns its values into probabilities."""
        details = self._interpreter.get_output_details()
        path = self.model_file.path
        shape, dtype = details[0]["shape"], details[0]["dtype"]
        if len(details) != 1 or shape.size == 0 or shape[0] != 1 or shape.prod() != shape[-1] or shape[-1] < 2:
            raise ModelFileError(
                f"{path}: not a classifier: expected one output of shape [1, classes], found {_shapes(details)}"
            )
        if dtype not in (np.uint8, np.int8, np.float32):
            raise ModelFileError(f"{path}: expected an output of uint8, int8 or float32, found {np.dtype(dtype).name}")
        self._output = self._view(details[0]).reshape(-1)
        scale, zero_point = details[0]["quantization"]
        if dtype == np.float32 or not scale:
            scale, zero_point = 1.0, 0
        self._scale, self._zero_point = float(scale), int(zero_point)
        self._outputs_are_logits = False

    def _learn_output_kind(self, labels: tuple[str, ...] | None) -> None:
        """Find out, with one picture, whether a third-party model's outputs are probabilities or logits."""
        path = self.model_file.path
        height, width = self.input_size
        scores = self.probabilities(prepare_card(0, height, width)[..., ::-1])
        in_range = scores.min() >= -0.01 and scores.max() <= 1.01
        # With labels, a float output need not sum to 1: one sigmoid per class is a classifier, too.
        if in_range and (labels or self._output.dtype != np.float32 or abs(scores.sum() - 1) < 0.1):
            if not labels:
                log.warning("%s contains no labels: showing class numbers; name them with --labels FILE", path)
        elif labels:
            self._outputs_are_logits = True
            log.warning("%s does not output probabilities: treating its outputs as logits (softmax)", path)
        else:
            raise ModelFileError(
                f"{path}: not a classifier: its {self._output.size} outputs are not probabilities, and it has no labels"
            )

    def _self_test(self, card: TestCard) -> None:
        """Preprocess and classify the file's test card, which must go as recorded."""
        path = self.model_file.path
        sizes = {card.preprocessed.shape[:2], card.picture.shape[:2]}
        if sizes != {self.input_size} or card.scores.size != self._output.size:
            raise ModelFileError(f"{path}: damaged (its self-test does not fit its input and output): copy it again")
        difference = pixel_difference(prepare_card(card.variant, *self.input_size), card.preprocessed)
        if not difference <= card.pixel_tolerance:
            raise SelfTestError(
                f"{path}: this machine preprocesses images differently from the machine that made the model (self-test "
                f"differs by {difference:.2f} grey levels, tolerance {card.pixel_tolerance:g}): "
                "reinstall opencv-python-headless"
            )
        # From the recorded picture, so that the model's tolerance need not allow for the resize's.
        worst = float(np.abs(self.probabilities(card.picture[..., ::-1]) - card.scores).max())
        if not worst <= card.score_tolerance:
            raise SelfTestError(
                f"{path}: gives other probabilities than those recorded in it (self-test differs by {worst:.3f}, "
                f"tolerance {card.score_tolerance:g}): the file is damaged or the runtime broken: copy the file again"
            )


def _given_labels(labels: str | Path | Sequence[str]) -> tuple[str, ...]:
    return read_labels(labels) if isinstance(labels, str | Path) else tuple(labels)


def _shapes(details: list[dict[str, Any]]) -> str:
    return ", ".join(str(tensor["shape"].tolist()) for tensor in details)
