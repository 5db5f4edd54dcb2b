"""Folders and videos on all cores: several interpreters at once, results in the order of the frames."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Lock, Semaphore, Thread
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .latency import StageTimes
from .loop import LeftOut, Model, Result, captured_time, each_result

if TYPE_CHECKING:
    from ..model.classifier import Classifier, Inference
    from ..sources.frame import Frame
    from ..sources.source import Source

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")

# Items that are begun beyond one for each worker, so that none waits for the one whose turn it is. A large photo is
# 150 MB: more would not fit into a small device's memory.
_AHEAD = 2


def ordered_map(function: Callable[[_Item], _Outcome], items: Iterable[_Item], *, workers: int) -> Generator[_Outcome]:
    """As the built-in `map`, with this many threads; few items are taken before they are asked for.

    Each thread takes an item, one thread at a time, and works on it: what a video gives is still in its core's cache,
    and no thread is woken for it. Threads are enough: reading files, OpenCV and LiteRT leave the interpreter lock to
    others. An error of `items` or `function` is raised in its turn. When the iterator is closed, or Ctrl-C comes, no
    further item is taken, and those that are begun are waited for.
    """
    iterator = iter(items)
    taking, room = Lock(), Semaphore(workers + _AHEAD)
    # In the order of the items; None is behind the last.
    taken: SimpleQueue[Future[_Outcome] | None] = SimpleQueue()
    ended = False

    def take() -> tuple[Future[_Outcome], _Item] | None:
        nonlocal ended
        with taking:
            if ended:
                return None
            future = Future[_Outcome]()
            try:
                item = next(iterator)
            except BaseException as error:
                ended = True
                future.set_exception(error)
                taken.put(None if isinstance(error, StopIteration) else future)
                return None
            taken.put(future)
            return future, item

    def work() -> None:
        while room.acquire() and (found := take()):
            future, item = found
            try:
                future.set_result(function(item))
            except BaseException as error:
                future.set_exception(error)
            del found, future, item  # not to hold pictures while it waits
        room.release()  # for the next thread, which waits for it, to see the end

    # Daemons, since a program may end without closing the iterator.
    threads = [Thread(target=work, name=f"parallel-{number}", daemon=True) for number in range(workers)]
    for thread in threads:
        thread.start()
    try:
        while future := taken.get():
            outcomes = [future.result()]
            room.release()
            del future
            yield outcomes.pop()
    finally:
        with taking:
            ended = True
        room.release()
        for thread in threads:
            thread.join()


class _Work(NamedTuple):
    """What a thread did for one frame and model; it began at this time, in seconds of `time.perf_counter`."""

    began: float
    inference: Inference


class _Frame(NamedTuple):
    frame: Frame
    captured_time: float
    works: dict[str, _Work]


def classify_in_parallel(
    source: Source,
    models: Sequence[Model],
    interpreters: int,
    left_out: LeftOut | None = None,
    *,
    count: int | None = None,
) -> Generator[Result]:
    """What `classify_by_each` gives for the frames of files, sooner: reading pictures and inference take all cores.

    models: without `stillness`, for which each frame would need the one before it.
    interpreters: at most so many of each model run at once, with the number of threads of its classifier.
    count: how many frames are classified; None: all.

    Decisions, and whatever else depends on the frames before, are made here, one frame after another. Times of a
    result are those of its own work, without waiting for its turn.
    """
    free: SimpleQueue[list[Classifier]] = SimpleQueue()
    free.put([model.classifier for model in models])

    def work(frame: Frame) -> dict[str, _Work]:
        try:
            own = free.get_nowait()
        except Empty:
            own = [model.classifier.twin() for model in models]
        works = {
            model.name: _Work(perf_counter(), classifier.infer(frame.image))
            for model, classifier in zip(models, own, strict=True)
        }
        free.put(own)
        return works

    done = source.map(work, partial(ordered_map, workers=interpreters))
    frames = (_Frame(frame, captured_time(frame), works) for frame, works in islice(done, count))
    return each_result(frames, models, _answer, left_out)


def _answer(model: Model, done: _Frame) -> Result:
    resumed = perf_counter()
    captured = done.frame.captured_at
    began, inference = done.works[model.name]
    decision = model.decision
    classification = model.classifier.conclude(inference)
    change = None if decision is None else decision.update(classification.scores, captured)
    state = classification.label if decision is None else decision.state
    finished = perf_counter()
    age, postprocess = (began - captured) * 1e3, (finished - resumed) * 1e3
    total = age + inference.preprocess_ms + inference.inference_ms + postprocess
    times = StageTimes(age, inference.preprocess_ms, inference.inference_ms, postprocess, total)
    return Result(done.frame, classification, state, change, times, done.captured_time, finished, False, model.name)
