"""What there is to tell: gathered by the thread of the frames, told by the connection's."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from ...model.labels import UNKNOWN

if TYPE_CHECKING:
    from ...images.preprocessing import Image
    from ...pipeline.loop import Result
    from ...sources.source import Source

# Changes of state that wait for the broker.
MAX_EVENTS = 1000
# A camera that has been away for so long is not what the state speaks of.
_LOST_S = 10.0
# Frames whose latency counts in the attributes.
_LATENCY_FRAMES = 1000


class _Counts(NamedTuple):
    """Since the start. at: in seconds of `time.perf_counter`. frames: those that all models have classified.

    results, unknown: by model.
    """

    at: float
    frames: int
    results: dict[str, int]
    unknown: dict[str, int]


class Present:
    """The present state of each model, the changes that have not been told yet, and how the run goes.

    models: their names.
    quiet_s: seconds without a result after which the state is no longer true.
    keep_picture: whether the frame of the last change is wanted.
    dropped: how many changes were lost, because more than 1,000 waited.
    sending: how many changes were sent, and are not confirmed by the broker.
    """

    def __init__(self, models: Iterable[str], source: Source | None, quiet_s: float, *, keep_picture: bool) -> None:
        self.states: dict[str, str] = {}
        self.scores: dict[str, float] = {}
        self.events: deque[str] = deque()
        self.picture: Image | None = None
        self.dropped = 0
        self.sending = 0
        self.last_result_at = perf_counter()
        self._models = list(models)
        self._source = source
        self._quiet_s = quiet_s
        self._keep_picture = keep_picture
        self._lock = threading.Lock()
        self._frames = 0
        self._results = dict.fromkeys(self._models, 0)
        self._unknown = dict.fromkeys(self._models, 0)
        self._totals: deque[float] = deque(maxlen=_LATENCY_FRAMES)
        self._counts = _Counts(self.last_result_at, 0, dict(self._results), dict(self._unknown))

    def take(self, result: Result) -> bool:
        """Add a result; returns whether it changes what was told. No frame waits for a broker here."""
        model, best = result.model, result.classification.categories[0]
        self.last_result_at = result.finished_at
        self.scores[model] = best.score
        self._results[model] += 1
        self._unknown[model] += best.category_name == UNKNOWN
        if result.frame_done:
            self._frames += 1
            self._totals.append(result.timing_ms.total)
        event = result.event()
        if event is None:
            return False
        if self._keep_picture:
            self.picture = result.frame.image
        with self._lock:
            self._bound(1)
            self.events.append(json.dumps(event, ensure_ascii=False))
            self.states[model] = result.state
        return True

    def next_event(self) -> str | None:
        with self._lock:
            return self.events.popleft() if self.events else None

    def put_back(self, events: Iterable[str]) -> None:
        """Events that were sent and perhaps not received, in order: they are told again, before all others."""
        with self._lock:
            self.events.extendleft(reversed(list(events)))
            self.sending = 0
            self._bound(0)

    def why_unavailable(self, now: float) -> str | None:
        """Why the state is not true any more; None if it is. now: in seconds of `time.perf_counter`."""
        if now - self.last_result_at > self._quiet_s:
            return "no result"
        lost_since = None if self._source is None else self._source.lost_since
        return "camera lost" if lost_since is not None and now - lost_since > _LOST_S else None

    def camera_is_lost(self) -> bool:
        return self._source is not None and self._source.lost_since is not None

    def attributes(self, now: float, temperature: float | None) -> dict[str, Any]:
        """How the run went since the last call, ready for JSON. For one thread alone."""
        before, after = self._counts, _Counts(now, self._frames, dict(self._results), dict(self._unknown))
        self._counts = after
        totals = sorted(self._totals.copy())
        latency = round(totals[int(0.9 * (len(totals) - 1))], 2) if totals else None
        found: dict[str, Any] = {
            "frames_per_second": round((after.frames - before.frames) / max(after.at - before.at, 1e-3), 2),
            "latency_p90_ms": latency,
            "temperature_celsius": temperature,
            "camera": "lost" if self.camera_is_lost() else "ok",
            "models": [],
        }
        for model in self._models:
            results = after.results[model] - before.results[model]
            unknown = after.unknown[model] - before.unknown[model]
            found["models"].append(
                {
                    "model": model,
                    "state": self.states.get(model),
                    "score": round(self.scores.get(model, 0.0), 4),
                    "unknown_share": round(unknown / results, 4) if results else None,
                }
            )
        return found

    def _bound(self, coming: int) -> None:
        while len(self.events) + coming > MAX_EVENTS:
            self.events.popleft()
            self.dropped += 1
