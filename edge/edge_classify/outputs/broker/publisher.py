"""What is told over one connection, when, and in which order."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2

from ...system.machine import System
from .connection import MAX_UNCONFIRMED, Connection, Message
from .discovery import HEARTBEAT_S, Device, encode, without
from .topics import birth_topic, discovery_topic
from .trouble import Trouble

if TYPE_CHECKING:
    from .present import Present

ONLINE, OFFLINE = "online", "offline"

# Home Assistant's databases grow with each.
_ATTRIBUTES_INTERVAL_S = 30.0
_MIN_ATTRIBUTES_INTERVAL_S = 10.0
# Many devices hear of a start of Home Assistant at the same time. It misses what comes right behind the discovery.
_BIRTH_DELAY_S = 3.0
_AGAIN_DELAY_S = 5.0
# The state follows the changes that led to it; but not if those are many, and the broker is slow.
_EVENTS_FIRST_S = 2.0
# How often availability is looked at.
_TICK_S = 0.5
_IMAGE_QUALITY = 85


class Publisher:
    """Made anew for each connection, so that nothing counts as told that an earlier broker was told.

    message: the discovery message; None if nobody is to discover the device. prefix: of its topic.
    """

    def __init__(
        self, device: Device, message: dict[str, Any] | None, prefix: str, present: Present, now: float
    ) -> None:
        self._device = device
        self._topics = device.topics
        self._message = message
        self._discovery_topic = discovery_topic(prefix, device.slug)
        self._birth_topic = birth_topic(prefix)
        self._present = present
        self._began_at = now
        self._inbox: list[Message] = []
        # By topic: the retained value that the broker was sent last, and the number of that message.
        self._told: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._due: list[tuple[float, Callable[[Connection], None]]] = []
        self._heartbeat_at = now + HEARTBEAT_S
        self._attributes_at = now
        self._picture: Any = None

    @property
    def received(self) -> Callable[[Message], None]:
        return self._inbox.append

    def begin(self, connection: Connection) -> None:
        """Subscribe, and make the device known."""
        topics = [self._topics.availability, self._topics.classification("+")]
        if self._message is not None:
            topics += [self._birth_topic, self._discovery_topic]
            # To Home Assistant the device may be new; it then hears nothing until it has made all entities.
            self._due.append((self._began_at + _AGAIN_DELAY_S, self._tell_all_again))
        connection.subscribe(topics)
        self._announce(connection)

    def become(self, connection: Connection, device: Device, message: dict[str, Any] | None, now: float) -> None:
        """Have the device known as it is now: the same, with other labels."""
        self._device, self._message = device, message
        self._announce(connection)
        if message is not None:
            self._due.append((now + _AGAIN_DELAY_S, self._tell_all_again))

    def step(self, connection: Connection, now: float) -> float:
        """Tell what is due; returns for how many seconds nothing else is."""
        for message in self._inbox:
            self._answer(connection, message, now)
        self._inbox.clear()
        for entry in [entry for entry in self._due if entry[0] <= now]:
            self._due.remove(entry)
            entry[1](connection)
        unavailable = self._present.why_unavailable(now)
        if now >= self._heartbeat_at:
            self._heartbeat_at = now + HEARTBEAT_S
            # A state that is not true must expire; that there is a problem must not.
            still_told = (
                {} if unavailable is None else {k: v for k, v in self._told.items() if k != self._topics.problem}
            )
            self._told = still_told
        self._tell(connection, self._topics.availability, OFFLINE if unavailable else ONLINE)
        if self._device.camera:
            problem = unavailable is not None or self._present.camera_is_lost()
            self._tell(connection, self._topics.problem, "ON" if problem else "OFF")
        self._tell_events(connection)
        if not self._present.events or now - self._began_at > _EVENTS_FIRST_S:
            for model, state in self._present.states.copy().items():
                self._tell(connection, self._topics.classification(self._device.levels[model]), state)
        if unavailable is None and not connection.is_busy():
            self._tell_attributes(connection, now)
            self._tell_picture(connection)
        return max(0.0, min([now + _TICK_S, *(at for at, _ in self._due)]) - now)

    def is_done(self, connection: Connection) -> bool:
        """Whether the broker has confirmed all changes and states."""
        states = self._present.states.copy().items()
        told = all(self._told.get(self._topics.classification(self._device.levels[m])) == s for m, s in states)
        return told and not self._present.events and not connection.unconfirmed

    def finish(self, connection: Connection) -> None:
        """The last word: this program ends."""
        connection.publish(self._topics.availability, OFFLINE, retain=True)
        connection.wait_until_confirmed()

    def _announce(self, connection: Connection) -> None:
        if self._message is not None:
            connection.publish(self._discovery_topic, encode(self._message), retain=True)
        self._tell_all_again(connection)

    def _tell_all_again(self, _connection: Connection) -> None:
        self._told.clear()
        self._picture = None
        self._attributes_at -= _ATTRIBUTES_INTERVAL_S - _MIN_ATTRIBUTES_INTERVAL_S

    def _answer(self, connection: Connection, message: Message, now: float) -> None:
        topics, payload = self._topics, message.payload
        if message.topic == self._birth_topic:
            if payload == b"online" and not message.retained:
                at = now + random.uniform(0, _BIRTH_DELAY_S)
                self._due += [(at, self._announce), (at + _AGAIN_DELAY_S, self._tell_all_again)]
        elif message.topic == topics.availability:
            # The will of an earlier connection, which the broker has only now found to be dead.
            if payload == OFFLINE.encode() and self._told.get(topics.availability) == ONLINE:
                del self._told[topics.availability]
        elif message.topic == self._discovery_topic:
            if message.retained and self._message is not None:
                self._remove_former(connection, payload)
        elif message.retained and payload:
            present = {topics.classification(level) for level in self._device.levels.values()}
            if message.topic not in present:  # a model's that is no longer used
                connection.publish(message.topic, b"", retain=True)

    def _remove_former(self, connection: Connection, payload: bytes) -> None:
        assert self._message is not None
        try:
            former = json.loads(payload)
        except ValueError:
            return
        removal = without(self._message, former) if isinstance(former, dict) else None
        if removal is not None:
            connection.publish(self._discovery_topic, encode(removal), retain=True)
            self._announce(connection)

    def _tell(self, connection: Connection, topic: str, value: str) -> None:
        """Have the broker keep this value. While it has not confirmed the one before, only the newest waits."""
        if self._told.get(topic) == value or self._numbers.get(topic, -1) in connection.unconfirmed:
            return
        self._told[topic] = value
        self._numbers[topic] = connection.publish(topic, value, retain=True)

    def _tell_events(self, connection: Connection) -> None:
        while len(connection.unconfirmed) < MAX_UNCONFIRMED:
            event = self._present.next_event()
            if event is None:
                break
            try:
                connection.publish(self._topics.event, self._with_type(event), note=event)
            except Trouble:
                self._present.put_back([event])
                raise
        self._present.sending = sum(note is not None for note in connection.unconfirmed.values())

    def _with_type(self, text: str) -> str:
        """An event as Home Assistant wants it; a state that it was not told of is "changed"."""
        event = json.loads(text)
        event["event_type"] = self._device.shown.get(event["model"], {}).get(event["state"], "changed")
        return json.dumps(event, ensure_ascii=False)

    def _tell_attributes(self, connection: Connection, now: float) -> None:
        if now < self._attributes_at:
            return
        self._attributes_at = now + _ATTRIBUTES_INTERVAL_S
        temperature = System().temperature() if self._device.temperature else None
        attributes = self._present.attributes(now, temperature)
        connection.publish(self._topics.attributes, json.dumps(attributes, ensure_ascii=False), qos=0)

    def _tell_picture(self, connection: Connection) -> None:
        picture = self._present.picture
        if picture is None or picture is self._picture:
            return
        self._picture = picture
        made, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _IMAGE_QUALITY])
        if made:
            connection.publish(self._topics.image, data.tobytes(), qos=0)
