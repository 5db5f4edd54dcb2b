"""The queue of outputs accounts for every item, however its consumer behaves: written or counted as dropped."""

from __future__ import annotations

import errno
import threading
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_classify.outputs import queue
from edge_classify.outputs.queue import BoundedQueue, ConsumerGone

SIZE = 4
_TIMEOUT_S = 60


class Consumer:
    """Takes an item for each permit; what then happens to it is drawn beforehand, and written if nothing is left."""

    def __init__(self, fates: list[str]) -> None:
        self.fates = fates
        self.permits = threading.Semaphore(0)
        self.written: list[int] = []

    def __call__(self, item: int) -> None:
        assert self.permits.acquire(timeout=_TIMEOUT_S)
        fate = self.fates.pop(0) if self.fates else "written"
        if fate == "lost":
            raise OSError(errno.ENOSPC, "No space left on device")
        if fate == "gone":
            raise ConsumerGone
        self.written.append(item)


FATES = st.lists(st.sampled_from(["written", "written", "written", "lost"]), max_size=30)


@given(FATES, st.lists(st.sampled_from(["put", "put", "permit"]), max_size=60), st.booleans())
def test_of_a_live_queue_each_item_is_written_or_counted_as_dropped(
    fates: list[str], actions: list[str], drained: bool
) -> None:
    consumer = Consumer(fates)
    given_items = actions.count("put")
    with mock.patch.object(queue, "MAX_WAITING", SIZE), BoundedQueue(consumer, "test", live=True) as waiting:
        for item, action in enumerate(actions):
            if action == "put":
                waiting.put(item)  # never waits: the consumer may have no permit
            else:
                consumer.permits.release()
        consumer.permits.release(len(actions) + 1)
        if drained:
            assert waiting.drain(_TIMEOUT_S)
    assert len(consumer.written) + waiting.dropped == given_items
    assert consumer.written == sorted(set(consumer.written))


@given(st.integers(1, 40))
def test_a_queue_that_may_lose_nothing_writes_all_in_order(count: int) -> None:
    consumer = Consumer([])
    consumer.permits.release(count)
    with mock.patch.object(queue, "MAX_WAITING", SIZE), BoundedQueue(consumer, "test", live=False) as waiting:
        for item in range(count):
            waiting.put(item)
    assert consumer.written == list(range(count))
    assert waiting.dropped == 0


@given(st.integers(0, 10))
def test_a_queue_that_may_lose_nothing_raises_when_an_item_is_lost(before: int) -> None:
    consumer = Consumer(["written"] * before + ["lost"])
    consumer.permits.release(before + 1)
    waiting = BoundedQueue(consumer, "test", live=False)
    for item in range(before + 1):
        waiting.put(item)
    with pytest.raises(OSError, match="No space left"):
        waiting.drain(_TIMEOUT_S)
    waiting.close()
    assert consumer.written == list(range(before))


@given(st.integers(0, 10), st.integers(0, 10), st.booleans())
def test_what_comes_after_the_consumer_has_gone_is_not_counted(before: int, after: int, live: bool) -> None:
    consumer = Consumer(["written"] * before + ["gone"])
    with BoundedQueue(consumer, "test", live=live) as waiting:
        consumer.permits.release(before + 1)
        for item in range(before + 1):
            waiting.put(item)
        waiting.drain(_TIMEOUT_S)
        assert waiting.gone
        for item in range(after):
            waiting.put(item)
    assert consumer.written == list(range(before))
    assert waiting.dropped == 0
