"""Metrics, as a real Prometheus, its node exporter and clients of all kinds get them."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from conftest import ROOT, classify_here, needs_programs
from edge_classify import Category, Classification, Frame, Result
from edge_classify.cli import make_parser
from edge_classify.doctor.metrics_checks import check_metrics
from edge_classify.model.classifier import Classifier, Timing
from edge_classify.outputs import http_server, metrics
from edge_classify.outputs.address import Address, listen
from edge_classify.outputs.metric_counts import BOUNDS_MS, MAX_STATES, ModelCounts
from edge_classify.outputs.metric_families import Families
from edge_classify.outputs.run import Run
from edge_classify.pipeline.decision import Change
from edge_classify.pipeline.latency import StageTimes
from edge_classify.pipeline.loop import Model
from edge_classify.pipeline.models import Models
from edge_classify.sources.opening import open_source
from edge_classify.system.machine import System
from edge_classify.system.packages import install_command

HERE = Path(__file__).parent
PROMETHEUS = ROOT / "docs" / "prometheus"
EDGE_CLASSIFY = str(Path(sys.executable).with_name("edge-classify"))
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(found: Callable[[], Any], what: str) -> Any:
    """What `found` gives as soon as that is true."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


def samples(text: str) -> Samples:
    """Each series and its value; an empty label is none."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = frozenset((name, value) for name, value in sample.labels.items() if value)
            assert (sample.name, labels) not in found, "a series that is there twice is refused by Prometheus"
            found[sample.name, labels] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"edge_classify_{name}", frozenset(labels.items())]


def ask(port: int, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def scrape(port: int) -> Samples | None:
    try:
        return samples(ask(port)[1].decode())
    except OSError:
        return None


@contextmanager
def running(*words: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        list(map(str, words)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
    lines: list[str] = []
    reader.start()
    process.lines = lines  # type: ignore[attr-defined]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where edge-classify serves metrics of the demo."""
    port = free_port()
    with running(EDGE_CLASSIFY, "--camera", "demo", "--metrics", f"localhost:{port}") as process:
        until(lambda: scrape(port), "metrics")
        yield port
        before = value(scrape(port) or {}, "frames_total", model="builtin", result="classified")
        until(
            lambda: value(scrape(port) or {}, "frames_total", model="builtin", result="classified") > before, "frames"
        )
        assert "Traceback" not in "".join(process.lines)  # type: ignore[attr-defined]


@pytest.fixture
def run() -> Iterator[Run]:
    with open_source("demo") as source:
        yield Run(source, Models([Model("builtin", Classifier())]))


def result(state: str, *, milliseconds: float = 1.0, still: bool = False, changed: bool = False) -> Result:
    answer = Classification(state, 0.9, (Category(0, state, 0.9),), np.zeros(1, np.float32), Timing(1, 1, 1))
    times = StageTimes(*[milliseconds] * 5)
    change = Change(state, 0.9, None, None) if changed else None
    frame = Frame(np.zeros((2, 2, 3), np.uint8), 0, 0.0, "drawn")
    return Result(frame, answer, state, change, times, 0.0, time.perf_counter(), still, "m")


def rendered(run: Run, counts: dict[str, ModelCounts], **settings: Any) -> Samples:
    families = Families(run, lambda: counts, threading.Event(), process=True, **settings)
    return samples(generate_latest(families).decode())


# What a real Prometheus makes of it.


@contextmanager
def prometheus(port: int, folder: Path, rules: Path) -> Iterator[Callable[[str], Any]]:
    """A Prometheus that scrapes this port each second: a function that asks its API."""
    needs_programs("prometheus", "promtool")
    api = free_port()
    job = {"job_name": "edge-classify", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    (folder / "prometheus.yml").write_text(
        json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job], "rule_files": [str(rules)]})
    )
    subprocess.run(["promtool", "check", "config", folder / "prometheus.yml"], check=True, capture_output=True)
    words = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
    with running("prometheus", *words, f"--web.listen-address=127.0.0.1:{api}"):

        def get(path: str) -> Any:
            try:
                answer = json.loads(ask(api, f"/api/v1/{path}")[1])
            except (OSError, ValueError):
                return None
            assert answer["status"] == "success", answer
            return answer["data"]

        until(lambda: get("rules"), "Prometheus")
        yield get


