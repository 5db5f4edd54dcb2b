"""What a real broker is told, whatever happens to it, to the camera and to us."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from mqtt_broker import Broker, Gate, Listener, free_port, retained, wait_for

from conftest import ROOT, classify_here, needs_programs, stop
from edge_classify import (
    Change,
    Classifier,
    DataError,
    Decision,
    EdgeClassifyError,
    Frame,
    Mqtt,
    Result,
    UsageError,
    classify_frames,
    open_source,
)
from edge_classify.outputs.broker.address import ARGUMENTS, address
from edge_classify.outputs.broker.link import Reporter
from edge_classify.outputs.broker.output import BrokerOutput, Settings
from edge_classify.outputs.broker.trouble import Trouble
from edge_classify.outputs.run import Run
from edge_classify.pipeline.loop import Model
from edge_classify.pipeline.models import Models


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@dataclass
class Camera:
    """What an output asks a source for; lost at will."""

    live: bool = True
    lost_since: float | None = None


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture(scope="module")
def result(classifier: Classifier) -> Result:
    (made,) = classify_frames([Frame(np.zeros((48, 64, 3), np.uint8), 7, 0.0, "test")], classifier)
    return made


class Device:
    """An output with results as a camera's loop would give them."""

    def __init__(self, output: BrokerOutput, result: Result, camera: Camera) -> None:
        self.output = output
        self.camera = camera
        self._result = result
        self._state: str | None = None
        self._number = 0

    def see(self, state: str, model: str = "reader") -> None:
        """One more result, which has this state."""
        change = None if state == self._state else Change(state, 0.9, self._state, 1.0)
        self._state = state
        self._number += 1
        frame = self._result.frame._replace(number=self._number)
        self.output.append(
            self._result._replace(frame=frame, state=state, change=change, model=model, finished_at=time.perf_counter())
        )


@pytest.fixture
def connect(classifier: Classifier, result: Result) -> Callable[..., Device]:
    @contextmanager
    def make(port: int, names: tuple[str, ...] = ("reader",), **settings: object) -> Iterator[Device]:
        where = settings.pop("where", f"mqtt://127.0.0.1:{port}/test")
        camera = Camera()
        made = replace(Settings(address(where), "hall"), **settings)
        run = Run(camera, Models([Model(name, classifier) for name in names]))
        with BrokerOutput(made, run, print) as output:
            yield Device(output, result, camera)

    return make


