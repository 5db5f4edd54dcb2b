"""What systemd is told, read from a real socket."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_classify import Classifier
from edge_classify.outputs import systemd
from edge_classify.outputs.systemd import Service
from edge_classify.pipeline.loop import Result, classify_frames
from edge_classify.sources.frame import Frame


def listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind("\0" + address[1:] if address.startswith("@") else address)
    listener.settimeout(60)
    return listener


def received(listener: socket.socket) -> list[str]:
    listener.setblocking(False)
    messages = []
    try:
        while True:
            messages.append(listener.recv(4096).decode())
    except BlockingIOError:
        return messages


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_command_says_ready_with_its_first_result_then_feeds_the_watchdog(tmp_path: Path, kind: str) -> None:
    address = str(tmp_path / "notify") if kind == "path" else f"@edge-classify-test-{os.getpid()}"
    interval = 0.5
    with listen(address) as listener:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("edge-classify")), "--camera", "demo"],
            env={**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(int(2e6 * interval))},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        first = listener.recv(4096).decode().splitlines()
        began = time.perf_counter()
        assert first[:2] == ["READY=1", "WATCHDOG=1"]
        assert first[2].startswith("STATUS=")
        fed = [listener.recv(4096).decode() for _ in range(3)]
        # The first of three may be late and the third on time.
        assert time.perf_counter() - began > 1.9 * interval
        assert all(message.startswith("WATCHDOG=1\nSTATUS=") for message in fed)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert received(listener)[-1] == "STOPPING=1"


@pytest.fixture(scope="module")
def result() -> Callable[[float], Result]:
    """Makes a real result that was finished at a given time."""
    image = np.zeros((48, 64, 3), np.uint8)
    (made,) = classify_frames([Frame(image, 7, 0.0, "test")], Classifier())
    return lambda at: made._replace(finished_at=at)


def test_only_results_feed_the_watchdog(tmp_path: Path, result: Callable[[float], Result]) -> None:
    address = str(tmp_path / "notify")
    with listen(address) as listener, Service(address, watchdog_seconds=10) as service:
        assert received(listener) == []
        for at in (100.0, 100.1, 104.9, 105.1, 109.0, 300.0):
            service.append(result(at))
        messages = received(listener)
        assert [message.count("WATCHDOG=1") for message in messages] == [1, 1, 1]
        assert [message.count("READY=1") for message in messages] == [1, 0, 0]
        assert messages[0].splitlines()[-1].startswith("STATUS=")
        assert "frame 7" in messages[0]


def test_what_could_not_be_sent_is_sent_with_the_next_result(tmp_path: Path, result: Callable[[float], Result]) -> None:
    with Service(str(tmp_path / "notify"), watchdog_seconds=10) as service:
        service.append(result(100.0))
        with listen(str(tmp_path / "notify")) as listener:
            service.append(result(100.1))
            assert received(listener)[0].startswith("READY=1")


def open_service() -> Service | None:
    """As `edge-classify` opens it; no option and no destination of results is involved."""
    return systemd.open_output(argparse.Namespace(), None)


def test_without_systemd_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert open_service() is None


def test_another_process_s_watchdog_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: Callable[[float], Result]
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    with listen(str(tmp_path / "notify")) as listener:
        service = open_service()
        assert service is not None
        with service:
            for at in (100.0, 103.0):
                service.append(result(at))
            assert len(received(listener)) == 1
