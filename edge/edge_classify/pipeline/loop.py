"""The loop at run time: source → newest frame → preprocess → invoke → decide → result."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import EdgeClassifyError
from ..model.classifier import Timing
from .latency import StageTimes

if TYPE_CHECKING:
    from ..model.classifier import Classification, Classifier
    from ..sources.frame import Frame
    from .decision import Change, Decision
    from .stillness import Stillness

_Item = TypeVar("_Item")


class Model(NamedTuple):
    """One of the models that classify the same frames.

    name: what its results are called by, different from all others'.
    decision: makes its states; None takes each frame's own label.
    stillness: skips inference where its part of the picture shows nothing new. The answer before it stands, for the
        decision too: a picture that has stopped changing goes on speaking for what it shows.
    """

    name: str
    classifier: Classifier
    decision: Decision | None = None
    stillness: Stillness | None = None


LeftOut = Callable[[Model, EdgeClassifyError], None]


class Result(NamedTuple):
    """One model's answer for one frame, and how long after its capture it came.

    classification: the frame's own; if `still`, that of the last frame that was classified.
    state: the current state; `change` is set if this frame has changed it.
    timing_ms: where the time went, in milliseconds. Of several models, each takes the frame after the one before it, so
        that `capture_age` and `total` include the time of those.
    captured_time: when the frame was captured, in Unix seconds.
    finished_at: when the result was ready, in seconds of `time.perf_counter`.
    still: nothing in the picture had changed, so inference was skipped.
    model: the model's name: that of its file, without the suffix, or the one that it was given.
    frame_done: no other model still has to classify the frame.
    """

    frame: Frame
    classification: Classification
    state: str
    change: Change | None
    timing_ms: StageTimes
    captured_time: float
    finished_at: float
    still: bool
    model: str
    frame_done: bool = True

    @property
    def time(self) -> str:
        """When the frame was captured: UTC, ISO 8601, milliseconds."""
        captured = datetime.fromtimestamp(self.captured_time, UTC)
        return captured.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def origin(self) -> dict[str, Any]:
        """What every record of this result starts with, ready for JSON: time, frame, source and model."""
        return {"time": self.time, "frame": self.frame.number, "source": self.frame.name, "model": self.model}

    def as_dict(self) -> dict[str, Any]:
        """The result as every output shows it, ready for JSON."""
        return {
            **self.origin(),
            "state": self.state,
            "categories": [
                {"index": category.index, "category_name": category.category_name, "score": round(category.score, 4)}
                for category in self.classification.categories
            ],
            "timing_ms": {stage: round(value, 3) for stage, value in self.timing_ms._asdict().items()},
        }

    def event(self) -> dict[str, Any] | None:
        """The change of state as every output shows it, ready for JSON; None if the state has not changed."""
        if self.change is None:
            return None
        return {
            **self.origin(),
            "state": self.change.state,
            "score": round(self.change.score, 4),
            "previous": self.change.previous,
            "previous_seconds": None if self.change.lasted is None else round(self.change.lasted, 3),
        }


def classify_frames(
    frames: Iterable[Frame],
    classifier: Classifier,
    decision: Decision | None = None,
    stillness: Stillness | None = None,
) -> Generator[Result]:
    """Classify each frame as it arrives, as one `Model` with this decision and stillness does."""
    return classify_by_each(frames, [Model(classifier.model_file.name, classifier, decision, stillness)])


def classify_by_each(
    frames: Iterable[Frame], models: Sequence[Model], left_out: LeftOut | None = None
) -> Generator[Result]:
    """Classify each frame by each model, in their order; a frame is not copied for it.

    models: may change between two frames, which takes effect at the next.
    left_out: called when a model cannot classify a frame, with its error; the model is left out from then on. Without
        it, and if no model is left, the error is raised.
    """
    answers: dict[str, Classification] = {}

    def answer(model: Model, arrival: tuple[Frame, float]) -> Result:
        began = perf_counter()
        frame, captured_time = arrival
        name, classifier, decision, stillness = model
        captured = frame.captured_at
        still, compared_ms = False, 0.0
        if stillness is not None:
            still = stillness.shows_nothing_new(classifier.part(frame.image), captured) and name in answers
            compared_ms = (perf_counter() - began) * 1e3
        if still:
            classification = answers[name]._replace(timing=Timing(0.0, 0.0, 0.0))
        else:
            classification = classifier.classify(frame.image)
        if stillness is not None:
            answers[name] = classification
        change = None if decision is None else decision.update(classification.scores, captured)
        state = classification.label if decision is None else decision.state
        finished = perf_counter()
        age, total, timing = (began - captured) * 1e3, (finished - captured) * 1e3, classification.timing
        preprocess = compared_ms + timing.preprocess
        # All else is postprocessing, the decision included.
        postprocess = total - age - preprocess - timing.inference
        times = StageTimes(age, preprocess, timing.inference, postprocess, total)
        return Result(frame, classification, state, change, times, captured_time, finished, still, name)

    arrivals = ((frame, captured_time(frame)) for frame in frames)
    return each_result(arrivals, models, answer, left_out)


def captured_time(frame: Frame) -> float:
    """When it was captured, in Unix seconds."""
    return time.time() - (perf_counter() - frame.captured_at)


def each_result(
    items: Iterable[_Item],
    models: Sequence[Model],
    answer: Callable[[Model, _Item], Result],
    left_out: LeftOut | None,
) -> Generator[Result]:
    """What `answer` gives for each item, which stands for a frame, and each model. left_out: see `classify_by_each`."""
    left: list[Model] = []
    for item in items:
        results: list[Result] = []
        for model in tuple(models):
            if any(model is other for other in left):
                continue
            try:
                results.append(answer(model, item))
            except EdgeClassifyError as error:
                left = [other for other in (*left, model) if any(other is one for one in models)]
                if left_out is None or len(left) == len(models):
                    raise
                left_out(model, error)
        for result in results[:-1]:
            yield result._replace(frame_done=False)
        yield results[-1]