def test_the_command_tells_what_its_events_say_and_says_goodbye(broker: Broker, tmp_path: Path, command) -> None:
    events = tmp_path / "events.jsonl"
    with Listener(broker.port) as listener:
        done = command(
            *("edge-classify", "--camera", "demo", "--count", 90, "--events", events),
            *("--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--mqtt-device", "Front door"),
        )
        assert done.returncode == 0, done.stderr
        listener.wait_for("availability", "offline")
        told = [json.loads(line) for line in listener.payloads("front-door/event")]
        attributes = json.loads(listener.payloads("attributes")[0])
        assert not listener.payloads("image")
    written = [json.loads(line) for line in events.read_text().splitlines()]
    assert len(written) > 1
    types = [event.pop("event_type") for event in told]
    assert told == written
    assert types == ["none" if event["state"] == "unknown" else event["state"] for event in written]
    assert attributes["camera"] == "ok"
    assert attributes["frames_per_second"] > 0
    kept = retained(broker.port)
    assert kept["edge-classify/front-door/classification/builtin"] == written[-1]["state"]
    assert kept["edge-classify/front-door/availability"] == "offline"
    assert json.loads(kept["homeassistant/device/edge_classify_front-door/config"])["dev"]["name"] == "Front door"
    (line,) = (line for line in (done.stdout + done.stderr).splitlines() if "MQTT" in line)
    assert line == f"MQTT: connected to mqtt://127.0.0.1:{broker.port}/edge-classify as device front-door"

    done = command(
        *("edge-classify", "--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--mqtt-device", "Front door", "--mqtt-forget")
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == sorted(kept)
    assert retained(broker.port) == {}


def test_a_state_that_changed_while_the_broker_was_away_is_there_when_it_is_back(
    broker: Broker, connect: Callable[..., Device]
) -> None:
    with Gate(broker.port) as gate, connect(gate.port) as device:
        with Listener(broker.port) as listener:
            device.see("1")
            listener.wait_for("classification/reader", "1")
        gate.shut()
        broker.kill()
        device.see("2")
        device.see("3")
        broker.start()
        with Listener(broker.port) as listener:
            gate.open()
            began = time.monotonic()
            listener.wait_for("classification/reader", "3")
            # It is asked for again after at most 4.5 s; the rest is for a busy machine.
            assert time.monotonic() - began < 15
            order = [heard for heard in listener.heard if heard.topic.endswith(("event", "classification/reader"))]
            topics = [heard.topic.rsplit("/")[2] for heard in order if not heard.retained]
            assert topics[-3:] == ["event", "event", "classification"]  # the state comes last
            states = [json.loads(text)["state"] for text in listener.payloads("event")]
            assert states in (["2", "3"], ["1", "2", "3"])  # that the first arrived was perhaps not confirmed
        assert retained(broker.port)["test/hall/classification/reader"] == "3"


def test_availability_follows_results_and_the_camera(broker: Broker, connect: Callable[..., Device]) -> None:
    with Listener(broker.port) as listener, connect(broker.port, quiet_s=0.5) as device:
        device.see("1")
        listener.wait_for("availability", "online")
        listener.wait_for("availability", "offline")  # for there was no result
        listener.wait_for("problem", "ON")
        going = threading.Event()

        def keep_seeing() -> None:
            while not going.wait(0.05):
                device.see("1")

        results = threading.Thread(target=keep_seeing)
        results.start()
        listener.wait_for("availability", "online")
        listener.wait_for("problem", "OFF")
        device.camera.lost_since = time.perf_counter()
        listener.wait_for("problem", "ON")
        assert listener.newest("availability") == "online"
        device.camera.lost_since -= 11
        listener.wait_for("availability", "offline")
        device.camera.lost_since = None
        listener.wait_for("availability", "online")
        going.set()
        results.join()


def test_a_process_that_dies_is_offline(broker: Broker) -> None:
    process = subprocess.Popen(
        [
            *(Path(sys.executable).with_name("edge-classify"), "--camera", "demo"),
            *("--mqtt", f"mqtt://127.0.0.1:{broker.port}/test", "--mqtt-device", "hall"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with Listener(broker.port) as listener:
        listener.wait_for("availability", "online")
        process.kill()
        process.wait()
        listener.wait_for("availability", "offline")
    assert retained(broker.port)["test/hall/availability"] == "offline"


def test_a_will_of_a_connection_that_was_dead_all_along_is_contradicted(
    broker: Broker, connect: Callable[..., Device]
) -> None:
    with Listener(broker.port) as listener, connect(broker.port) as device:
        device.see("1")
        listener.wait_for("availability", "online")
        listener.client.publish("test/hall/availability", "offline", 1, True)
        wait_for(lambda: listener.payloads("availability")[-2:] == ["offline", "online"])


def test_home_assistant_that_starts_is_told_everything_again(broker: Broker, connect: Callable[..., Device]) -> None:
    with Listener(broker.port) as listener, connect(broker.port, image=True) as device:
        device.see("1")
        listener.wait_for("classification/reader", "1")
        wait_for(lambda: listener.payloads("image"))
        listener.heard.clear()
        listener.client.publish("homeassistant/status", "online")
        wait_for(lambda: len(listener.payloads("classification/reader")) == 2)
        assert len(listener.payloads("hall/config")) == 1
        assert listener.payloads("event") == []
        assert listener.newest("availability") == "online"


def test_what_an_earlier_run_left_is_removed(broker: Broker, connect: Callable[..., Device]) -> None:
    with connect(broker.port, names=("a", "b"), image=True) as device:
        device.see("1", "b")
    before = retained(broker.port)
    assert before["test/hall/classification/b"] == "1"
    with Listener(broker.port) as listener, connect(broker.port) as device:
        device.see("2")
        wait_for(lambda: len(listener.payloads("hall/config")) == 4)
        _, _, removal, last = map(json.loads, listener.payloads("hall/config"))
        wait_for(lambda: "" in listener.payloads("classification/b"))
    gone = {name for name in removal["cmps"] if name not in last["cmps"]}
    assert gone == {f"{kind}_{model}" for kind in ("state", "change", "unknown_share") for model in "ab"} | {"image"}
    assert removal["cmps"]["image"] == {"p": "image"}
    assert set(retained(broker.port)) == {
        *(f"test/hall/{end}" for end in ("availability", "problem", "classification/reader")),
        "homeassistant/device/edge_classify_hall/config",
    }


def test_a_day_without_the_broker_keeps_the_last_thousand_changes_and_counts_the_others(
    tmp_path: Path, connect: Callable[..., Device]
) -> None:
    with Broker(tmp_path) as broker, connect(broker.port) as device:
        broker.kill()
        for number in range(2500):
            device.see(str(number % 2))
        assert device.output.counts() == {"MQTT events lost": 1500, "MQTT events not sent": 1000}
        broker.start()
        with Listener(broker.port) as listener:
            wait_for(lambda: sum(device.output.counts().values()) == 1500)
            wait_for(lambda: '"frame": 2500' in "".join(listener.payloads("event")[-1:]))
            numbers = [json.loads(text)["frame"] for text in listener.payloads("event")]
        assert numbers == list(range(2501 - len(numbers), 2501))


def test_a_model_that_is_exchanged_is_discovered_anew(broker: Broker, connect: Callable[..., Device]) -> None:
    topic = "homeassistant/device/edge_classify_hall/config"

    def options() -> list[str]:
        (state,) = (part for part in json.loads(retained(broker.port)[topic])["cmps"].values() if "ops" in part)
        return state["ops"]

    with connect(broker.port) as device:
        device.see("3")
        wait_for(lambda: topic in retained(broker.port) and "3" in options())
        models = device.output._run.models
        other = Classifier(ROOT / "tests" / "models" / "drawn" / "mobilenet_v2_1.0_96_int8.tflite")
        models.exchange(Model("reader", other))
        models.settle()
        wait_for(lambda: sorted(options()) == ["cross", "disc", "none", "stripes"])
        with Listener(broker.port) as listener:
            device.see("disc")
            wait_for(lambda: listener.payloads("event"))
            event = json.loads(listener.payloads("event")[0])
        assert (event["state"], event["event_type"]) == ("disc", "disc")


def test_changes_that_the_broker_did_not_confirm_are_sent_again(tmp_path: Path, connect: Callable[..., Device]) -> None:
    """A broker that takes everything and confirms nothing, then a real one on its port."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server, connect(port) as device:
        for state in "123":
            device.see(state)
        peer, _ = server.accept()
        peer.recv(4096)
        peer.sendall(bytes([0x20, 2, 0, 0]))
        wait_for(lambda: device.output._present.sending == 3)
        for state in "45":
            device.see(state)
        wait_for(lambda: device.output._present.sending == 5)
        peer.close()
        server.close()
        wait_for(lambda: device.output.counts()["MQTT events not sent"] == 5 and not device.output._present.sending)
        with Broker(tmp_path, port=port):
            wait_for(lambda: not any(device.output.counts().values()))
            assert retained(port)["test/hall/classification/reader"] == "5"


# --- what can be wrong with a broker ---------------------------------------------------------------------------------


def openssl(*words: object) -> None:
    needs_programs("openssl")
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def make_authority(folder: Path, name: str) -> None:
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", f"/CN={name}"),
        *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"),
    )


def make_certificate(folder: Path, name: str, days: int, host: str = "IP:127.0.0.1") -> None:
    request, names = folder / f"{name}.csr", folder / f"{name}.ext"
    openssl(
        *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
        *("-keyout", folder / f"{name}.key", "-out", request),
    )
    names.write_text(f"subjectAltName={host}\n")
    openssl(
        *("x509", "-req", "-in", request, "-CA", folder / "ours.pem", "-CAkey", folder / "ours.key", "-days", days),
        *("-CAcreateserial", "-extfile", names, "-out", folder / f"{name}.pem"),
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ours", "theirs"):
        make_authority(folder, name)
    make_certificate(folder, "good", 2)
    make_certificate(folder, "expired", -1)
    make_certificate(folder, "other", 2, "DNS:elsewhere.example")
    make_certificate(folder, "client", 2)
    return folder


def said(caplog: pytest.LogCaptureFixture, connect: Callable[..., Device], port: int, **settings: object) -> str:
    """The one line that is said about the broker; results are taken all the same."""
    caplog.clear()
    with connect(port, **settings) as device:
        device.see("1")
        wait_for(lambda: caplog.records)
        device.see("2")
        assert device.output.counts()["MQTT events not sent"] == 2
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    return record.getMessage()


def tls(certificates: Path, name: str, *more: str) -> list[str]:
    return [
        "allow_anonymous true",
        f"cafile {certificates / 'ours.pem'}",
        f"certfile {certificates / name}.pem",
        f"keyfile {certificates / name}.key",
        *more,
    ]


def test_tls_verifies_and_says_what_is_wrong(tmp_path: Path, certificates: Path, connect, caplog) -> None:
    ours, theirs = certificates / "ours.pem", certificates / "theirs.pem"
    for number, (name, ca, words) in enumerate(
        [
            ("good", None, "unknown authority: give that authority's certificate with --mqtt-ca FILE"),
            ("good", theirs, "unknown authority"),
            ("expired", ours, "certificate that has expired: renew it"),
            ("other", ours, "certificate for another name than 127.0.0.1"),
        ]
    ):
        (folder := tmp_path / str(number)).mkdir()
        with Broker(folder, tls(certificates, name)) as broker:
            where = f"mqtts://127.0.0.1:{broker.port}/test"
            assert words in said(caplog, connect, broker.port, where=where, ca=ca)
    with Broker(tmp_path, tls(certificates, "good")) as broker:
        caplog.clear()
        with connect(broker.port, where=f"mqtts://127.0.0.1:{broker.port}/test", ca=ours) as device:
            device.see("1")
            wait_for(lambda: not any(device.output.counts().values()))
        assert "does it want TLS (mqtts://, port 8883)?" in said(caplog, connect, broker.port)
        # A program of one's own has no options.
        where = f"mqtts://127.0.0.1:{broker.port}/test"
        words = said(caplog, connect, broker.port, where=where, means=ARGUMENTS)
        assert "give that authority's certificate with authority=" in words


def test_a_client_certificate_is_shown_or_asked_for(tmp_path: Path, certificates: Path, connect, caplog) -> None:
    with Broker(tmp_path, tls(certificates, "good", "require_certificate true")) as broker:
        settings = {"where": f"mqtts://127.0.0.1:{broker.port}/test", "ca": certificates / "ours.pem"}
        assert "--mqtt-cert" in said(caplog, connect, broker.port, **settings)
        pair = {"cert": certificates / "client.pem", "key": certificates / "client.key"}
        caplog.clear()
        with connect(broker.port, **settings, **pair) as device:
            device.see("1")
            wait_for(lambda: not any(device.output.counts().values()))
        assert not caplog.records


def test_users_and_passwords(tmp_path: Path, connect, caplog) -> None:
    needs_programs("mosquitto_passwd")
    passwords = tmp_path / "passwords"
    passwords.touch()
    subprocess.run(["mosquitto_passwd", "-b", passwords, "pi", "s3cret"], check=True)
    with Broker(tmp_path, ["allow_anonymous false", f"password_file {passwords}"]) as broker:
        where = f"mqtt://pi@127.0.0.1:{broker.port}/test"
        assert "refuses the user pi" in said(caplog, connect, broker.port, where=where, password="wrong")
        assert "no password was given: --mqtt-password-file FILE" in said(caplog, connect, broker.port, where=where)
        assert "wants a user name" in said(caplog, connect, broker.port)
        caplog.clear()
        with connect(broker.port, where=where, password="s3cret") as device:
            device.see("1")
            wait_for(lambda: not any(device.output.counts().values()))
        assert not caplog.records


def test_what_is_no_broker(connect, caplog) -> None:
    assert "refuses connections: does it run" in said(caplog, connect, free_port())
    where = "mqtt://no-such-host.invalid"
    assert "is not found" in said(caplog, connect, 0, where=where)
    for answer, words in [
        (bytes([0x20, 2, 0, 1]), "refuses MQTT 3.1.1"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "closes the connection at once: is it an MQTT broker"),
        (b"", "closes the connection at once"),
        (bytes([0x20, 2, 0, 2]), "refuses this device's name"),
    ]:
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer_once(server: socket.socket = server, answer: bytes = answer) -> None:
                peer, _ = server.accept()
                with peer:
                    peer.recv(4096)
                    peer.sendall(answer)

            thread = threading.Thread(target=answer_once)
            thread.start()
            assert words in said(caplog, connect, server.getsockname()[1])
            thread.join()


def test_a_broker_without_encryption_is_told_from_one_that_is_away(broker: Broker, connect, caplog) -> None:
    where = f"mqtts://127.0.0.1:{broker.port}/test"
    hint = f"does port {broker.port} speak TLS? mqtt:// is without"
    assert hint in said(caplog, connect, broker.port, where=where)


def test_a_broker_that_never_answers_is_told_of_and_left_behind(connect, caplog, monkeypatch) -> None:
    monkeypatch.setattr("edge_classify.outputs.broker.connection._ANSWER_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "does not answer" in said(caplog, connect, server.getsockname()[1])


def test_the_same_trouble_is_told_once_in_ten_minutes(caplog) -> None:
    now = 0.0
    said: list[str] = []
    reporter = Reporter("mqtt://broker:1883/x", "hall", said.append, clock=lambda: now)
    for _ in range(60):
        reporter.lost(Trouble("refuses the user pi"))
        now += max(0.5, reporter.pause(Trouble("")))
    assert 1 + now // 600 >= len(caplog.records) >= 2
    caplog.clear()
    reporter.connected()
    for _ in range(100):  # a link that flaps
        now += 30
        reporter.lost(Trouble("has closed the connection", passing=True))
        reporter.connected()
    assert len(caplog.records) <= 2 * (1 + 3000 // 600) + 2
    assert not any("another edge-classify" in text for text in caplog.messages)
    assert said == ["MQTT: connected to mqtt://broker:1883/x as device hall\n"]


def test_a_name_that_two_devices_have_is_suspected(broker: Broker, connect, caplog) -> None:
    with connect(broker.port) as first, connect(broker.port) as second:
        first.see("1")
        second.see("2")
        told = "closed the connection again: does another edge-classify call itself hall? Name each by --mqtt-device"
        wait_for(lambda: sum(told in text for text in caplog.messages) == 2)  # by both, once


def test_the_doctor_says_what_is_wrong_with_a_broker(tmp_path: Path, command) -> None:
    needs_programs("mosquitto_passwd")
    for name in ("passwords", "access", "password"):
        (tmp_path / name).touch()
    subprocess.run(["mosquitto_passwd", "-b", tmp_path / "passwords", "pi", "s3cret"], check=True)
    (tmp_path / "password").write_text("s3cret\n")
    (tmp_path / "access").write_text("user pi\ntopic readwrite mine/#\ntopic read theirs/#\n")
    settings = ["allow_anonymous false", f"password_file {tmp_path / 'passwords'}", f"acl_file {tmp_path / 'access'}"]

    def doctor(*words: object) -> list[dict[str, str]]:
        done = command("edge-doctor", "--json", "--mqtt-device", "hall", "--mqtt", *words)
        return [entry for entry in json.loads(done.stdout)["findings"] if entry["check"] == "mqtt"]

    with Broker(tmp_path, settings) as broker:
        where = f"mqtt://pi@127.0.0.1:{broker.port}"
        good = doctor(f"{where}/mine", "--mqtt-password-file", tmp_path / "password")
        assert [entry["level"] for entry in good] == ["green"] * 3
        assert good[-1]["text"] == "a message sent to mine/hall/doctor arrived"
        silent = doctor(f"{where}/theirs", "--mqtt-password-file", tmp_path / "password")
        assert silent[-1]["level"] == "red"
        assert "allow this user to write to theirs/#" in silent[-1]["remedy"]
        assert "refuses the user pi" in doctor(f"{where}/mine")[-1]["text"]
    assert "is not found" in doctor("mqtt://no-such-host.invalid")[0]["text"]


def test_a_program_of_ones_own_tells_a_broker_what_it_sees(broker: Broker, classifier: Classifier) -> None:
    where, changes = f"mqtt://127.0.0.1:{broker.port}/test", []
    with Listener(broker.port) as listener:
        with open_source("demo") as source, Mqtt(where, classifier, source, device="Desk") as mqtt:
            for result in classify_frames(islice(source, 90), classifier, Decision(classifier.labels)):
                mqtt.append(result)
                changes += [result.state] if result.change else []
        listener.wait_for("test/desk/availability", "offline")
        assert [json.loads(line)["state"] for line in listener.payloads("test/desk/event")] == changes
        listener.wait_for("test/desk/classification/builtin", changes[-1])
        assert listener.payloads("test/desk/problem")
        # Frames of its own have no camera that could be lost.
        with Mqtt(where, classifier, device="own") as mqtt:
            mqtt.append(result._replace(change=Change("3", 0.9, None, None), state="3"))
        listener.wait_for("test/own/classification/builtin", "3")
        assert not listener.payloads("test/own/problem")


@pytest.mark.parametrize(
    ("url", "settings", "error", "message"),
    [
        ("http://broker", {}, UsageError, "expected mqtt://host"),
        ("mqtt://broker/a+b", {}, UsageError, "wildcard"),
        ("mqtt://pi:s3cret@broker", {}, UsageError, "give it by password="),
        ("mqtt://broker", {"device": "☕"}, UsageError, "expected a name of at most 64 characters"),
        ("mqtt://broker", {"password": "x"}, UsageError, "there is a password, but no user"),
        ("mqtt://broker", {"authority": __file__}, UsageError, "is for an encrypted connection"),
        (
            "mqtts://broker",
            {"authority": __file__},
            DataError,
            f"Mqtt: authority {__file__}: no certificate (PEM) in it",
        ),
    ],
)
def test_a_program_of_ones_own_is_told_at_once_what_cannot_work(
    classifier: Classifier, url: str, settings: dict[str, str], error: type[EdgeClassifyError], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        Mqtt(url, classifier, **settings)


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("broker.local",), "did you mean mqtt://broker.local?"),
        (("http://broker",), "expected mqtt://host or mqtts://user@host:8883/prefix, found 'http://broker'"),
        (("mqtt://pi:s3cret@broker",), "give it by --mqtt-password-file FILE"),
        (("mqtt://broker/home/+/x",), "has a wildcard"),
        (("mqtt://broker/home#",), "has a wildcard"),
        (("mqtt://broker/a//b",), "cannot begin a topic"),
        (("mqtt://broker:99999",), "there is no port 99999"),
        (("mqtt://broker", "--mqtt-discovery", "#"), "has a wildcard"),
        (("mqtt://broker", "--mqtt-discovery", "False"), "found 'False': did you mean off?"),
        (("mqtt://broker", "--mqtt-device", "+/#"), "expected a name"),
        (("mqtt://broker", "--mqtt-ca", "x.pem"), "--mqtt-ca is for an encrypted connection: --mqtt mqtts://"),
        (("mqtts://broker", "--mqtt-ca", "no-such.pem"), "--mqtt-ca no-such.pem: No such file"),
        (("mqtts://broker", "--mqtt-ca", __file__), "no certificate (PEM) in it"),
        (("mqtts://broker", "--mqtt-cert", __file__), "no certificate (PEM) in it"),
        (("mqtts://broker", "--mqtt-key", __file__), "--mqtt-key needs its certificate"),
        (
            ("mqtt://pi@broker", "--mqtt-password-file", "no-such"),
            "--mqtt-password-file no-such: no such file: write the secret alone",
        ),
        (("mqtt://broker", "--mqtt-password-file", "PASSWORD"), "there is a password for MQTT, but no user"),
        (("mqtt://pi@broker", "--mqtt-password-file", __file__), "expected one line, the secret alone"),
    ],
)
def test_options_that_cannot_work_are_refused(words: tuple[str, ...], message: str, tmp_path: Path, capfd) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    given = [str(secret) if word == "PASSWORD" else word for word in words]
    code, errors = classify_here(capfd, "--camera", "demo", "--mqtt", *given)
    assert code in (2, 6)
    assert message in errors
    assert "s3cret" not in errors
    assert errors.count("\n") == 1


def test_a_certificate_needs_its_own_key(certificates: Path, capfd) -> None:
    for words, message in [
        ((), "no key (PEM) in it: give it by --mqtt-key FILE"),
        (("--mqtt-key", certificates / "good.key"), "is not the key of --mqtt-cert"),
    ]:
        given = ("--mqtt", "mqtts://broker", "--mqtt-cert", certificates / "client.pem", *words)
        code, errors = classify_here(capfd, "--camera", "demo", *given)
        assert (code, errors.count("\n")) == (6, 1)
        assert message in errors


def test_options_without_a_broker_or_a_stream_are_refused(tmp_path: Path, capfd) -> None:
    for words in (("--mqtt-image",), ("--mqtt-forget",), ("--mqtt-discovery", "homeassistant"), ("--mqtt-ca", "x")):
        assert "is for --mqtt ADDRESS: give that too" in classify_here(capfd, "--camera", "demo", *words)[1]
    (tmp_path / "a.png").touch()
    code, errors = classify_here(capfd, tmp_path, "--mqtt", "mqtt://broker")
    assert (code, "still pictures have no state" in errors) == (2, True)


def test_addresses() -> None:
    assert str(address("mqtt://broker")) == "mqtt://broker:1883/edge-classify"
    assert str(address("MQTTS://pi@[fe80::1]/a/b/")) == "mqtts://pi@[fe80::1]:8883/a/b"
    assert address("mqtt://me%40home@broker").user == "me@home"


@pytest.mark.parametrize("how", ["file", "environment", "credential"])
def test_the_password_shows_nowhere(how: str, tmp_path: Path) -> None:
    needs_programs("mosquitto_passwd")
    (tmp_path / "passwords").touch()
    secret = "correct-horse-battery"
    subprocess.run(["mosquitto_passwd", "-b", tmp_path / "passwords", "pi", secret], check=True)
    (tmp_path / "mqtt-password").write_text(secret + "\n")
    (tmp_path / "mqtt-password").chmod(0o644)
    options = ["--mqtt-password-file", tmp_path / "mqtt-password"] if how == "file" else []
    variables = {
        "file": {},
        "environment": {"EDGE_CLASSIFY_MQTT_PASSWORD": secret},
        "credential": {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    }[how]
    with (
        Broker(tmp_path, ["allow_anonymous false", f"password_file {tmp_path / 'passwords'}"]) as broker,
        Listener(broker.port, ("pi", secret)) as listener,
    ):
        where = f"mqtt://pi@127.0.0.1:{broker.port}/test"
        program = Path(sys.executable).with_name("edge-classify")
        process = subprocess.Popen(
            [program, "--camera", "demo", "--json", "--mqtt", where, "--mqtt-device", "hall", *options],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            listener.wait_for("availability", "online")
            shown = Path(f"/proc/{process.pid}/cmdline").read_text()
        finally:
            output, errors = stop(process, signal.SIGINT)
        everything = shown + output + errors + repr(listener.heard)
    assert secret not in everything
    assert ("--mqtt-password-file" in errors and "every user of this machine can read it" in errors) == (how == "file")
