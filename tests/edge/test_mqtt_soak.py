"""Days of MQTT in minutes: a broker that restarts all the time, and one that is away for a day.

EDGE_CLASSIFY_RESTARTS=200 is what the figures in docs/mqtt.md are from; by default there are fewer.
"""

from __future__ import annotations

import gc
import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from mqtt_broker import Broker, free_port, retained, wait_for
from paho.mqtt.enums import CallbackAPIVersion
from test_mqtt import Camera

from edge_classify import Change, Classifier, Frame, Result, classify_frames
from edge_classify.outputs.broker import link
from edge_classify.outputs.broker.address import address
from edge_classify.outputs.broker.output import BrokerOutput, Settings
from edge_classify.outputs.run import Run
from edge_classify.pipeline.loop import Model
from edge_classify.pipeline.models import Models

RESTARTS = int(os.environ.get("EDGE_CLASSIFY_RESTARTS", "12"))
# A day of a camera that gives ten frames a second, with a change every 10 s.
FRAMES, FRAMES_PER_CHANGE = 24 * 3600 * 10, 100


def resident_mb() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Subscriber:
    """Keeps its session over restarts, so that it misses nothing that the broker has confirmed."""

    def __init__(self, port: int) -> None:
        self.numbers: list[int] = []
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, "subscriber", clean_session=False)
        client.reconnect_delay_set(1, 1)
        ready = threading.Event()
        client.on_connect = lambda client, *_: client.subscribe("test/hall/event", 1)
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = lambda _client, _data, message: self.numbers.append(json.loads(message.payload)["frame"])
        client.connect("127.0.0.1", port)
        client.loop_start()
        assert ready.wait(60)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def missing(subscriber: Subscriber, number: int) -> list[int]:
    return sorted(set(range(1, number + 1)) - set(subscriber.numbers))


@pytest.fixture
def see() -> Callable[[BrokerOutput, int], None]:
    """Hand an output its result number n, which is a change of state."""
    (made,) = classify_frames([Frame(np.zeros((48, 64, 3), np.uint8), 0, 0.0, "test")], Classifier())

    def hand_over(output: BrokerOutput, number: int, *, changed: bool = True) -> None:
        state = str(number % 10)
        result: Result = made._replace(
            frame=made.frame._replace(number=number),
            state=state,
            change=Change(state, 0.9, None, None) if changed else None,
            model="reader",
            finished_at=time.perf_counter(),
        )
        output.append(result)

    return hand_over


@pytest.mark.slow
def test_a_broker_that_restarts_all_the_time_loses_nothing_and_leaves_nothing_behind(
    tmp_path: Path, see: Callable[..., None]
) -> None:
    chance = random.Random(5)
    number = 0
    # It keeps all that it has confirmed for a subscriber who is away.
    kept = ["allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/", "max_queued_messages 0"]
    with Broker(tmp_path, kept) as broker:
        subscriber = Subscriber(broker.port)
        settings = Settings(address(f"mqtt://127.0.0.1:{broker.port}/test"), "hall")
        with BrokerOutput(settings, Run(Camera(), Models([Model("reader", Classifier())])), print) as output:
            before = (0.0, 0, 0)

            def all_seen() -> bool:
                return len(set(subscriber.numbers)) == number

            for restart in range(RESTARTS):
                ends = time.monotonic() + chance.uniform(0.1, 1.5)
                while time.monotonic() < ends:
                    number += 1
                    see(output, number)
                    time.sleep(chance.uniform(0.001, 0.03))
                broker.stop()
                for _ in range(chance.randrange(5)):
                    number += 1
                    see(output, number)
                broker.start()
                # Once this has been seen, both clients are connected again.
                number += 1
                see(output, number)
                if restart == RESTARTS // 10:
                    wait_for(lambda: not any(output.counts().values()))
                    wait_for(all_seen)
                    before = (
                        resident_mb() - len(subscriber.numbers) * 40 / 2**20,
                        threading.active_count(),
                        open_files(),
                    )
            wait_for(lambda: not any(output.counts().values()))
            wait_for(all_seen, lambda: f"{missing(subscriber, number)} of {number}")
            wait_for(lambda: threading.active_count() == before[1])
            grown = resident_mb() - len(subscriber.numbers) * 40 / 2**20 - before[0]
            twice = len(subscriber.numbers) - number
            print(f"{RESTARTS} restarts, {number} changes, {twice} sent twice, {grown:+.2f} MB, {before[1]} threads")
            assert grown <= 1.0
            assert abs(open_files() - before[2]) <= 1
            first = list(dict.fromkeys(subscriber.numbers))
            assert first == sorted(first)
            assert retained(broker.port)["test/hall/classification/reader"] == str(number % 10)
        subscriber.close()


@pytest.mark.slow
def test_a_day_without_a_broker_takes_no_memory(see: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    # A day has some 1,500 attempts to connect.
    for name in ("_SHORTEST_PAUSE_S", "_LONGEST_PAUSE_S", "_LONGEST_SOON_S", "_SOON_S"):
        monkeypatch.setattr(link, name, getattr(link, name) / 2000)
    settings = Settings(address(f"mqtt://127.0.0.1:{free_port()}/test"), "hall")
    with BrokerOutput(settings, Run(Camera(), Models([Model("reader", Classifier())])), print) as output:
        before, changes = 0.0, 0
        for number in range(FRAMES):
            changed = number % FRAMES_PER_CHANGE == 0
            changes += changed
            see(output, number, changed=changed)
            if number == FRAMES // 5:
                before = resident_mb()
        grown = resident_mb() - before
        print(f"{FRAMES} frames, {changes} changes: {grown:+.2f} MB")
        assert output.counts() == {"MQTT events lost": changes - 1000, "MQTT events not sent": 1000}
        assert grown <= 1.0
