"""A real broker (Debian's mosquitto), and someone who listens to it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from conftest import skip_for_packages

PATIENCE_S = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Broker:
    """Mosquitto on 127.0.0.1, which can be killed and started again.

    settings: lines of its configuration, below the listener's.
    """

    def __init__(
        self, folder: Path, settings: Sequence[str] = ("allow_anonymous true",), port: int | None = None
    ) -> None:
        # Not everybody's search path has the folder of servers.
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            skip_for_packages("missing programs: mosquitto")
        self._program = program
        self._folder = folder
        self.port = free_port() if port is None else port
        self._config = folder / "mosquitto.conf"
        # As root mosquitto would give up its rights, and the test's folder.
        lines = ["user root", f"listener {self.port} 127.0.0.1", *settings]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", self._config], stdout=log, stderr=log)
        wait_for(self._answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """As a service manager does."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "mosquitto.log").read_text()
            return False
        return True


class Gate:
    """A way to a broker that can be shut, so that somebody else is there before those who come through it."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self._broker_port = port
        self._server: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    def open(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def shut(self) -> None:
        if self._server is not None:
            # Closing alone would not wake who waits in accept().
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                ours = server.accept()[0]
                theirs = socket.create_connection(("127.0.0.1", self._broker_port))
                self._connections += [ours, theirs]
                for here, there in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._pass_on, args=(here, there), daemon=True).start()

    @staticmethod
    def _pass_on(here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError):
            while data := here.recv(4096):
                there.sendall(data)
        with suppress(OSError):
            there.shutdown(socket.SHUT_RDWR)


class Heard(NamedTuple):
    topic: str
    payload: bytes
    retained: bool


class Listener:
    """Subscribes to everything; `heard` has what came, in order."""

    def __init__(self, port: int, user: tuple[str, str] | None = None) -> None:
        self.heard: list[Heard] = []
        self._ready = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        if user is not None:
            self.client.username_pw_set(*user)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = lambda _client, _data, message: self.heard.append(
            Heard(message.topic, message.payload, message.retain)
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._ready.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def payloads(self, topic: str) -> list[str]:
        """What came to a topic that ends so."""
        return [heard.payload.decode(errors="replace") for heard in list(self.heard) if heard.topic.endswith(topic)]

    def newest(self, topic: str) -> str | None:
        return next(reversed(self.payloads(topic)), None)

    def wait_for(self, topic: str, payload: str) -> None:
        wait_for(lambda: self.newest(topic) == payload, lambda: f"{topic}: {self.payloads(topic)}")


def retained(port: int) -> dict[str, str]:
    """All retained messages of the broker that is there now."""
    with Listener(port) as listener:
        # The broker sends what it has kept before what comes later.
        listener.client.publish("end", "end")
        listener.wait_for("end", "end")
        return {heard.topic: heard.payload.decode() for heard in listener.heard if heard.retained}


def wait_for(condition: Callable[[], object], describe: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited in vain: {describe()}")
        time.sleep(0.02)
