"""A model file made ready to classify frames."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from ..errors import ModelFileError, SelfTestError, UsageError
from ..images.preprocessing import Image, preprocess
from ..labels import UNKNOWN, read_labels
from .interpreter import BUILTIN_MODEL, load_interpreter
from .model_file import ModelFile, read_model_file
from .sandbox import try_model
from .self_test import pixel_difference, prepare_card

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Category:
    """One class of a result; `score` is its probability, 0 to 1."""

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

    label: the best category's name, or "unknown" where its score is below the threshold.
    score: the best category's probability, 0 to 1.
    categories: the best `top_k`, best first.
    scores: the probabilities of all classes, float32, shape (K,), in the order of `Classifier.labels`.
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

    model: a `.tflite` classifier, of this project or another, or what was read of one; None is the built-in digit
        reader.
    labels: a file with one label a line, or the labels; None takes those in the model file.
    top_k: how many categories a result lists.
    threshold: a best score below it is called "unknown". This project's model files have an output for
        `unknown` and need none.
    num_threads: threads that one inference may use. Two help models that take over 1 ms.

    Our files' test card is checked here. Raises ModelFileError, SelfTestError, UsageError or DataError.
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
            raise UsageError(f"top_k (--top-k) is {top_k}: it must be at least 1")
        if num_threads < 1:
            raise UsageError(f"num_threads (--num-threads) is {num_threads}: it must be at least 1")
        if not 0 <= threshold <= 1:
            raise UsageError(f"threshold is {threshold}: it is a probability, from 0 to 1")
        self.model_file = (
            model if isinstance(model, ModelFile) else read_model_file(BUILTIN_MODEL if model is None else model)
        )
        self.threshold = threshold
        if not self.model_file.intact:
            try_model(self.model_file.path, num_threads)
        self._interpreter = load_interpreter(self.model_file.path, num_threads)
        self._write_input, self.input_size = _input_writer(
            self.model_file, self._interpreter.get_input_details(), self._view
        )
        self._output, self._scale, self._zero_point = self._open_output()
        self._logits = False
        known_labels = self.model_file.labels if labels is None else _given_labels(labels)
        self._check_is_classifier(known_labels)
        self.labels = known_labels or tuple(str(index) for index in range(self._output.size))
        self._top_k = min(top_k, len(self.labels))
        # numpy loads parts of itself when first used; not in the first frame's time.
        self._best_categories(self._scores())

    def classify(self, image: Image) -> Classification:
        """What `image` shows: uint8 BGR, shape (height, width, 3), as OpenCV reads it."""
        start = perf_counter_ns()
        self._write_input(image)
        prepared = perf_counter_ns()
        self._interpreter.invoke()
        inferred = perf_counter_ns()
        scores = self._scores()
        categories = self._best_categories(scores)
        best = categories[0]
        label = best.category_name if best.score >= self.threshold else UNKNOWN
        done = perf_counter_ns()
        timing = Timing((prepared - start) / 1e6, (inferred - prepared) / 1e6, (done - inferred) / 1e6)
        return Classification(label, best.score, categories, scores, timing)

    def probabilities(self, image: Image) -> np.ndarray:
        """The probabilities of all classes for `image`: float32, shape (K,), in the order of `labels`."""
        self._write_input(image)
        self._interpreter.invoke()
        return self._scores()

    def _best_categories(self, scores: np.ndarray) -> tuple[Category, ...]:
        labels = self.labels
        if self._top_k == 1:
            best = int(scores.argmax())
            return (Category(best, labels[best], scores.item(best)),)
        candidates = np.argpartition(scores, -self._top_k)[-self._top_k :].tolist()
        order = sorted(candidates, key=scores.item, reverse=True)
        return tuple([Category(index, labels[index], scores.item(index)) for index in order])

    def _scores(self) -> np.ndarray:
        """The probabilities of all classes that the last inference gave: a new array, float32, shape (K,)."""
        if self._scale == 1.0 and not self._zero_point:
            scores = self._output.astype(np.float32)
        else:
            scores = np.multiply(self._output, np.float32(self._scale), dtype=np.float32)
            if self._zero_point:
                scores -= np.float32(self._zero_point * self._scale)
        if self._logits:
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
        view: np.ndarray = np.frombuffer(memory, tensor.dtype).reshape(tensor.shape)
        return view

    def _open_output(self) -> tuple[np.ndarray, float, int]:
        """The first output as a vector, and what turns its numbers into probabilities."""
        details = self._interpreter.get_output_details()
        path = self.model_file.path
        shape, dtype = details[0]["shape"], details[0]["dtype"]
        if len(details) != 1 or shape.size == 0 or shape[0] != 1 or shape.prod() != shape[-1] or shape[-1] < 2:
            shapes = ", ".join(str(output["shape"].tolist()) for output in details)
            raise ModelFileError(f"{path}: not a classifier: one output of [1, classes] is needed, it has {shapes}")
        if dtype not in (np.uint8, np.int8, np.float32):
            raise ModelFileError(f"{path}: its output is {np.dtype(dtype).name}; uint8, int8 or float32 is needed")
        scale, zero_point = details[0]["quantization"]
        if dtype == np.float32 or not scale:
            scale, zero_point = 1.0, 0
        return self._view(details[0]).reshape(-1), float(scale), int(zero_point)

    def _check_is_classifier(self, labels: tuple[str, ...] | None) -> None:
        """Run the test card once: it warms up the runtime, and shows what the outputs are."""
        path, count = self.model_file.path, self._output.size
        if labels is not None and len(labels) != count:
            raise ModelFileError(
                f"{path}: {len(labels)} labels for {count} outputs: one label for each output is needed"
            )
        if self.model_file.test_card is not None:
            self._check_test_card()
            return
        height, width = self.input_size
        scores = self.probabilities(prepare_card(0, height, width)[..., ::-1])
        if (
            scores.min() >= -0.01
            and scores.max() <= 1.01
            and (labels or self._output.dtype != np.float32 or abs(scores.sum() - 1) < 0.1)
        ):
            if not labels:
                log.warning("%s has no labels inside: classes are shown by number; name them with --labels FILE", path)
        elif labels:
            self._logits = True
            log.warning("%s gives no probabilities: its outputs are taken as logits and put through a softmax", path)
        else:
            raise ModelFileError(
                f"{path}: not a classifier: its {count} outputs are not probabilities, and it has no labels"
            )

    def _check_test_card(self) -> None:
        card = self.model_file.test_card
        assert card is not None
        path = self.model_file.path
        sizes = {card.prepared.shape[:2], card.picture.shape[:2]}
        if sizes != {self.input_size} or card.scores.size != self._output.size:
            raise ModelFileError(f"{path}: damaged, its test card does not fit its input and output: copy it again")
        difference = pixel_difference(prepare_card(card.variant, *self.input_size), card.prepared)
        if not difference <= card.pixel_tolerance:
            raise SelfTestError(
                f"{path}: this machine prepares pictures unlike where the model was made (test card differs by "
                f"{difference:.2f} grey levels, {card.pixel_tolerance:g} allowed): reinstall opencv-python-headless"
            )
        # From the recorded tensor, so that the model's tolerance need not allow for the resize's.
        worst = float(np.abs(self.probabilities(card.picture[..., ::-1]) - card.scores).max())
        if not worst <= card.score_tolerance:
            raise SelfTestError(
                f"{path}: does not give the probabilities recorded in it (test card differs by {worst:.3f}, "
                f"{card.score_tolerance:g} allowed): the file is damaged or the runtime broken; copy the file again"
            )


def _given_labels(labels: str | Path | Sequence[str]) -> tuple[str, ...]:
    return read_labels(labels) if isinstance(labels, str | Path) else tuple(labels)


def _input_writer(
    model_file: ModelFile, details: list[dict[str, Any]], view: Callable[[dict[str, Any]], np.ndarray]
) -> tuple[Callable[[Image], object], tuple[int, int]]:
    """The function that prepares a picture into the model's input, and the input's (height, width)."""
    path = model_file.path
    shape = details[0]["shape"].tolist()
    if len(details) != 1 or len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        raise ModelFileError(
            f"{path}: not for colour pictures: one input of [1, height, width, 3] is needed, it has {shape}"
        )
    tensor = view(details[0])[0]
    height, width = tensor.shape[:2]
    if tensor.dtype == np.uint8:
        return lambda image: preprocess(image, tensor), (height, width)
    if tensor.dtype == np.int8:
        # An int8 pixel is the uint8 one less 128: its top bit flipped.
        pixels = tensor.view(np.uint8)
        return lambda image: np.bitwise_xor(preprocess(image, pixels), 0x80, out=pixels), (height, width)
    if tensor.dtype != np.float32:
        raise ModelFileError(f"{path}: its input is {tensor.dtype.name}; uint8, int8 or float32 is needed")
    if model_file.normalization is None:
        log.warning("%s does not say how its input is scaled: [-1, 1] is assumed", path)
    mean, deviation = model_file.normalization or (127.5, 127.5)
    prepared = np.empty((height, width, 3), np.uint8)

    def write(image: Image) -> None:
        np.subtract(preprocess(image, prepared), np.float32(mean), out=tensor)
        np.divide(tensor, np.float32(deviation), out=tensor)

    return write, (height, width)
