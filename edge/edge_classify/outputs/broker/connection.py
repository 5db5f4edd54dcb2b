"""One connection to a broker, from its beginning to its end."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from ...errors import DataError
from ...system.tls import client_context
from .address import OPTIONS, Address, Means
from .trouble import Trouble, closed_early, no_answer, not_connected, refused, wrong_protocol

# A connection of which nothing was heard for 1.5 times as long is dead, to the broker as to us.
_KEEPALIVE_S = 20
# For the TCP connection, for TLS, and for the broker's first answer.
_ANSWER_TIMEOUT_S = 10.0
# Messages that the broker has not confirmed; more would only wait in memory.
MAX_UNCONFIRMED = 100


@dataclass(frozen=True)
class Broker:
    """A broker, and how to log in to it.

    ca: certificates of the authorities to trust, instead of the system's. cert, key: a client certificate.
    """

    address: Address
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    means: Means = OPTIONS


class Message(NamedTuple):
    """What a broker has sent. retained: it is older than the subscription."""

    topic: str
    payload: bytes
    retained: bool


class Connection:
    """All of it happens in the thread that calls it, and all methods raise Trouble once it is lost.

    A lost connection is not mended: a new one is made. So nothing that waited in an old one is ever sent later, after
    what is newer, as paho's own reconnecting does.

    will: the topic and the retained payload that the broker sends when the connection is lost.
    received: called with each message for one of the subscriptions.
    unconfirmed: what has been sent and not confirmed, in order: the note of each, by its message's number.
    """

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        *,
        will: tuple[str, str] | None = None,
        received: Callable[[Message], None] | None = None,
    ) -> None:
        self.unconfirmed: dict[int, object] = {}
        self._broker = broker
        self._received = received
        self._answer: str | None = None
        self._subscribed: set[int] = set()
        self._refused_topics = 0
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=paho.MQTTv311,
            clean_session=True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _ANSWER_TIMEOUT_S
        client.max_inflight_messages_set(2 * MAX_UNCONFIRMED)
        if broker.address.user is not None:
            client.username_pw_set(broker.address.user, broker.password)
        if will is not None:
            client.will_set(*will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message

    def open(self) -> None:
        """Connect, and wait until the broker has accepted it."""
        address = self._broker.address
        if address.tls:
            broker = self._broker
            try:
                self._client.tls_set_context(client_context("--mqtt", broker.ca, broker.cert, broker.key))
            except DataError as error:  # changed since it was checked
                raise Trouble(f"was not asked, for {error}") from error
        try:
            self._client.connect(address.host, address.port, _KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise not_connected(error, address, self._broker.means) from error
        self._work_until(lambda: self._answer is not None, no_answer)
        assert self._answer is not None
        if self._answer != "Success":
            raise self._refused()

    def subscribe(self, topics: Sequence[str]) -> None:
        _, number = self._client.subscribe([(topic, 1) for topic in topics])
        if number is not None:
            self._subscribed.add(number)

    def publish(
        self, topic: str, payload: str | bytes, *, retain: bool = False, qos: int = 1, note: object = None
    ) -> int:
        """Send it; returns its number. note: kept in `unconfirmed` for as long as the broker has not confirmed it."""
        info = self._client.publish(topic, payload, qos, retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise self._lost()
        if qos:
            self.unconfirmed[info.mid] = note
        return info.mid

    def is_busy(self) -> bool:
        """Whether something is still waiting to be written."""
        return self._client.want_write()

    def work(self, seconds: float, wake: int | None = None) -> None:
        """Send and receive what there is; wait for it up to `seconds`, or until `wake` can be read."""
        stream = self._stream()
        poll = select.poll()
        poll.register(stream, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        if wake is not None:
            poll.register(wake, select.POLLIN)
        # What TLS has decrypted already is not seen by the system.
        pending = isinstance(stream, ssl.SSLSocket) and stream.pending() > 0
        ready = dict(poll.poll(0 if pending else max(0.0, seconds) * 1e3))
        events = ready.get(stream.fileno(), 0)
        code = paho.MQTT_ERR_SUCCESS
        if pending or events & ~select.POLLOUT:
            code = self._client.loop_read()
        if self._client.socket() is not None and events & select.POLLOUT:
            self._client.loop_write()
        self._client.loop_misc()
        if code == paho.MQTT_ERR_PROTOCOL:
            raise wrong_protocol()
        self._stream()

    def wait_until_confirmed(self) -> None:
        """Wait for the broker to have confirmed all that was sent."""
        self._work_until(lambda: not self.unconfirmed and not self.is_busy(), no_answer)

    def wait_until_subscribed(self) -> None:
        """Wait until the broker has taken all subscriptions; raises Trouble if it allows none of them."""
        self._work_until(lambda: not self._subscribed, no_answer)
        if self._refused_topics:
            raise Trouble("does not let this user read its topics: allow it in the broker's access list")

    def close(self) -> None:
        """Say goodbye, so that the broker does not send the will; nothing happens if the connection is lost."""
        client = self._client
        try:
            client.disconnect()
            if client.socket() is not None:
                client.loop_write()
        except (OSError, ValueError):
            pass  # the broker finds out by itself
        # Otherwise the client and this object would hold each other, until the garbage collector comes.
        client.on_connect = client.on_publish = client.on_subscribe = client.on_message = None

    def _work_until(self, done: Callable[[], bool], late: Callable[[], Trouble]) -> None:
        deadline = time.perf_counter() + _ANSWER_TIMEOUT_S
        while not done():
            left = deadline - time.perf_counter()
            if left <= 0:
                raise late()
            self.work(left)

    def _stream(self) -> socket.socket:
        stream = self._client.socket()
        if stream is None:
            raise self._lost()
        return stream  # type: ignore[return-value]  # paho's protocol for it has less than a socket

    def _lost(self) -> Trouble:
        if self._answer is None:
            return closed_early(self._broker.address, self._broker.means)
        if self._answer != "Success":
            return self._refused()
        return Trouble("has closed the connection", passing=True)

    def _refused(self) -> Trouble:
        assert self._answer is not None
        broker = self._broker
        return refused(self._answer, broker.address, broker.means, with_password=broker.password is not None)

    def _on_connect(self, _client: object, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        self._answer = reason.getName()

    def _on_publish(self, _client: object, _data: object, number: int, _reason: object, _properties: object) -> None:
        self.unconfirmed.pop(number, None)

    def _on_subscribe(
        self, _client: object, _data: object, number: int, reasons: list[Any], _properties: object
    ) -> None:
        self._subscribed.discard(number)
        self._refused_topics += sum(reason.is_failure for reason in reasons)

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if self._received is not None:
            self._received(Message(message.topic, bytes(message.payload), message.retain))
