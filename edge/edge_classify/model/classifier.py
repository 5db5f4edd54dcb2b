"""Classifying frames with a model file."""

from __future__ import annotations

import copy
import ctypes
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import perf_counter_ns
from typing import Any, Literal, NamedTuple, NoReturn

import cv2
import numpy as np

from ..errors import ModelFileError, SelfTestError, UsageError
from ..images.crop import cut
from ..images.preprocessing import Image, preprocess
from ..system.cores import usable_cores
from . import input_scaling as scaling
from .interpreter import BUILTIN_MODEL, Interpreter, graph_start, has_dynamic_size, load_interpreter
from .labels import UNKNOWN, label_count_error
from .model_file import ModelFile, TestCard, read_model_file
from .self_test import pixel_difference, prepare_card
from .threads import AUTO, Threads, load_with_fewest_threads

log = logging.getLogger(__name__)

# (height, width) for models made for pictures of any size that do not say which: most were trained with it.
_DEFAULT_SIZE = (224, 224)
# Outputs may be out of 0 to 1 by rounding.
_PROBABILITY_TOLERANCE = 0.01


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


class Inference(NamedTuple):
    """What one inference gave: its outputs, dequantized, float32, shape (K,), and how long two stages took."""

    outputs: np.ndarray
    preprocess_ms: float
    inference_ms: float


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
    num_threads: threads that one inference may use; "auto" measures, in some 0.2 s, which is the smallest number
        that is within 10 % of the fastest.
    input_range: for third-party models, the input's values for pixels of 0 to 255: "-1..1", "0..1", "0..255", or
        "imagenet", which normalizes each channel as PyTorch's models want; None finds out, or assumes and warns.
    input_size: (height, width) for third-party models that take pictures of any size.

    threads (attribute): how many threads an inference uses; as text, also why.
    labels (attribute): the classes in output order.
    input_size (attribute): (height, width) of the model's input.
    crop (attribute): the part of each picture that is classified, (x, y, width, height) in fractions of it, or None
        for all of it. At first that in the model file; another may be assigned.
    assumptions (attribute): what the file does not say about its input and output and had to be assumed, in words;
        each was logged as a warning.

    A file made by edge-convert runs its self-test here. Raises ModelFileError, SelfTestError, UsageError or DataError.
    """

    def __init__(
        self,
        model: str | Path | ModelFile | None = None,
        *,
        labels: str | Path | Sequence[str] | None = None,
        top_k: int = 1,
        threshold: float = 0.0,
        num_threads: int | Literal["auto"] = 1,
        input_range: str | None = None,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        if top_k < 1:
            raise UsageError(f"top_k is {top_k}: expected 1 or more")
        if num_threads != AUTO if isinstance(num_threads, str) else num_threads < 1:
            raise UsageError(f"num_threads is {num_threads}: expected 1 or more, or auto")
        if not 0 <= threshold <= 1:
            raise UsageError(f"threshold is {threshold}: expected a probability, 0 to 1")
        self.model_file = (
            model if isinstance(model, ModelFile) else read_model_file(BUILTIN_MODEL if model is None else model)
        )
        self.threshold = threshold
        self.assumptions: list[str] = []
        contract = self.model_file.contract
        if contract is not None and (input_range or input_size):
            raise UsageError(
                f"{self.model_file.path}: says itself how its input is prepared: leave out the input range and size, "
                "which are for third-party models"
            )
        self._dynamic_size = None
        if contract is None:
            self._dynamic_size = input_size or self.model_file.input_size or _DEFAULT_SIZE
        if not self.model_file.intact:
            from .sandbox import try_model  # our own files need none, and start sooner

            try_model(self.model_file.path, 1 if isinstance(num_threads, str) else num_threads, self._dynamic_size)
        self.crop: Sequence[float] | None = self.model_file.crop
        # Held from the first warning on, and common to all twins.
        self._smallness_told = Lock()
        if isinstance(num_threads, str):
            self._interpreter, self.threads = load_with_fewest_threads(self._load, usable_cores())
        else:
            self._interpreter, self.threads = self._load(num_threads), Threads(num_threads)
        self._invoke: Callable[[], None] = self._interpreter.invoke
        self._output_moves = False
        self._check_input(input_size)
        self._open_output()
        self._open_input(input_range)
        known_labels = self.model_file.labels if labels is None else _given_labels(labels)
        outputs = 2 if self._output.size == 1 else self._output.size
        if known_labels is not None and len(known_labels) != outputs:
            raise ModelFileError(f"{self.model_file.path}: {label_count_error(len(known_labels), outputs)}")
        # What turns a third-party model's outputs into probabilities, and checks them.
        self._finish: Callable[[np.ndarray], np.ndarray] | None = None
        # Either warms up the runtime, too.
        if self.model_file.test_card is not None:
            self._self_test(self.model_file.test_card)
        else:
            self._learn_output_kind(known_labels)
        self.labels = known_labels or tuple(str(index) for index in range(outputs))
        self._top_k = min(top_k, len(self.labels))
        # numpy loads parts of itself when first used; not in the first frame's time.
        self._best_categories(self._finished(self._outputs()))

    def _load(self, threads: int, graph: bytes | None = None) -> Interpreter:
        return load_interpreter(self.model_file.path, threads, self._dynamic_size, graph)

    def classify(self, image: Image) -> Classification:
        """What `image` shows: uint8 BGR, shape (height, width, 3), as OpenCV reads it."""
        return self.conclude(self.infer(image))

    def infer(self, image: Image) -> Inference:
        """The part of `classify` that takes time, and remembers nothing."""
        start = perf_counter_ns()
        self._write_input(self.part(image))
        preprocessed = perf_counter_ns()
        self._invoke()
        inferred = perf_counter_ns()
        return Inference(self._outputs(), (preprocessed - start) / 1e6, (inferred - preprocessed) / 1e6)

    def infer_prepared(self, picture: Image) -> np.ndarray:
        """The outputs, as `Inference` has them, for a picture that `preprocess` has prepared: uint8 RGB of the input's
        shape."""
        np.copyto(self._pixels, picture)
        self._pass_pixels()
        self._invoke()
        return self._outputs()

    def conclude(self, inference: Inference) -> Classification:
        """The rest of `classify`. What a third-party model's outputs are may become clear with any picture, for all
        that follow: pictures have to come here in their order."""
        start = perf_counter_ns()
        scores = self._finished(inference.outputs)
        categories = self._best_categories(scores)
        best = categories[0]
        label = best.category_name if best.score >= self.threshold else UNKNOWN
        timing = Timing(inference.preprocess_ms, inference.inference_ms, (perf_counter_ns() - start) / 1e6)
        return Classification(label, best.score, categories, scores, timing)

    def twin(self, graph: bytes | None = None) -> Classifier:
        """One more interpreter of the same file, for `infer` in another thread; nothing is tested again.

        It looks at the part that `crop` says now.
        graph: the file's content, changed to give other outputs of the same input (see `model.features`), with which
            `infer` is all that works. Raises ModelFileError if the interpreter cannot load it.
        """
        twin = copy.copy(self)
        twin._interpreter = self._load(self.threads.count, graph)
        twin._invoke = twin._interpreter.invoke
        if twin._output_moves:
            twin._interpreter.invoke()
        twin._open_output()
        twin._attach_input()
        return twin

    def probabilities(self, image: Image) -> np.ndarray:
        """The probabilities of all classes for `image`: float32, shape (K,), in the order of `labels`."""
        return self._finished(self.infer(image).outputs)

    def part(self, image: Image) -> Image:
        """The part of `image` (as for `classify`) that is looked at, sharing its memory.

        Warns once if that is fewer pixels than the model takes.
        """
        if self.crop is None:
            return image
        part = cut(image, self.crop)
        height, width = self.input_size
        if (part.shape[0] < height or part.shape[1] < width) and self._smallness_told.acquire(blocking=False):
            log.warning(
                "%s: the part of the picture has %dx%d pixels, fewer than the model takes (%dx%d): larger pictures "
                "(--size) or a larger part would show more",
                self.model_file.path,
                *part.shape[1::-1],
                width,
                height,
            )
        return part

    def _probabilities_of_part(self, part: Image) -> np.ndarray:
        self._write_input(part)
        self._invoke()
        return self._finished(self._outputs())

    def _write_input(self, image: Image) -> None:
        """Preprocess `image` into the model's input tensor."""
        preprocess(image, self._pixels)
        self._pass_pixels()

    def _pass_pixels(self) -> None:
        """Make the prepared pixels the values that the input tensor takes."""
        if self._table is not None:
            cv2.LUT(self._pixels, self._table, self._input)
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

    def _outputs(self) -> np.ndarray:
        """The outputs of the last inference, dequantized: a new array, float32, shape (K,)."""
        if self._scale == 1.0 and not self._zero_point:
            return self._output.astype(np.float32)
        outputs = np.multiply(self._output, np.float32(self._scale), dtype=np.float32)
        if self._zero_point:
            outputs -= np.float32(self._zero_point * self._scale)
        return outputs

    def _finished(self, outputs: np.ndarray) -> np.ndarray:
        """The probabilities of all classes, float32, shape (K,)."""
        return outputs if self._finish is None else self._finish(outputs)

    def _view(self, details: dict[str, Any]) -> np.ndarray:
        """The interpreter's own tensor as an array that may be kept.

        `invoke` refuses to run while an array from `tensor()` lives, and a new one for each frame costs
        time. This one holds only the address, which is fixed from `allocate_tensors` on and lives as
        long as the interpreter, which this object keeps.
        """
        tensor = self._interpreter.tensor(details["index"])()
        memory = (ctypes.c_uint8 * tensor.nbytes).from_address(tensor.ctypes.data)
        return np.frombuffer(memory, tensor.dtype).reshape(tensor.shape)

    def _check_input(self, input_size: tuple[int, int] | None) -> None:
        """Refuse what is not one colour picture. input_size: as given."""
        path = self.model_file.path
        details = self._interpreter.get_input_details()
        if problem := _input_problem(details):
            raise ModelFileError(f"{path}: not for single colour pictures: {problem}")
        _, height, width, _ = details[0]["shape"].tolist()
        if not has_dynamic_size(self._interpreter):
            if input_size not in (None, (height, width)):
                raise UsageError(f"{path}: its input size is fixed, {width}x{height}: leave out the input size")
            return
        # The output's size is known only after an inference, and the runtime may move it at any.
        self._output_moves = True
        self._interpreter.invoke()
        if input_size is None and self.model_file.input_size is None:
            self._assume(f"takes pictures of any size: assuming {width}x{height}; change it with --input-size WxH")

    def _open_input(self, input_range: str | None) -> None:
        """Find the input tensor, and how pixels become its values."""
        details = self._interpreter.get_input_details()[0]
        dtype = np.dtype(details["dtype"])
        self._input_is_signed = dtype == np.int8
        self._table = self._input_table(input_range, dtype, details["quantization"])
        self._attach_input()
        self.input_size: tuple[int, int] = self._input.shape[:2]

    def _attach_input(self) -> None:
        self._input = self._view(self._interpreter.get_input_details()[0])[0]
        self._pixels = self._input.view(np.uint8) if self._table is None else np.empty(self._input.shape, np.uint8)

    def _input_table(
        self, input_range: str | None, dtype: np.dtype[Any], quantization: tuple[float, int]
    ) -> np.ndarray | None:
        """The input's value for each value of a pixel, or None if a quantized input takes pixels as they are."""
        path, normalization = self.model_file.path, self.model_file.normalization
        if self.model_file.contract is not None and dtype != np.float32:
            # The first versions gave an int8 file's input the range of its calibration photos.
            return scaling.table(normalization, dtype, quantization) if normalization and quantization[0] else None
        if input_range is not None and input_range not in scaling.RANGES:
            raise UsageError(f"input_range is {input_range!r}: expected one of {', '.join(scaling.RANGES)}")
        if input_range:
            normalization = scaling.RANGES[input_range]
        change = "change it with --input-range"
        if dtype == np.float32:
            if normalization is None:
                start = graph_start(self._interpreter)
                found = scaling.from_graph(start) if start else None
                self._assume(
                    f"takes {scaling.in_words(found)}, judging by the first operations of its graph; {change}"
                    if found
                    else f"does not say how its input is scaled: assuming {scaling.in_words(scaling.DEFAULT_RANGE)}; "
                    f"{change}"
                )
                normalization = scaling.RANGES[found or scaling.DEFAULT_RANGE]
            return scaling.table(normalization, dtype, None)
        if not quantization[0]:
            if input_range not in (None, "0..255"):
                raise UsageError(f"{path}: its input takes pixels as they are, 0..255: leave out the input range")
            return None
        low, high = scaling.quantized_range(quantization, dtype)
        covers = f"its quantized input covers {low:.3g} to {high:.3g}"
        if normalization is not None:
            if not input_range and not scaling.is_within(normalization, low, high):
                self._assume(f"{covers}, which contradicts the scaling in its metadata: using all of it; {change}")
                return None
            return scaling.table(normalization, dtype, quantization)
        found, exact = scaling.from_quantized_range(low, high)
        if found is None:
            self._assume(f"{covers}, which is no usual range: assuming pixels use all of it; {change}")
            return None
        if not exact:
            self._assume(f"{covers}: assuming {scaling.in_words(found)}, and cutting off what is outside; {change}")
        elif found != "imagenet":
            return None  # as close to the pixels as calibration makes it
        return scaling.table(scaling.RANGES[found], dtype, quantization)

    def _assume(self, what: str) -> None:
        self.assumptions.append(what)
        log.warning("%s: %s", self.model_file.path, what)

    def _invoke_and_fetch(self) -> None:
        """For outputs that the runtime may move: run, and copy the output to where it is read."""
        self._interpreter.invoke()
        self._output[:] = self._interpreter.get_tensor(self._output_index).reshape(-1)

    def _open_output(self) -> None:
        """Find the output, as a vector, and what turns its values into probabilities."""
        details = self._interpreter.get_output_details()
        if problem := _output_problem(details):
            raise ModelFileError(f"{self.model_file.path}: not a classifier: {problem}")
        self._output_index = details[0]["index"]
        if self._output_moves:
            self._invoke = self._invoke_and_fetch
            self._output = np.zeros(int(details[0]["shape"].prod()), details[0]["dtype"])
        else:
            self._output = self._view(details[0]).reshape(-1)
        scale, zero_point = details[0]["quantization"]
        if self._output.dtype == np.float32 or not scale:
            scale, zero_point = 1.0, 0
        self._scale, self._zero_point = float(scale), int(zero_point)

    def _learn_output_kind(self, labels: tuple[str, ...] | None) -> None:
        """Find out, with several pictures, whether a third-party model's outputs are probabilities or logits."""
        path = self.model_file.path
        if labels is None and self.model_file.labels_problem:
            raise ModelFileError(f"{path}: {self.model_file.labels_problem}: name its classes with --labels FILE")
        outputs = np.array([self.probabilities(picture) for picture in _probes(*self.input_size)])
        if not np.isfinite(outputs).all():
            self._refuse_numbers()
        in_range = _in_range(outputs)
        if self._output.size == 1:
            if labels is None:
                raise ModelFileError(
                    f"{path}: it has one output, which needs two labels: name them with --labels FILE, "
                    "first the one for an output of 0, then the one for 1"
                )
            self._finish = self._finish_probability if in_range else self._finish_logit
            if not in_range:
                self._assume("its output is no probability: treating it as a logit (sigmoid)")
            return
        # With labels, a float output need not sum to 1: one sigmoid per class is a classifier, too.
        if in_range and (labels or self._output.dtype != np.float32 or (abs(outputs.sum(axis=1) - 1) < 0.1).all()):
            self._finish = self._finish_probabilities
            if not labels:
                log.warning("%s: contains no labels: showing class numbers; name them with --labels FILE", path)
        elif labels:
            self._finish = self._finish_logits
            self._assume("does not output probabilities: treating its outputs as logits (softmax)")
        else:
            raise ModelFileError(
                f"{path}: not a classifier: its {self._output.size} outputs are not probabilities, and it has no "
                "labels: if it is one, name its classes with --labels FILE"
            )

    def _refuse_numbers(self) -> NoReturn:
        raise ModelFileError(
            f"{self.model_file.path}: its scores are not numbers (NaN or infinite): the model is broken, or overflows: "
            "convert it again, or change the scaling of its input with --input-range"
        )

    def _finish_probabilities(self, scores: np.ndarray) -> np.ndarray:
        if scores.min() >= 0 and scores.max() <= 1:  # false for NaN
            return scores
        if not np.isfinite(scores).all():
            self._refuse_numbers()
        if _in_range(scores):
            return np.clip(scores, 0, 1, out=scores)
        self._assume("its outputs are no probabilities for this picture: treating them as logits (softmax) from now on")
        self._finish = self._finish_logits
        return self._finish_logits(scores)

    def _finish_logits(self, scores: np.ndarray) -> np.ndarray:
        if not np.isfinite(scores).all():
            self._refuse_numbers()
        scores = np.exp(scores - scores.max())
        scores /= scores.sum()
        return scores

    def _finish_probability(self, scores: np.ndarray) -> np.ndarray:
        """Of one output: the probability of the second class."""
        if not np.isfinite(scores).all():
            self._refuse_numbers()
        if _in_range(scores):
            second = min(max(scores.item(), 0.0), 1.0)
            return np.array((1 - second, second), np.float32)
        self._assume("its output is no probability for this picture: treating it as a logit (sigmoid) from now on")
        self._finish = self._finish_logit
        return self._finish_logit(scores)

    def _finish_logit(self, scores: np.ndarray) -> np.ndarray:
        return self._finish_logits(np.array((0, scores.item()), np.float32))

    def _self_test(self, card: TestCard) -> None:
        """Preprocess and classify the file's test card, which must go as recorded."""
        path = self.model_file.path
        sizes = {card.preprocessed.shape[:2], card.picture.shape[:2]}
        if sizes != {self.input_size} or card.scores.size != self._output.size:
            raise ModelFileError(f"{path}: damaged (its self-test does not fit its input and output): copy it again")
        prepared = prepare_card(card.variant, *self.input_size, self.model_file.crop)
        difference = pixel_difference(prepared, card.preprocessed)
        if not difference <= card.pixel_tolerance:
            raise SelfTestError(
                f"{path}: this machine preprocesses images differently from the machine that made the model (self-test "
                f"differs by {difference:.2f} grey levels, tolerance {card.pixel_tolerance:g}): "
                "reinstall opencv-python-headless"
            )
        # From the recorded picture, so that the model's tolerance need not allow for the resize's.
        worst = float(np.abs(self._probabilities_of_part(card.picture[..., ::-1]) - card.scores).max())
        if not worst <= card.score_tolerance:
            raise SelfTestError(
                f"{path}: gives other probabilities than those recorded in it (self-test differs by {worst:.3f}, "
                f"tolerance {card.score_tolerance:g}): the file is damaged or the runtime broken: copy the file again"
            )


