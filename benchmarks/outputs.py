"""What the outputs cost the loop while the network is absent, never answers, or is slow: against none, in turn.

    python benchmarks/outputs.py [--starts N] [--turns N] [--frames N] [--mqtt-alone]

Each run is a new process that classifies the demo. Every output is on: MQTT and a webhook to the same place, a hook,
metrics, photos and the page, which nobody looks at; or --mqtt alone. Runs come in random order, and one of each turn is
without outputs again: what that differs by is noise. Prints the median time from the start to the first result (a start
is ended there), and p50 and p99 of the total latency over the frames of all turns, the first two seconds left out (the
outputs' libraries are imported then); and how all three differ from the runs without.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from common import Row, machine, record, show

# Frames of the demo's first two seconds.
_IMPORTING = 60
EDGE_CLASSIFY = str(Path(sys.executable).with_name("edge-classify"))


class Place(NamedTuple):
    """host and port of a broker, and of whoever takes changes."""

    host: str
    port: int


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def options_for(place: Place, folder: Path, *, mqtt_alone: bool) -> list[str]:
    words = ["--mqtt", f"mqtt://{place.host}:{place.port}"]
    if not mqtt_alone:
        words += ["--webhook", f"http://{place.host}:{place.port}/", "--on-change", "true"]
        words += [
            "--metrics",
            f"127.0.0.1:{free_port()}",
            "--web",
            "--web-address",
            f"127.0.0.1:{free_port()}",
            "--collect",
            str(folder / "photos"),
            "--events",
            str(folder / "events"),
        ]
    return words


def start(more: list[str]) -> float:
    """Milliseconds to the first result."""
    began = time.perf_counter()
    with classifying(more) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took = (time.perf_counter() - began) * 1e3
        process.kill()
    return took


def run(frames: int, more: list[str]) -> list[float]:
    """The total latency of each frame, in milliseconds, but for those of the first two seconds."""
    with classifying(["--count", str(frames + _IMPORTING), *more]) as process:
        assert process.stdout is not None
        lines = process.stdout.readlines()[_IMPORTING:]
    if process.returncode:
        raise SystemExit(f"failed with {' '.join(more)}")
    return [json.loads(line)["timing_ms"]["total"] for line in lines]


def classifying(more: list[str]) -> subprocess.Popen[str]:
    words = [EDGE_CLASSIFY, "--camera", "demo", "--json", *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def answer_slowly(listening: socket.socket) -> None:
    """Take a byte every 50 ms from each connection, and never answer."""
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=read_slowly, args=(connection,), daemon=True).start()


def read_slowly(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        while connection.recv(1):
            time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=40)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--mqtt-alone", action="store_true")
    options = parser.parse_args()
    print(machine())
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.create_server(("127.0.0.1", 0)) as slow,
        tempfile.TemporaryDirectory() as name,
    ):
        threading.Thread(target=answer_slowly, args=(slow,), daemon=True).start()
        places = {
            "absent": Place("127.0.0.1", 1),
            "black hole": Place("192.0.2.1", 1883),
            "silent": Place("127.0.0.1", silent.getsockname()[1]),
            "slow": Place("127.0.0.1", slow.getsockname()[1]),
        }
        folder = Path(name)
        cases = ("without", "again", *places)
        starts: dict[str, list[float]] = {case: [] for case in cases}
        totals: dict[str, list[float]] = {case: [] for case in cases}

        def more(case: str) -> list[str]:
            return options_for(places[case], folder, mqtt_alone=options.mqtt_alone) if case in places else []

        for _ in range(options.starts):
            for case in random.sample(cases, len(cases)):
                starts[case].append(start(more(case)))
        for _ in range(options.turns):
            for case in random.sample(cases, len(cases)):
                totals[case] += run(options.frames, more(case))
    rows: list[Row] = []
    for case in cases:
        first, p50, p99 = statistics.median(starts[case]), quantile(totals[case], 0.5), quantile(totals[case], 0.99)
        row: Row = {
            "network": case,
            "first result (ms)": round(first, 1),
            "later by (ms)": round(first - statistics.median(starts["without"]), 1),
            "p50 (ms)": round(p50, 2),
            "p50, to none": round(p50 / quantile(totals["without"], 0.5), 2),
            "p99 (ms)": round(p99, 2),
            "p99, to none": round(p99 / quantile(totals["without"], 0.99), 2),
        }
        rows.append(show(row))
    record(__file__, rows)


if __name__ == "__main__":
    main()
