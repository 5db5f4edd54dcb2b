"""What the outputs cost the loop while the network is absent, never answers, or is slow: against none, in turn.

    python benchmarks/outputs.py [--turns N] [--frames N] [--mqtt-alone]

Each run is a new process that classifies the demo. Every output is on: MQTT and a webhook to the same place, a hook,
metrics, photos and the page, which nobody looks at; or --mqtt alone. Prints the medians of the p50 and p99 of the total
latency and of the time from the start to the first result, and the median of each turn's ratios and difference to the
run without.
"""

from __future__ import annotations

import argparse
import json
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

from common import machine

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
            "127.0.0.1:9464",
            "--collect",
            str(folder / "photos"),
            "--events",
            str(folder / "events"),
        ]
    return words


def run(frames: int, more: list[str]) -> tuple[float, float, float]:
    """p50 and p99 of the total latency, and milliseconds to the first result."""
    words = [EDGE_CLASSIFY, "--camera", "demo", "--json", "--count", str(frames), *more]
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    first = (time.perf_counter() - began) * 1e3
    lines += process.stdout.readlines()
    if process.wait():
        raise SystemExit(f"failed: {' '.join(words)}")
    totals = sorted(json.loads(line)["timing_ms"]["total"] for line in lines)
    return totals[len(totals) // 2], totals[int(0.99 * (len(totals) - 1))], first


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
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--frames", type=int, default=600)
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
        cases: dict[str, list[str]] = {"without": []}
        cases |= {name: options_for(place, folder, mqtt_alone=options.mqtt_alone) for name, place in places.items()}
        turns = [{name: run(options.frames, more) for name, more in cases.items()} for _ in range(options.turns)]
    for name in cases:
        p50, p99, first = (statistics.median(turn[name][place] for turn in turns) for place in range(3))
        half, ratio = (
            statistics.median(turn[name][place] / turn["without"][place] for turn in turns) for place in (0, 1)
        )
        later = statistics.median(turn[name][2] - turn["without"][2] for turn in turns)
        print(
            f"{name:<11} p50 {p50:6.2f} ms ({half:.2f} ×)   p99 {p99:6.2f} ms ({ratio:.2f} ×)   "
            f"first result {first:6.1f} ms ({later:+.1f} ms)",
            flush=True,
        )


if __name__ == "__main__":
    main()
