"""The runtime loop: source → newest frame → prepare → invoke → decide → result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, NamedTuple

from ..model.classifier import Classification, Classifier, Timing
from ..sources.frame import Frame
from .decision import Change, Decision
from .latency import StageTimes
from .stillness import Stillness


class Result(NamedTuple):
    """One frame's answer, and how long after its capture it came.

    classification: the frame's own; where `still`, that of the last frame that was classified.
    state: what is so now; `change` is there where this frame has changed it.
    finished_at: in seconds of `time.perf_counter`.
    still: nothing in the picture had changed, and inference was left out.
    """

    frame: Frame
    classification: Classification
    state: str
    change: Change | None
    timing_ms: StageTimes
    finished_at: float
    still: bool

    @property
    def time(self) -> str:
        """The wall clock at the capture: UTC, ISO 8601, milliseconds."""
        # Now, less what has passed since.
        captured = datetime.now(UTC).timestamp() - (perf_counter() - self.frame.captured_at)
        return datetime.fromtimestamp(captured, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def as_dict(self, model: str) -> dict[str, Any]:
        """The result as every output shows it, ready for JSON; `model` is the model file's name."""
        return {
            "time": self.time,
            "frame": self.frame.number,
            "source": self.frame.name,
            "model": model,
            "state": self.state,
            "categories": [
                {**asdict(category), "score": round(category.score, 4)} for category in self.classification.categories
            ],
            "timing_ms": {stage: round(value, 3) for stage, value in self.timing_ms._asdict().items()},
        }


def classify_frames(
    frames: Iterable[Frame],
    classifier: Classifier,
    decision: Decision | None = None,
    stillness: Stillness | None = None,
) -> Iterator[Result]:
    """Classify each frame as it comes.

    decision: makes the states; None takes each frame's own label.
    stillness: leaves out inference where a picture shows nothing new. The answer before stands for it, also for the
        decision: a picture that stopped changing goes on speaking for what it shows.
    """
    classification: Classification | None = None
    for frame in frames:
        began = perf_counter()
        still = stillness is not None and stillness.shows_nothing_new(frame.image, frame.captured_at)
        if still and classification is not None:
            classification = classification._replace(timing=Timing((perf_counter() - began) * 1e3, 0.0, 0.0))
        else:
            classification = classifier.classify(frame.image)
        captured = frame.captured_at
        change = None
        if decision is not None:
            change = decision.update(classification.scores, captured)
        finished = perf_counter()
        age, timing = (began - captured) * 1e3, classification.timing
        total = (finished - captured) * 1e3
        # Whatever is neither preparing nor inference is postprocessing, the decision with it.
        postprocess = total - age - timing.preprocess - timing.inference
        yield Result(
            frame,
            classification,
            classification.label if decision is None else decision.state,
            change,
            StageTimes(age, timing.preprocess, timing.inference, postprocess, total),
            finished,
            still,
        )
