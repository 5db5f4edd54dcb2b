"""Folders and videos on all cores: several interpreters at once, results in the order of the frames."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .latency import StageTimes
from .loop import Result

if TYPE_CHECKING:
    from ..model.classifier import Classifier, Inference
    from ..sources.frame import Frame
    from ..sources.source import Source
    from .decision import Decision

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")

# Items that are begun beyond one for each worker, so that none waits for the one whose turn it is. A large photo is
# 150 MB: more would not fit into a small device's memory.
_AHEAD = 2


def ordered_map(function: Callable[[_Item], _Outcome], items: Iterable[_Item], *, workers: int) -> Generator[_Outcome]:
    """As the built-in `map`, with this many threads; few items are taken before they are asked for.

    Threads are enough: reading files, OpenCV and LiteRT leave the interpreter lock to others. An error of `function`
    is raised in its turn. When the iterator is closed, or Ctrl-C comes, no further item is begun.
    """
    waiting: deque[Future[_Outcome]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="parallel") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers + _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Work(NamedTuple):
    """What a thread did for one frame; it began at this time, in seconds of `time.perf_counter`."""

    began: float
    inference: Inference


def classify_in_parallel(
    source: Source, classifier: Classifier, decision: Decision | None, interpreters: int
) -> Generator[Result]:
    """What `classify_frames` gives for the frames of files, sooner: reading pictures and inference take all cores.

    interpreters: at most so many run at once, with `classifier`'s number of threads each.

    Decisions, and whatever else depends on the frames before, are made here, one frame after another. Times of a
    result are those of its own work, without waiting for its turn.
    """
    free: SimpleQueue[Classifier] = SimpleQueue()
    free.put(classifier)

    def work(frame: Frame) -> _Work:
        try:
            own = free.get_nowait()
        except Empty:
            own = classifier.twin()
        began = perf_counter()
        inference = own.infer(frame.image)
        free.put(own)
        return _Work(began, inference)

    model = classifier.model_file.name
    for frame, (began, inference) in source.map(work, partial(ordered_map, workers=interpreters)):
        resumed = perf_counter()
        classification = classifier.conclude(inference)
        change = None if decision is None else decision.update(classification.scores, frame.captured_at)
        finished = perf_counter()
        age, postprocess = (began - frame.captured_at) * 1e3, (finished - resumed) * 1e3
        total = age + inference.preprocess_ms + inference.inference_ms + postprocess
        yield Result(
            frame,
            classification,
            classification.label if decision is None else decision.state,
            change,
            StageTimes(age, inference.preprocess_ms, inference.inference_ms, postprocess, total),
            time.time() - (finished - frame.captured_at),
            finished,
            False,
            model,
        )
