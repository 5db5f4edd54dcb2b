"""What viewers see: the newest picture together with what the models made of it, encoded once for all of them.

Nobody looking costs nothing: the loop leaves its newest results here, and no thread wakes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from ..model.labels import UNKNOWN

if TYPE_CHECKING:
    from ..images.preprocessing import Image
    from ..pipeline.loop import Model, Result
    from ..pipeline.models import Models
    from ..sources.source import Source

MAX_VIEWERS = 8
_MAX_RATE = 15.0
# Pixels across of the picture that is shown, at most.
_MAX_WIDTH = 640
_JPEG_QUALITY = 80
# A client that takes nothing for so long is let go.
STALLED_S = 10.0
_CATEGORIES = 5
# Without a new picture for so long, viewers are told.
_NOTICE_INTERVAL_S = 1.0


class TooManyViewersError(Exception):
    """MAX_VIEWERS are looking already."""


class Picture(NamedTuple):
    """What is shown at once: never a picture with the answer of another.

    number: grows with each. jpeg: the encoded picture. facts: ready for JSON. captured_at: of `time.perf_counter`.
    """

    number: int
    jpeg: bytes
    facts: dict[str, Any]
    captured_at: float


class _Seen(NamedTuple):
    """The results of one frame, and the labels of the models that they are of, by name."""

    results: Sequence[Result] = ()
    labels: Mapping[str, Sequence[str]] = {}


class View:
    """Between the loop's thread, which calls `offer`, and the server's, which calls all else."""

    def __init__(self, source: Source, models: Models, history: Iterable[dict[str, Any]]) -> None:
        """history: the latest changes of state, the newest last; it may grow in another thread."""
        self._source = source
        self._models = models
        self.viewers = 0
        self._labels = {model.name: model.classifier.labels for model in models}
        models.tell(self._take)
        self._newest = _Seen()
        self._history = history
        self._offered_at = float("-inf")
        self._busy = False
        self._picture: Picture | None = None
        self._number = self._old = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: ThreadPoolExecutor | None = None

    def offer(self, results: Sequence[Result]) -> None:
        """Take in the results of one frame, of all models. Never waits."""
        self._newest = _Seen(results, self._labels)
        now = results[-1].finished_at
        if self.viewers and not self._busy and self._loop is not None and now - self._offered_at >= 1 / _MAX_RATE:
            self._offered_at = now
            self._busy = True
            self._loop.call_soon_threadsafe(self._begin)

    def open(self) -> None:
        """Called in the server's thread, with its event loop running."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Condition()
        self._pool = ThreadPoolExecutor(1, "page's pictures")
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        self._loop = None
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[int]:
        """Somebody looks; gives the number after which pictures are of now. Raises TooManyViewersError."""
        if self.viewers >= MAX_VIEWERS:
            raise TooManyViewersError
        if not self.viewers:
            # What is encoded is what the last viewer saw, and a camera's next frame may take long.
            self._old = self._number
            if self._newest.results and self._source.lost_since is None:
                self._busy = True
                self._begin()
        self.viewers += 1
        try:
            yield self._old
        finally:
            self.viewers -= 1

    async def next(self, after: int) -> Picture:
        """The first picture after the one of this number, while somebody watches; a notice if none comes."""
        while True:
            async with self._changed:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait_for(lambda: self._number > after), _NOTICE_INTERVAL_S)
                if self._picture is not None and self._picture.number > after:
                    return self._picture
            lost_since = self._source.lost_since
            if lost_since is not None:
                return await self._notice(lost_since)

    def newest_image(self) -> Image | None:
        """The newest frame: uint8 BGR, shape (height, width, 3); None before the first."""
        results = self._newest.results
        return results[0].frame.image if results else None

    def labels(self) -> list[str]:
        """Those of all models, and `unknown` last."""
        labels = [label for model in self._models for label in model.classifier.labels if label != UNKNOWN]
        return [*dict.fromkeys(labels), UNKNOWN]

    def state(self) -> dict[str, Any]:
        """What is known now, ready for JSON."""
        return {
            **_describe(self._newest),
            **self._camera(self._source.lost_since),
            "history": list(self._history),
            "viewers": self.viewers,
        }

    def facts(self) -> dict[str, Any]:
        """What stays the same until a model is exchanged, ready for JSON."""
        models = []
        for model in self._models:
            contract = model.classifier.model_file.contract or {}
            models.append(
                {
                    "name": model.name,
                    "labels": list(model.classifier.labels),
                    "input": "x".join(map(str, reversed(model.classifier.input_size))),
                    "precision": contract.get("model", {}).get("precision"),
                    "threads": model.classifier.threads.count,
                }
            )
        return {"camera": self._source.description, "models": models}

    def _take(self, model: Model) -> None:
        self._labels = {**self._labels, model.name: model.classifier.labels}

    def _begin(self) -> None:
        task = asyncio.ensure_future(self._make_picture())
        self._tasks.add(task)  # else it could be collected as garbage before it has ended
        task.add_done_callback(self._tasks.discard)

    async def _make_picture(self) -> None:
        try:
            newest = self._newest
            frame = newest.results[0].frame
            jpeg = await self._encoded(frame.image)
            # With a frame goes what was true of it: the camera may be lost, or be back, once this is encoded.
            await self._publish(jpeg, {**_describe(newest), **self._camera(None)}, frame.captured_at)
        finally:
            self._busy = False

    async def _notice(self, lost_since: float) -> Picture:
        since = time.time() - (time.perf_counter() - lost_since)
        words = time.strftime("%H:%M:%S", time.localtime(since))
        facts = {**_describe(self._newest), **self._camera(lost_since)}
        return await self._publish(await self._encoded(_draw_notice(words)), facts, lost_since)

    async def _publish(self, jpeg: bytes, facts: dict[str, Any], captured_at: float) -> Picture:
        async with self._changed:
            self._number += 1
            self._picture = Picture(self._number, jpeg, facts, captured_at)
            self._changed.notify_all()
            return self._picture

    async def _encoded(self, image: Image) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _encode, image)

    def _camera(self, lost_since: float | None) -> dict[str, Any]:
        source = self._source
        lost = None if lost_since is None else round(time.perf_counter() - lost_since, 1)
        return {"lost_seconds": lost, "dropped": source.dropped, "returns": source.returns}


