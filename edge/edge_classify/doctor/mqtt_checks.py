"""Checks of an MQTT broker: is it found, does it let us in, may we tell it something."""

from __future__ import annotations

import argparse
import secrets
import socket
import time
from collections.abc import Iterator

from ..outputs.broker.topics import slug
from ..outputs.mqtt import device_name, make_broker
from .finding import Finding

_ECHO_TIMEOUT_S = 5.0


def check_mqtt(options: argparse.Namespace) -> Iterator[Finding]:
    """Check the broker of options that `check_broker_options` has passed, in the order in which it is used."""
    # paho takes 80 ms, and most diagnoses are not of a broker.
    from ..outputs.broker.connection import Connection, Message
    from ..outputs.broker.trouble import Trouble

    address = options.mqtt
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no computer's name"
        yield Finding(
            "red", "mqtt", f"{address.host} is not found ({reason})", "check the name, or give its IP address"
        )
        return
    yield Finding("green", "mqtt", f"{address.host} is {found[0][4][0]}")

    heard: list[Message] = []
    # Not the device's own client id: that would cut it off, if it is running.
    connection = Connection(make_broker(options), f"edge-doctor-{secrets.token_hex(4)}", received=heard.append)
    try:
        connection.open()
        yield _login(options)
        topic = f"{address.prefix}/{slug(device_name(options))}/doctor"
        connection.subscribe([topic])
        connection.wait_until_subscribed()
        connection.publish(topic, "test")
        deadline = time.perf_counter() + _ECHO_TIMEOUT_S
        while not heard and time.perf_counter() < deadline:
            connection.work(deadline - time.perf_counter())
    except Trouble as error:
        what, _, remedy = str(error).partition(": ")
        yield Finding("red", "mqtt", f"the broker {address} {what}", remedy)
        return
    finally:
        connection.close()
    if heard:
        yield Finding("green", "mqtt", f"a message sent to {topic} arrived")
    else:
        remedy = f"allow this user to write to {address.prefix}/# and homeassistant/# in the broker's access list"
        yield Finding("red", "mqtt", f"a message sent to {topic} did not arrive", remedy)


def _login(options: argparse.Namespace) -> Finding:
    address = options.mqtt
    who = "without a user name" if address.user is None else f"as {address.user}"
    if address.tls:
        return Finding("green", "mqtt", f"logged in {who}, encrypted")
    if address.user is not None and not address.host.startswith(("127.", "localhost")):
        remedy = "use mqtts:// if others share your network"
        return Finding("yellow", "mqtt", f"logged in {who}; the password was sent unencrypted", remedy)
    return Finding("green", "mqtt", f"logged in {who}")