def _given_labels(labels: str | Path | Sequence[str]) -> tuple[str, ...]:
    from .label_files import read_labels  # most files bring their labels

    return read_labels(labels) if isinstance(labels, str | Path) else tuple(labels)


def _probes(height: int, width: int) -> list[Image]:
    """Pictures as different as a camera's may be, uint8 BGR."""
    card = prepare_card(0, height, width)[..., ::-1]
    plain = [np.full((height, width, 3), color, np.uint8) for color in (0, 255, (0, 0, 255), (255, 128, 0))]
    return [card, 255 - card, *plain]


def _in_range(scores: np.ndarray) -> bool:
    return bool(scores.min() >= -_PROBABILITY_TOLERANCE and scores.max() <= 1 + _PROBABILITY_TOLERANCE)


def _input_problem(details: Sequence[dict[str, Any]]) -> str:
    """Why these inputs are not one colour picture; "" if they are."""
    if len(details) != 1:
        return f"it has {len(details)} inputs ({_shapes(details)}), expected one of shape [1, height, width, 3]"
    shape, dtype = details[0]["shape"].tolist(), np.dtype(details[0]["dtype"])
    found = f"expected an input of shape [1, height, width, 3], found {shape}"
    if len(shape) != 4:
        return found
    if shape[3] not in (1, 3, 4) and shape[1] in (1, 3, 4):
        return f"{found}, which has the channels first: export it with the channels last (NHWC)"
    if shape[3] == 1:
        return f"{found}, which is for grey pictures: export it with a colour input"
    if shape[0] != 1:
        return f"{found}, which takes {shape[0]} pictures at a time: export it with a batch size of 1"
    if shape[3] != 3:
        return found
    if dtype not in (np.uint8, np.int8, np.float32):
        return f"expected an input of uint8, int8 or float32, found {dtype.name}: export it with one of these"
    return ""


def _output_problem(details: Sequence[dict[str, Any]]) -> str:
    """Why these outputs are not one score per class; "" if they are."""
    if len(details) != 1:
        return (
            f"it has {len(details)} outputs ({_shapes(details)}), expected one of shape [1, classes]; "
            "object detectors cannot be used"
        )
    shape, dtype = details[0]["shape"], np.dtype(details[0]["dtype"])
    if shape.size == 0 or shape.prod() != shape[-1] or shape[-1] < 1:
        return f"expected one output of shape [1, classes], found {_shapes(details)}"
    if dtype not in (np.uint8, np.int8, np.float32):
        only = " (it seems the number of the best class)" if shape[-1] == 1 and dtype.kind == "i" else ""
        return f"expected an output of uint8, int8 or float32, found {dtype.name}{only}: export its scores"
    return ""


def _shapes(details: Sequence[dict[str, Any]]) -> str:
    return ", ".join(str(tensor["shape"].tolist()) for tensor in details)
