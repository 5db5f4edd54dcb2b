"""What --mqtt costs the loop while its broker is absent, or never answers: against no output, in turn.

    python benchmarks/outputs.py [--turns N] [--frames N]

Each run is a new process that classifies the demo. Prints the medians of the p99 of the total latency and of the time
from the start to the first result, and the median of each turn's ratio and difference to the run without.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import machine

EDGE_CLASSIFY = str(Path(sys.executable).with_name("edge-classify"))


def run(frames: int, where: str | None) -> tuple[float, float]:
    """p99 of the total latency, and milliseconds to the first result."""
    words = [EDGE_CLASSIFY, "--camera", "demo", "--json", "--count", str(frames)]
    began = time.perf_counter()
    process = subprocess.Popen(
        words + (["--mqtt", where] if where else []), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    first = (time.perf_counter() - began) * 1e3
    lines += process.stdout.readlines()
    if process.wait():
        raise SystemExit(f"failed: {' '.join(words)} --mqtt {where}")
    totals = sorted(json.loads(line)["timing_ms"]["total"] for line in lines)
    return totals[int(0.99 * (len(totals) - 1))], first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--frames", type=int, default=600)
    options = parser.parse_args()
    print(machine())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cases = {
            "without": None,
            "absent": "mqtt://127.0.0.1:1",
            "black hole": "mqtt://192.0.2.1",
            "silent": f"mqtt://127.0.0.1:{silent.getsockname()[1]}",
        }
        turns = [{name: run(options.frames, where) for name, where in cases.items()} for _ in range(options.turns)]
    for name in cases:
        p99, first = (statistics.median(turn[name][place] for turn in turns) for place in (0, 1))
        ratio = statistics.median(turn[name][0] / turn["without"][0] for turn in turns)
        later = statistics.median(turn[name][1] - turn["without"][1] for turn in turns)
        print(f"{name:<11} p99 {p99:7.2f} ms ({ratio:.2f} ×)   first result {first:7.1f} ms ({later:+.1f} ms)")


if __name__ == "__main__":
    main()