def queries() -> list[str]:
    panels = json.loads((PROMETHEUS / "dashboard.json").read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(found) >= 15
    plain = [query.replace("$__rate_interval", "10s") for query in found]
    return [query.replace('job=~"$job", instance=~"$instance"', 'job=~".*", instance=~".*"') for query in plain]


def test_a_real_prometheus_scrapes_it_loads_the_alerts_and_each_query_of_the_dashboard_finds_data(
    port: int, tmp_path: Path
) -> None:
    with prometheus(port, tmp_path, PROMETHEUS / "alerts.yml") as get:
        (group,) = get("rules")["groups"]
        assert [rule["name"] for rule in group["rules"]] == [
            "EdgeClassifyNoResults",
            "EdgeClassifySlow",
            "EdgeClassifyMuchUnknown",
        ]
        until(lambda: [t for t in get("targets")["activeTargets"] if t["health"] == "up"], "the first scrape")
        for query in queries():
            assert "$" not in query
            # Not every machine tells.
            if "temperature" not in query or System().temperature() is not None:
                until(lambda query=query: get(f"query?query={quote(query)}")["result"], query)


def test_promtool_finds_nothing_to_object_to(port: int) -> None:
    needs_programs("promtool")
    done = subprocess.run(["promtool", "check", "metrics"], input=ask(port)[1], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    needs_programs("promtool")
    words = ["promtool", "test", "rules", "alerts_test.yml", "alerts_week_test.yml"]
    done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_node_exporter_reads_the_file(command, tmp_path: Path) -> None:
    needs_programs("prometheus-node-exporter")
    done = command("edge-classify", "--camera", "demo", "--count", 60, "--metrics", tmp_path / "edge.prom", umask=0o077)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "edge.prom").stat().st_mode & 0o777 == 0o644
    port = free_port()
    folder = f"--collector.textfile.directory={tmp_path}"
    only = ("--collector.disable-defaults", "--collector.textfile", f"--web.listen-address=127.0.0.1:{port}")
    with running("prometheus-node-exporter", folder, *only):
        found = until(lambda: scrape(port), "the node exporter")
    assert found["node_textfile_scrape_error", frozenset()] == 0
    assert value(found, "frames_total", model="builtin", result="classified") == 60


# What the numbers say.


def test_p90_of_the_histogram_is_within_a_bucket_of_the_programs_own_table(command, tmp_path: Path) -> None:
    file = tmp_path / "edge.prom"
    done = command("edge-classify", "--camera", "demo", "--count", 90, "--metrics", file)
    assert done.returncode == 0, done.stderr
    found = samples(file.read_text())
    for stage in StageTimes._fields:
        table = re.search(rf"^{stage} +\S+ +(\S+)", done.stdout, re.MULTILINE)
        assert table is not None
        buckets = [
            value(found, "stage_seconds_bucket", model="builtin", stage=stage, le=f"{bound / 1e3:g}")
            for bound in BOUNDS_MS
        ]
        assert value(found, "stage_seconds_count", model="builtin", stage=stage) == 90
        ours = sum(bound < float(table[1]) for bound in BOUNDS_MS)
        theirs = sum(bucket < 0.9 * 90 for bucket in buckets)
        assert abs(ours - theirs) <= 1, (stage, table[1], buckets)


def test_states_changes_and_unknown_are_those_of_the_results(command, tmp_path: Path) -> None:
    file = tmp_path / "edge.prom"
    done = command(
        *("edge-classify", "--camera", "demo", "--count", 90, "--json", "--events", "/dev/full", "--metrics", file)
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    found = samples(file.read_text())
    assert value(found, "unknown_frames_total", model="builtin") == sum(
        result["categories"][0]["category_name"] == "unknown" for result in results
    )
    states = [result["state"] for result in results]
    for state in {*"0123456789", "unknown"}:
        changes = sum(now == state != before for before, now in zip([None, *states], states, strict=False))
        assert value(found, "state_changes_total", model="builtin", state=state) == changes
        # The run has ended: what its last state was is no state now.
        assert value(found, "state", model="builtin", edge_classify_state=state) == 0
    assert value(found, "camera_up") == 0
    assert value(found, "output_dropped_total", output="events") > 0
    assert value(found, "output_dropped_total", output="json_lines") == 0


def test_a_camera_that_is_lost_shows_at_the_next_scrape() -> None:
    camera_port, port = free_port(), free_port()
    camera = (sys.executable, HERE / "http_camera.py", camera_port)
    address = f"http://127.0.0.1:{camera_port}/"

    def up() -> float | None:
        found = scrape(port)
        return None if found is None else value(found, "camera_up")

    with running(*camera) as server:
        until(lambda: server.lines, "the camera")  # type: ignore[attr-defined]
        with running(EDGE_CLASSIFY, address, "--metrics", f"127.0.0.1:{port}"):
            until(lambda: up() == 1, "metrics")
            server.kill()
            until(lambda: up() == 0, "the loss")
            with running(*camera):
                until(lambda: up() == 1, "the return")
                assert value(scrape(port) or {}, "camera_reopens_total") == 1


def test_frames_skipped_as_still_are_counted_and_are_in_nothing_else(run: Run) -> None:
    counts = ModelCounts(("cup", "unknown"))
    for still in (False, True, True):
        counts.append(result("unknown", still=still))
    found = rendered(run, {"m": counts})
    assert value(found, "frames_total", model="m", result="classified") == 1
    assert value(found, "frames_total", model="m", result="still") == 2
    assert value(found, "unknown_frames_total", model="m") == 1
    assert value(found, "stage_seconds_count", model="m", stage="total") == 1


def test_a_value_on_a_bound_is_below_it_and_one_beyond_all_is_counted(run: Run) -> None:
    counts = ModelCounts(("cup",))
    for milliseconds in (10.0, 10.001, 5000.0):
        counts.append(result("cup", milliseconds=milliseconds))
    found = rendered(run, {"m": counts})
    at = {le: value(found, "stage_seconds_bucket", model="m", stage="total", le=le) for le in ("0.01", "0.015", "+Inf")}
    assert at == {"0.01": 1, "0.015": 2, "+Inf": 3}
    assert value(found, "stage_seconds_sum", model="m", stage="total") == pytest.approx(5.020001)


@pytest.mark.parametrize("models", [1, 2, 3])
def test_models_of_twenty_classes_are_at_most_250_series(run: Run, models: int) -> None:
    counts = ModelCounts([*(f"class {number}" for number in range(20)), "unknown"])
    counts.append(result("class 3", milliseconds=20.0))
    names = [f"model {number}" for number in range(models)]
    run = replace(run, models=Models([Model(name, Classifier()) for name in names]))
    for output in ("json_lines", "mqtt", "metrics", "on_change", "web", "console"):
        run.outputs[output] = metrics.Metrics(run, metrics.MetricsFile(Path("never.prom")))
    found = rendered(run, dict.fromkeys(names, counts))
    assert len(found) <= 250
    for name in names:
        assert value(found, "stage_seconds_bucket", model=name, stage="total", le="0.015") == 0
        assert value(found, "stage_seconds_bucket", model=name, stage="total", le="0.025") == 1
        # Where percentiles are left out, the mean is there.
        assert value(found, "stage_seconds_count", model=name, stage="inference") == 1
        assert value(found, "stage_seconds_sum", model=name, stage="inference") == pytest.approx(0.02)


@pytest.mark.parametrize("other", ["other", "other_"])
def test_a_thousand_classes_have_series_for_the_first_fifty_that_occur(run: Run, other: str) -> None:
    labels = [f"class {number}" for number in range(1000)] + ["other"] * (other == "other_")
    counts = ModelCounts(labels)
    for number in (*range(100), 3, 99, 98):
        counts.append(result(f"class {number}", changed=True))
    found = rendered(run, {"m": counts})
    changes = {dict(labels)["state"]: n for (name, labels), n in found.items() if name.endswith("changes_total")}
    assert len(changes) == MAX_STATES + 2
    assert changes.pop("unknown") == 0
    assert changes.pop(other) == 50 + 2
    assert changes.pop("class 3") == 2
    assert set(changes.values()) == {1}
    assert value(found, "state", model="m", edge_classify_state=other) == 1
    counts.append(result("unknown", changed=True))
    found = rendered(run, {"m": counts})
    assert value(found, "state", model="m", edge_classify_state=other) == 0
    assert value(found, "state", model="m", edge_classify_state="unknown") == 1


def test_labels_of_any_characters_arrive_as_they_are(run: Run) -> None:
    # crane: ImageNet has two.
    labels = ['a"b', "a\\nb", "a\nb", "ü ☕ 猫", "{x=}", "crane", "crane", "#", "x" * 300, "", "unknown"]
    counts = ModelCounts(labels)
    counts.append(result("a\nb"))
    families = Families(run, lambda: {"m": counts, "file\udcff": counts}, threading.Event(), process=False)
    found = samples(generate_latest(families).decode())
    shown = {dict(of).get("edge_classify_state", "") for name, of in found if name == "edge_classify_state"}
    assert shown == set(labels)
    assert value(found, "state", model="m", edge_classify_state="a\nb") == 1
    assert value(found, "frames_total", model="file\\udcff", result="classified") == 1


def test_no_series_says_when_another_began(port: int) -> None:
    assert b"_created" not in ask(port)[1]


# Clients of all kinds.


def test_it_answers_in_the_format_that_is_asked_for(port: int) -> None:
    plain, _ = ask(port)
    assert plain.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    answer, body = ask(
        port, Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5", Accept_Encoding="gzip"
    )
    assert str(answer.getheader("Content-Type")).startswith("application/openmetrics-text; version=1.0.0")
    assert answer.getheader("Content-Encoding") == "gzip"
    families = {family.name: family for family in parse_openmetrics(gzip.decompress(body).decode())}
    assert families["edge_classify_state"].type == "stateset"
    assert families["edge_classify_model"].type == "info"
    answer, body = ask(port, Accept="text/plain; version=none")
    assert (answer.status, bool(samples(body.decode()))) == (200, True)


def test_head_other_paths_and_methods(port: int) -> None:
    answer, body = ask(port, method="HEAD")
    assert (answer.status, body) == (200, b"")
    assert int(answer.getheader("Content-Length") or 0) > 1000
    answer, body = ask(port, "/../etc/passwd")
    assert (answer.status, body) == (404, b"there is nothing here; see /metrics\n")
    assert ask(port, method="POST")[0].status == 405


def test_garbage_a_client_that_leaves_and_one_that_never_reads_hold_up_nobody(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"x" * 100_000, b""):
        with socket.create_connection(("127.0.0.1", port)) as client:
            try:
                client.sendall(garbage)
                client.shutdown(socket.SHUT_WR)
                client.recv(4096)
            except OSError:
                continue
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")  # and away before the answer
    assert until(lambda: scrape(port), "an answer")
    for client in idle:
        client.close()


def ask_if_free(port: int) -> tuple[HTTPResponse, bytes] | None:
    try:
        return ask(port, "/broken")
    except OSError:
        return None


def test_a_ninth_client_is_sent_away_and_a_bug_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> list[bytes]:
        raise KeyError("a bug")

    address = Address("127.0.0.1", free_port())
    server = http_server.HttpServer(listen(address), {"/broken": broken})
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    idle = [socket.create_connection(address) for _ in range(8)]
    with socket.create_connection(address) as ninth:  # the server takes them in the order of their arrival
        assert ninth.recv(1) == b""
    for client in idle:
        client.close()
    for _ in range(2):
        answer, body = until(lambda: ask_if_free(address.port), "an answer")
        assert (answer.status, body) == (500, b"see the log of edge-classify\n")
    assert [record.exc_info is not None for record in caplog.records] == [True]
    server.stop()
    thread.join(60)
    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_run_that_ends_before_metrics_are_served_ends_quietly(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    address = Address("127.0.0.1", free_port())
    with metrics.Metrics(run, metrics.MetricsServer(address, lambda _: None)) as output:
        output.append(result("3")._replace(model="builtin"))
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "metrics"] or [threading.Thread()]
    until(lambda: not thread.is_alive(), "the thread")
    assert caplog.records == []
    listen(address).close()


# Where they go.


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("9464", "expected an address such as 127.0.0.1:9464, or a file whose name ends in .prom"),
        ("metrics.txt", "or a file whose name ends in .prom"),
        (":9464", "'' is no IP address"),
        ("pi.local:9464", "'pi.local' is no IP address"),
        ("127.0.0.1:0", "expected a port of 1 to 65535, found 0"),
        ("127.0.0.1:70000", "expected a port of 1 to 65535, found 70000"),
        ("::1:9464", "expected an address and a port such as 127.0.0.1:8080"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_opened(
    where: str, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, errors = classify_here(capfd, "gone.jpg", "--metrics", where)
    assert code == 2
    assert why in errors
    assert errors.count("\n") == 1


def test_a_folder_that_is_not_there_is_refused_before_anything_is_opened(capfd: pytest.CaptureFixture[str]) -> None:
    code, errors = classify_here(capfd, "--metrics", "missing/edge.prom")
    assert code == 6
    assert errors == "error: --metrics missing/edge.prom: there is no folder missing: create it first\n"


@pytest.mark.parametrize(
    ("where", "address"),
    [("[::1]:9464", ("::1", 9464)), ("0.0.0.0:80", ("0.0.0.0", 80)), ("localhost:1", ("127.0.0.1", 1))],
)
def test_addresses(where: str, address: tuple[str, int]) -> None:
    assert make_parser().parse_args(["--metrics", where]).metrics == Address(*address)


def test_a_missing_package_is_one_line_that_says_how_to_get_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    code, errors = classify_here(capfd, "demo", "--metrics", "127.0.0.1:9464")
    assert (code, errors.splitlines()) == (
        2,
        [f"error: --metrics needs a package that is not installed: {install_command('prometheus-client')}"],
    )


def test_a_port_that_only_root_may_have_is_refused() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1023:
        pytest.skip("every user may have any port here")
    words = [EDGE_CLASSIFY, "demo", "--count", "1", "--metrics", "127.0.0.1:1023"]
    if os.geteuid() == 0:
        words = ["setpriv", "--bounding-set=-net_bind_service", *words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    why = "this user may not serve at port 1023: choose one of 1024 or more"
    assert (done.returncode, done.stderr) == (2, f"error: --metrics 127.0.0.1:1023: {why}\n")


def test_a_port_in_use_is_told_once_and_taken_when_it_is_free() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with running(EDGE_CLASSIFY, "--camera", "demo", "--metrics", f"127.0.0.1:{port}") as process:
            lines = process.lines  # type: ignore[attr-defined]
            until(lambda: any(" ms " in line for line in lines), "results")
            until(lambda: any("in use" in line for line in lines), "the warning")
            other.close()
            found = until(lambda: scrape(port), "metrics")
            assert value(found, "frames_total", model="builtin", result="classified") > 0
            warnings = [line for line in lines if line.startswith("warning: ")]
            assert [line.partition(";")[0] for line in warnings] == [
                f"warning: metrics: 127.0.0.1:{port} is in use by another program: stop that, or choose another port"
            ]


def test_a_restart_takes_the_port_at_once() -> None:
    port = free_port()
    words = (EDGE_CLASSIFY, "--camera", "demo", "--metrics", f"127.0.0.1:{port}")
    for _ in range(2):
        with running(*words) as process:
            until(lambda: scrape(port), "metrics")
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                while client.recv(65536):  # until the server closes: its end of the connection stays for a minute
                    pass
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert not [line for line in process.lines if "warning" in line]  # type: ignore[attr-defined]


def test_an_address_that_others_reach_is_told(command) -> None:
    done = command("edge-classify", "--camera", "demo", "--count", 60, "--metrics", f"0.0.0.0:{free_port()}")
    assert done.returncode == 0
    assert "/metrics, for anybody in the network to read\n" in done.stderr


def test_an_address_that_is_not_ours_is_told_and_classification_goes_on(command) -> None:
    done = command("edge-classify", "--camera", "demo", "--count", 60, "--metrics", "192.0.2.1:9464")
    assert done.returncode == 0
    assert "warning: metrics: 192.0.2.1:9464: this machine has no such address now" in done.stderr
    assert "60 frames" in done.stdout


def test_a_file_is_written_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(metrics, "WRITE_INTERVAL_S", 0.05)
    file = tmp_path / "edge.prom"

    def frames() -> float:
        return value(samples(file.read_text()), "frames_total", model="builtin", result="classified")

    with metrics.Metrics(run, metrics.MetricsFile(file)) as output:
        assert not file.exists()
        for number in (1, 2, 3):
            output.append(result("3")._replace(model="builtin"))
            until(lambda number=number: file.exists() and frames() == number, "the file")
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_told_and_counted_and_ends_nothing(tmp_path: Path) -> None:
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
    words = [EDGE_CLASSIFY, "--camera", "demo", "--count", "30", "--metrics", str(tmp_path / "edge.prom")]
    done = subprocess.run(words, capture_output=True, text=True, preexec_fn=limit, timeout=60, check=False)
    assert done.returncode == 0
    assert "edge.prom: File too large: trying again every 15 s" in done.stderr
    assert "metrics not written: 2" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_tells_whether_the_place_is_free_or_who_is_there(port: int, tmp_path: Path) -> None:
    assert check_metrics(Address("127.0.0.1", free_port())).text.endswith(": free")
    ours = check_metrics(Address("127.0.0.1", port))
    assert (ours.level, "edge-classify 0" in ours.text) == ("green", True)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        theirs = check_metrics(Address("127.0.0.1", other.getsockname()[1]))
    assert (theirs.level, theirs.exit_code) == ("red", 2)
    assert check_metrics(Address("192.0.2.1", 9464)).level == "red"
    file = tmp_path / "edge.prom"
    assert check_metrics(file).level == "green"
    file.touch()
    assert check_metrics(file).level == "green"
    assert check_metrics(tmp_path / "missing" / "edge.prom").level == "red"
    (tmp_path / "folder.prom").mkdir()
    assert check_metrics(tmp_path / "folder.prom").level == "red"
    assert check_metrics(Path("/run/edge-classify/edge.prom")).level == "yellow"
