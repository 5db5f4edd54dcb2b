"""Keeps a device connected to its broker, for as long as the program runs."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from time import perf_counter
from typing import Any

from .address import OPTIONS, Means
from .connection import Broker, Connection
from .discovery import Device
from .present import MAX_EVENTS, Present
from .publisher import OFFLINE, Publisher
from .signals import Signals
from .trouble import Trouble

log = logging.getLogger(__name__)

# The device as it is now, and its discovery message, or None if nobody is to discover it.
Describe = Callable[[], tuple[Device, dict[str, Any] | None]]

# The pauses between attempts: each twice the one before, give or take a half. A broker that restarts is not left
# waiting; one that is away for long, or does not want us, is asked less often.
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LONGEST_SOON_S, _SOON_S = 3.0, 120.0
# The same trouble is told once in so many seconds.
_TELL_INTERVAL_S = 600.0
# A connection that ended sooner was no success. After so many of them somebody else takes them over: a broker that
# starts may end one, and who tries a second program is told within seconds.
_STEADY_S = 10.0
_SUSPICIOUS = 2


def keep_connected(
    broker: Broker,
    describe: Describe,
    prefix: str,
    present: Present,
    signals: Signals,
    say: Callable[[str], object],
) -> None:
    """Connect, and connect again, until asked to stop: the life of a thread.

    prefix: of the discovery message's topic. say: takes a line for the user once it is connected.
    """
    reporter = Reporter(str(broker.address), describe()[0].slug, say, broker.means)
    while True:
        try:
            _serve(broker, describe, prefix, present, signals, reporter)
            signals.settled.set()
            return
        except Trouble as error:
            trouble = error
        except Exception as error:  # of paho's, on which its own threads end for ever; or of ours
            log.debug("MQTT failed", exc_info=True)
            trouble = Trouble(f"made the connection fail ({type(error).__name__}: {error})", passing=True)
        reporter.lost(trouble)
        signals.settled.set()
        if signals.stop.wait(reporter.pause(trouble)):
            return


class Reporter:
    """Says what is wrong, but not again and again, and how long to wait before the next attempt."""

    def __init__(
        self,
        broker: str,
        device: str,
        say: Callable[[str], object],
        means: Means = OPTIONS,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._broker = broker
        self._means = means
        self._device = device
        self._say = say
        self._said = False
        self._clock = clock
        self._told: dict[str, float] = {}
        self._silent = False
        self._lost_at: float | None = None
        self._connected_at: float | None = None
        self._attempts = 0
        self._short = 0

    def lost(self, trouble: Trouble) -> None:
        """An attempt has failed, or a connection has ended."""
        now, text = self._clock(), str(trouble)
        if self._lost_at is None:
            self._lost_at = now
            short = self._connected_at is not None and now - self._connected_at < _STEADY_S
            self._short = self._short + 1 if short else 0
            self._attempts = self._attempts if short else 0
            if self._short >= _SUSPICIOUS:
                text += (
                    f" again: does another edge-classify call itself {self._device}? Name each by {self._means.device}"
                )
        self._silent = now - self._told.get(text, float("-inf")) < _TELL_INTERVAL_S
        if not self._silent:
            self._told[text] = now
            log.warning(
                "MQTT broker %s %s (trying again, with the last %d changes kept)", self._broker, text, MAX_EVENTS
            )

    def connected(self) -> None:
        lost_at, self._lost_at = self._lost_at, None
        self._connected_at = self._clock()
        if not self._said:
            self._said = True
            self._say(f"MQTT: connected to {self._broker} as device {self._device}\n")
        elif lost_at is not None and not self._silent:
            log.warning("MQTT broker %s: connected after %.0f s", self._broker, self._connected_at - lost_at)

    def pause(self, trouble: Trouble) -> float:
        """Seconds until the next attempt."""
        away = self._clock() - (self._lost_at or self._clock())
        longest = _LONGEST_SOON_S if trouble.passing and away < _SOON_S else _LONGEST_PAUSE_S
        pause = min(_SHORTEST_PAUSE_S * 2.0 ** min(self._attempts, 10), longest)
        self._attempts += 1
        return pause * random.uniform(0.5, 1.5)


def _serve(
    broker: Broker,
    describe: Describe,
    prefix: str,
    present: Present,
    signals: Signals,
    reporter: Reporter,
) -> None:
    """One connection, until it is lost (raises Trouble) or the program ends."""
    signals.exchanged.clear()
    device, message = describe()
    publisher = Publisher(device, message, prefix, present, perf_counter())
    will = (device.topics.availability, OFFLINE)
    # Always the same: a broker that still holds a dead connection of ours ends that one first, with its will.
    connection = Connection(broker, f"edge-classify-{device.slug}", will=will, received=publisher.received)
    try:
        connection.open()
        reporter.connected()
        signals.settled.clear()
        publisher.begin(connection)
        while True:
            if signals.exchanged.is_set():
                signals.exchanged.clear()
                publisher.become(connection, *describe(), perf_counter())
            seconds = publisher.step(connection, perf_counter())
            if signals.stop.is_set() and publisher.is_done(connection):
                publisher.finish(connection)
                return
            connection.work(seconds, signals.woken)
            signals.calm()
    finally:
        present.put_back(note for note in connection.unconfirmed.values() if isinstance(note, str))
        connection.close()
