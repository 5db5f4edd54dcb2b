"""The runtime loop: source → newest frame → prepare → invoke → decide → result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from .classifier import Classification, Classifier
from .sources import Frame


@dataclass(frozen=True, slots=True)
class Result:
    """One frame's answer, and how long after its capture it came.

    timing_ms: by stage, in milliseconds, in the order of `latency.STAGES`.
    finished_at: in seconds of `time.perf_counter`.
    """

    frame: Frame
    classification: Classification
    timing_ms: dict[str, float]
    finished_at: float

    def as_dict(self, model: str) -> dict[str, Any]:
        """The result as every output shows it, ready for JSON."""
        # The wall clock of the capture: now, less what has passed since.
        captured = datetime.fromtimestamp(
            datetime.now(UTC).timestamp() - (perf_counter() - self.frame.captured_at), UTC
        )
        return {
            "time": captured.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "frame": self.frame.number,
            "source": self.frame.name,
            "model": model,
            "state": self.classification.label,
            "categories": [
                {"index": category.index, "category_name": category.category_name, "score": round(category.score, 4)}
                for category in self.classification.categories
            ],
            "timing_ms": {stage: round(value, 3) for stage, value in self.timing_ms.items()},
        }


def classify_frames(frames: Iterable[Frame], classifier: Classifier) -> Iterator[Result]:
    """Classify each frame as it comes."""
    for frame in frames:
        began = perf_counter()
        classification = classifier.classify(frame.image)
        finished = perf_counter()
        timing = classification.timing
        yield Result(
            frame,
            classification,
            {
                "capture_age": (began - frame.captured_at) * 1e3,
                "preprocess": timing.preprocess,
                "inference": timing.inference,
                "postprocess": timing.postprocess,
                "total": (finished - frame.captured_at) * 1e3,
            },
            finished,
        )
