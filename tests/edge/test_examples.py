"""The scripts in examples/ run as their docstrings say, and are short enough to be read at a glance."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, pairwise
from pathlib import Path

import cv2
import pytest

from conftest import ROOT, write_photos

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def start(name: str, *arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(name: str, *arguments: object) -> str:
    """Run an example that ends by itself; returns what it printed."""
    output, errors = start(name, *arguments).communicate(timeout=120)
    assert "Traceback" not in errors
    return output


def first_lines(count: int, name: str, *arguments: object) -> list[str]:
    """The first lines of an example that runs until it is stopped."""
    with start(name, *arguments) as process:
        assert process.stdout is not None
        lines = [line.strip() for line in islice(process.stdout, count)]
        process.kill()
    return lines


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_starts_with_its_command_line(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 25
    docstring = text.split('"""')[1]
    assert f"\npython examples/{path.name}" in docstring


@pytest.mark.parametrize("name", ["two_cameras.py", "folder_to_csv.py", "save_unknown.py", "send_message.py"])
def test_what_is_missing_is_said_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESSAGE_URL", raising=False)
    process = start(name)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert errors.startswith(("usage: python examples/", "MESSAGE_URL is not set"))


def test_own_loop() -> None:
    lines = run("own_loop.py").splitlines()
    assert re.fullmatch(r"frame \d+: (\d|unknown) [01]\.\d\d in \d+\.\d ms", lines[0])
    assert int(lines[-1].split(":")[0].split()[1]) >= 30


def test_save_unknown(tmp_path: Path) -> None:
    for line in first_lines(2, "save_unknown.py", tmp_path / "new"):
        assert Path(line).parent == tmp_path / "new"
        assert cv2.imread(line).shape == (480, 640, 3)


def test_on_change() -> None:
    lines = first_lines(3, "on_change.py")
    states = [line.split()[0] for line in lines]
    assert all(first != second for first, second in pairwise(states))
    assert re.search(r"\(after \d+\.\d s of (\d|unknown)\)$", lines[1])


def test_two_cameras(tmp_path: Path) -> None:
    run("two_cameras.py", tmp_path)
    for name in ("0.jsonl", "1.jsonl"):
        results = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        assert len(results) == 100
        assert results[0]["model"] == "builtin"


def test_folder_to_csv(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2, ("disc", "cross"))
    (tmp_path / "photos" / "broken.jpg").write_bytes(os.urandom(100))
    run("folder_to_csv.py", photos, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == ["0.png", "1.png", "0.png", "1.png"]
    assert all(row["label"] and 0 <= float(row["score"]) <= 1 for row in rows)


def hook(command: str, **environment: str) -> str:
    """Run edge-classify on the demo with this command as its hook; returns what it writes to standard error."""
    words = [str(Path(sys.executable).with_name("edge-classify")), "--camera", "demo", "--count", "150"]
    done = subprocess.run(
        [*words, "--on-change", command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stderr


def test_send_message() -> None:
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = f"{sys.executable} {ROOT / 'examples' / 'send_message.py'}"
        hook(command, MESSAGE_URL=f"http://localhost:{server.server_port}/door")
        server.shutdown()
        port = server.server_port
    assert re.fullmatch(r"builtin: (\d|unknown)", received[0])
    assert re.fullmatch(r"builtin: (\d|unknown) \(after \d+ s of (\d|unknown)\)", received[1])
    errors = hook(command, MESSAGE_URL=f"http://localhost:{port}/door")
    assert re.search(r"warning: hook .*: exit code 1: the message was not sent: .*Connection refused", errors)


@pytest.mark.parametrize(
    ("version", "on", "off"),
    [
        ("gpioset (libgpiod) v1.6.3", "gpiochip0 17=1", "gpiochip0 17=0"),
        ("gpioset (libgpiod) v2.2.1", "--chip gpiochip0 --toggle 0 17=1", "--chip gpiochip0 --toggle 0 17=0"),
    ],
)
def test_gpio(version: str, on: str, off: str, tmp_path: Path) -> None:
    """With a stand-in for gpioset, which takes other arguments in its second version: no pins here."""
    program = tmp_path / "gpioset"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}" || echo "$@" >> "{tmp_path}/calls"\n')
    program.chmod(0o755)
    errors = hook(f"{ROOT / 'examples' / 'gpio.sh'} 8 17", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "warning: hook" not in errors
    assert {*(tmp_path / "calls").read_text().splitlines()} == {off, on}