def _describe(seen: _Seen) -> dict[str, Any]:
    results, labels = seen
    if not results:
        return {"frame": None, "time": None, "models": []}
    return {
        "frame": results[0].frame.number,
        "time": results[0].time,
        "models": [_describe_one(result, labels[result.model]) for result in results],
    }


def _describe_one(result: Result, labels: Sequence[str]) -> dict[str, Any]:
    """The best labels, however few the run asks for."""
    scores = result.classification.scores
    best = np.argsort(-scores, kind="stable")[:_CATEGORIES]
    return {
        "model": result.model,
        "state": result.state,
        "label": result.classification.label,
        "categories": [{"name": labels[place], "score": round(float(scores[place]), 4)} for place in best],
        "timing_ms": {stage: round(value, 2) for stage, value in result.timing_ms._asdict().items()},
    }


def _encode(image: Image) -> bytes:
    height, width = image.shape[:2]
    if width > _MAX_WIDTH:
        image = np.asarray(
            cv2.resize(image, (_MAX_WIDTH, round(height * _MAX_WIDTH / width)), interpolation=cv2.INTER_AREA)
        )
    encoded, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert encoded
    return jpeg.tobytes()


def _draw_notice(since: str) -> Image:
    image = np.full((480, 640, 3), 48, np.uint8)
    for line, (words, size) in enumerate((("no picture", 1.4), (f"since {since}", 1.0))):
        (width, height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 2)
        place = ((640 - width) // 2, 220 + 60 * line + height // 2)
        cv2.putText(image, words, place, cv2.FONT_HERSHEY_SIMPLEX, size, (220, 220, 220), 2, cv2.LINE_AA)
    return image
