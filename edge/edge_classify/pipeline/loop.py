"""The loop at run time: source → newest frame → preprocess → invoke → decide → result."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from ..model.classifier import Timing
from .latency import StageTimes

if TYPE_CHECKING:
    from ..model.classifier import Classification, Classifier
    from ..sources.frame import Frame
    from .decision import Change, Decision
    from .stillness import Stillness


class Result(NamedTuple):
    """One frame's answer, and how long after its capture it came.

    classification: the frame's own; if `still`, that of the last frame that was classified.
    state: the current state; `change` is set if this frame has changed it.
    timing_ms: where the time went, in milliseconds.
    captured_time: when the frame was captured, in Unix seconds.
    finished_at: when the result was ready, in seconds of `time.perf_counter`.
    still: nothing in the picture had changed, so inference was skipped.
    model: the model file's name, without its suffix.
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


def classify_frames(
    frames: Iterable[Frame],
    classifier: Classifier,
    decision: Decision | None = None,
    stillness: Stillness | None = None,
) -> Iterator[Result]:
    """Classify each frame as it arrives.

    decision: makes the states; None takes each frame's own label.
    stillness: skips inference for a picture that shows nothing new. The answer before it stands, for the decision too:
        a picture that has stopped changing goes on speaking for what it shows.
    """
    model = classifier.model_file.name
    classification: Classification | None = None
    for frame in frames:
        began = perf_counter()
        compared_ms = 0.0
        still = False
        if stillness is not None:
            still = stillness.shows_nothing_new(classifier.part(frame.image), frame.captured_at)
            compared_ms = (perf_counter() - began) * 1e3
        if still and classification is not None:
            classification = classification._replace(timing=Timing(0.0, 0.0, 0.0))
        else:
            classification = classifier.classify(frame.image)
        captured = frame.captured_at
        change = None
        if decision is not None:
            change = decision.update(classification.scores, captured)
        finished = perf_counter()
        captured_time = time.time() - (finished - captured)
        age, timing = (began - captured) * 1e3, classification.timing
        total = (finished - captured) * 1e3
        preprocess = compared_ms + timing.preprocess
        # All else is postprocessing, the decision included.
        postprocess = total - age - preprocess - timing.inference
        yield Result(
            frame,
            classification,
            classification.label if decision is None else decision.state,
            change,
            StageTimes(age, preprocess, timing.inference, postprocess, total),
            captured_time,
            finished,
            still,
            model,
        )
