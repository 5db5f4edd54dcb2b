"""The runtime loop: source → newest frame → prepare → invoke → decide → result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, NamedTuple

from .classifier import Classification, Classifier
from .latency import StageTimes
from .sources import Frame


class Result(NamedTuple):
    """One frame's answer, and how long after its capture it came.

    finished_at: in seconds of `time.perf_counter`.
    """

    frame: Frame
    classification: Classification
    timing_ms: StageTimes
    finished_at: float

    def as_dict(self, model: str) -> dict[str, Any]:
        """The result as every output shows it, ready for JSON; `model` is the model file's name."""
        # The wall clock at the capture: now, less what has passed since.
        captured = datetime.now(UTC).timestamp() - (perf_counter() - self.frame.captured_at)
        return {
            "time": datetime.fromtimestamp(captured, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "frame": self.frame.number,
            "source": self.frame.name,
            "model": model,
            "state": self.classification.label,
            "categories": [
                {**asdict(category), "score": round(category.score, 4)} for category in self.classification.categories
            ],
            "timing_ms": {stage: round(value, 3) for stage, value in self.timing_ms._asdict().items()},
        }


def classify_frames(frames: Iterable[Frame], classifier: Classifier) -> Iterator[Result]:
    """Classify each frame as it comes."""
    for frame in frames:
        began = perf_counter()
        classification = classifier.classify(frame.image)
        finished = perf_counter()
        captured = frame.captured_at
        timing = StageTimes((began - captured) * 1e3, *classification.timing, (finished - captured) * 1e3)
        yield Result(frame, classification, timing, finished)
