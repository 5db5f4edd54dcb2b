"""Removes what a device has left on a broker, so that Home Assistant forgets it."""

from __future__ import annotations

import secrets
import time

from ...errors import EdgeClassifyError
from .connection import Broker, Connection, Message
from .topics import discovery_topic
from .trouble import Trouble, no_answer

_TIMEOUT_S = 10.0


def forget_device(broker: Broker, name: str, discovery: str | None) -> list[str]:
    """Clear the retained topics of the device called so; returns them. Raises EdgeClassifyError.

    discovery: the prefix of Home Assistant's topics, if it was told.
    """
    address = broker.address
    messages: list[Message] = []
    root = f"{address.prefix}/{name}"
    # Not the device's own client id: that would cut it off, if it is running.
    connection = Connection(broker, f"edge-classify-forget-{secrets.token_hex(4)}", received=messages.append)
    try:
        connection.open()
        topics = [f"{root}/#"]
        if discovery is not None:
            topics.append(discovery_topic(discovery, name))
        connection.subscribe(topics)
        connection.wait_until_subscribed()
        # The broker sends what it has kept before what comes later.
        _wait_for_echo(connection, messages, f"{root}/forget")
        found = sorted({message.topic for message in messages if message.retained and message.payload})
        # Home Assistant first: it should not hear of states that are empty.
        for topic in sorted(found, key=lambda topic: topic.startswith(f"{root}/")):
            connection.publish(topic, b"", retain=True)
            connection.wait_until_confirmed()
    except Trouble as error:
        raise EdgeClassifyError(f"MQTT broker {address} {error}") from error
    finally:
        connection.close()
    return found


def _wait_for_echo(connection: Connection, messages: list[Message], topic: str) -> None:
    connection.publish(topic, b"")
    deadline = time.perf_counter() + _TIMEOUT_S
    while not any(message.topic == topic and not message.retained for message in messages):
        if time.perf_counter() >= deadline:
            raise no_answer()
        connection.work(deadline - time.perf_counter())
