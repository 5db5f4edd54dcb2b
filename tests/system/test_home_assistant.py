"""What a real Home Assistant makes of us: `make test-home-assistant`, which installs one into build/home-assistant."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest

from conftest import ROOT
from edge_classify import Change, Classifier, Frame, Result, classify_frames
from edge_classify.outputs.broker.address import address
from edge_classify.outputs.broker.output import BrokerOutput, Settings
from edge_classify.outputs.run import Run
from edge_classify.pipeline.loop import Model
from edge_classify.pipeline.models import Models
from edge_classify.sources import demo

sys.path.insert(0, str(ROOT / "tests" / "edge"))

from mqtt_broker import PATIENCE_S, Broker, free_port, wait_for
from test_mqtt import Camera

PYTHON = Path(os.environ.get("EDGE_CLASSIFY_HOME_ASSISTANT", ROOT / "build/home-assistant/bin/python"))
CORE = Path(__file__).with_name("home_assistant_core.py")

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no Home Assistant → make test-home-assistant"),
]


class HomeAssistant:
    """A running core, which can be asked for its states."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [PYTHON, CORE, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder.parent / "home-assistant.log").open("ab"),
            text=True,
        )
        self.warnings: list[str] = []
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, (folder.parent / "home-assistant.log").read_text()[-3000:]
        self._started = json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.crash()

    def crash(self) -> None:
        """The next start has only what is stored."""
        self._process.kill()
        self._process.wait()

    def ask(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        # What it says of its own missing libraries is not about us.
        self.warnings += [line for line in found["warnings"] if "mqtt" in line and "front" in line.lower()]
        return found

    def request(self, path: str, typed: dict[str, Any] | None = None) -> HTTPResponse:
        """From its REST API, as its own pages do: an answer, which the caller reads."""
        body = None if typed is None else json.dumps(typed).encode()
        headers = {"Authorization": f"Bearer {self._started['token']}", "Content-Type": "application/json"}
        answer = urlopen(Request(f"{self._started['address']}{path}", body, headers), timeout=PATIENCE_S)
        assert isinstance(answer, HTTPResponse)
        return answer

    def add_integration(self, integration: str, /, **typed: object) -> dict[str, Any]:
        """Type this into the dialog of an integration; returns what the dialog says to it."""
        flow = "/api/config/config_entries/flow"
        with self.request(flow, {"handler": integration}) as answer:
            dialog = json.load(answer)
        assert dialog["type"] == "form"
        assert typed.keys() <= {field["name"] for field in dialog["data_schema"]}
        with self.request(f"{flow}/{dialog['flow_id']}", typed) as answer:
            return json.load(answer)

    def add_broker(self, port: int, **more: str) -> None:
        done = self.add_integration("mqtt", broker="127.0.0.1", port=port, **more)
        assert done["type"] == "create_entry", done

    def state(self, entity: str) -> str | None:
        found = self.ask()["states"].get(entity)
        return None if found is None else found[0]

    def is_number(self, entity: str) -> bool:
        return bool(re.fullmatch(r"\d+(\.\d+)?", self.state(entity) or ""))

    def attribute(self, entity: str, name: str) -> Any:
        return self.ask()["states"][entity][1].get(name)

    def wait_for(self, entity: str, state: str) -> None:
        wait_for(lambda: self.state(entity) == state, lambda: f"{entity}: {json.dumps(self.ask())}")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@contextmanager
def edge_classify(broker: Broker, *more: str) -> Iterator[subprocess.Popen[str]]:
    """The service as docs/mqtt.md starts it: with one option."""
    with running("--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--mqtt-device", "Front door", *more) as process:
        yield process


@contextmanager
def running(*words: object) -> Iterator[subprocess.Popen[str]]:
    program = Path(sys.executable).with_name("edge-classify")
    process = subprocess.Popen(
        [program, "--camera", "demo", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


def test_one_option_makes_a_device_that_outlives_every_restart(broker: Broker, home: Path, command) -> None:
    with HomeAssistant(home) as assistant, edge_classify(broker, "--mqtt-image"):
        assistant.add_broker(broker.port)
        wait_for(lambda: assistant.state("image.front_door_picture") not in (None, "unknown", "unavailable"))
        wait_for(lambda: assistant.state("event.front_door_change") not in (None, "unknown", "unavailable"))
        assistant.wait_for("binary_sensor.front_door_camera", "off")
        found = assistant.ask()
        assert [(device["name"], device["maker"]) for device in found["devices"]] == [("Front door", "edge-classify")]
        digits = [str(number) for number in range(10)]
        state, attributes = found["states"]["sensor.front_door_state"]
        assert state in (*digits, "none")
        assert attributes["options"] == [*digits, "none"]
        assert found["states"]["event.front_door_change"][1]["event_type"] in (*digits, "none")
        for sensor in ("share_of_unknown", "latency", "frame_rate"):
            wait_for(partial(assistant.is_number, f"sensor.front_door_{sensor}"))
        # The broker restarts and has forgotten all that it kept.
        broker.kill()
        wait_for(lambda: assistant.state("sensor.front_door_state") == "unavailable")
        broker.start()
        wait_for(lambda: assistant.state("sensor.front_door_state") in (*digits, "none"))
        assert assistant.warnings == []
        assistant.crash()
        with HomeAssistant(home) as started_anew:
            wait_for(lambda: started_anew.state("sensor.front_door_state") in (*digits, "none"))
            wait_for(partial(started_anew.is_number, "sensor.front_door_frame_rate"))
    with HomeAssistant(home) as assistant, edge_classify(broker):
        wait_for(lambda: assistant.state("sensor.front_door_state") in (*digits, "none"))
        # The image was asked for by the first run only.
        wait_for(lambda: "image.front_door_picture" not in assistant.ask()["unique_ids"])
        first = time.time()
        wait_for(lambda: (assistant.ask()["states"]["event.front_door_change"][0] or "") > _iso(first))
        where = f"mqtt://127.0.0.1:{broker.port}"
        done = command("edge-classify", "--mqtt", where, "--mqtt-device", "Front door", "--mqtt-forget")
        assert done.returncode == 0, done.stderr
        wait_for(lambda: assistant.ask()["devices"] == [])
        assert assistant.warnings == []


def test_the_page_about_mqtt_leads_to_the_device(home: Path, tmp_path: Path, command) -> None:
    """docs/mqtt.md: a broker with a user and a password file, the dialog, the doctor, the command."""
    subprocess.run(
        ["mosquitto_passwd", "-c", tmp_path / "passwords", "pi"], input="s3cret\ns3cret\n", text=True, check=True
    )
    password = tmp_path / "mqtt-password"
    password.touch(0o600)
    password.write_text("s3cret\n")
    with Broker(tmp_path, [f"password_file {tmp_path / 'passwords'}"]) as broker, HomeAssistant(home) as assistant:
        refused = assistant.add_integration(
            "mqtt", broker="127.0.0.1", port=broker.port, username="pi", password="wrong"
        )
        assert refused["errors"] == {"base": "cannot_connect"}
        assistant.add_broker(broker.port, username="pi", password="s3cret")
        options = ("--mqtt", f"mqtt://pi@127.0.0.1:{broker.port}", "--mqtt-password-file", password)
        told = command("edge-doctor", *options).stdout
        assert "logged in as pi" in told
        assert "arrived" in told
        with running(*options, "--mqtt-device", "pi"):
            wait_for(lambda: assistant.state("sensor.pi_state") not in (None, "unknown", "unavailable"))
        assert [device["name"] for device in assistant.ask()["devices"]] == ["pi"]
        assert assistant.warnings == []


def test_a_picture_arrives_through_home_assistants_own_camera(home: Path, tmp_path: Path) -> None:
    """docs/page.md: what to type into the dialog of the MJPEG camera."""
    port, token = free_port(), tmp_path / "token"
    page = ("--web", "--web-address", f"0.0.0.0:{port}", "--web-token-file", token)
    typed = {
        "name": "Front door",
        "mjpeg_url": f"http://127.0.0.1:{port}/stream.mjpg",
        "still_image_url": f"http://127.0.0.1:{port}/snapshot.jpg",
        "username": "pi",
    }
    with HomeAssistant(home) as assistant, running(*page):
        wait_for(lambda: answers(port))
        refused = assistant.add_integration("mjpeg", **typed, password="not the token of it")
        assert refused["errors"] == {"username": "invalid_auth"}
        done = assistant.add_integration("mjpeg", **typed, password=token.read_text().strip())
        assert done["type"] == "create_entry", done
        wait_for(lambda: assistant.state("camera.front_door") not in (None, "unavailable"))
        with assistant.request("/api/camera_proxy/camera.front_door") as answer:
            assert answer.headers["Content-Type"] == "image/jpeg"
            assert is_from_the_demo(answer.read())
        pictures: set[bytes] = set()
        with assistant.request("/api/camera_proxy_stream/camera.front_door") as stream:
            while len(pictures) < 3:
                length = next(int(line.split(b":")[1]) for line in stream if line.startswith(b"Content-Length:"))
                assert stream.readline() == b"\r\n"
                pictures.add(stream.read(length))
        assert all(map(is_from_the_demo, pictures))


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def is_from_the_demo(jpeg: bytes) -> bool:
    """Whether it is as near to some frame of the demo as those of different digits are, and no notice is."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    frames = (demo.draw(number).image for number in range(0, 20 * demo.FRAMES_PER_SECOND, 5))
    return min(cv2.norm(image, frame, cv2.NORM_L1) for frame in frames) / image.size < 35


LABELS = ("cup", "unknown", "None", "unavailable", "none", "a/b + #1", "x" * 300, "🐈 cat", 'say "hi" \\ {{ }}')


def test_every_label_arrives_as_something_readable(broker: Broker, home: Path) -> None:
    (made,) = classify_frames([Frame(np.zeros((48, 64, 3), np.uint8), 0, 0.0, "test")], Classifier())
    classifiers = Classifier(), Classifier()
    classifiers[0].labels, classifiers[1].labels = LABELS, ("🐈 cat", "unknown")
    settings = Settings(address(f"mqtt://127.0.0.1:{broker.port}"), "Front door")
    models = ("hall", 'a/b "c" 🐕')
    with (
        HomeAssistant(home) as assistant,
        BrokerOutput(settings, Run(Camera(), Models(list(map(Model, models, classifiers)))), print) as output,
    ):
        assistant.add_broker(broker.port)

        def see(model: str, label: str) -> None:
            result: Result = made._replace(
                state=label, change=Change(label, 0.9, None, None), model=model, finished_at=time.perf_counter()
            )
            output.append(result)

        def entity(kind: str, of: str) -> str:
            """The entity of this kind and model; Home Assistant has made up its id of the name."""
            ids = {unique: entity for entity, unique in assistant.ask()["unique_ids"].items()}
            return ids[f"edge_classify_front-door_{kind}_{of}"]

        see(models[0], "cup")
        wait_for(lambda: len(assistant.ask()["unique_ids"]) >= 8)
        sensor, change = entity("state", "hall"), entity("change", "hall")
        other_change = entity("change", "a-b-c")
        # A new device's first changes may be missed.
        wait_for(lambda: see(models[0], "cup") or assistant.attribute(change, "event_type"))
        shown: list[str] = []
        for label in LABELS:
            see(models[0], label)
            wait_for(lambda: assistant.state(sensor) not in (*shown, None, "unknown", "unavailable"))
            shown.append(str(assistant.state(sensor)))
            wait_for(lambda: assistant.attribute(change, "event_type") == shown[-1], lambda: str(shown))
        assert shown[:6] == ["cup", "not_recognised", "class None", "class unavailable", "none", "a/b + #1"]
        assert shown[6:] == ["x" * 99 + "…", "🐈 cat", 'say "hi" \\ {{ }}']
        # The changes of one model are not those of the other.
        assert assistant.state(other_change) == "unknown"
        see(models[1], "🐈 cat")
        wait_for(lambda: assistant.attribute(other_change, "event_type") == "🐈 cat")
        assert assistant.attribute(change, "event_type") == shown[-1]
        assert assistant.warnings == []


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
