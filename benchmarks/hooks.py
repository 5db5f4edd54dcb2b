"""What hooks cost the frames: a storm of changes, 1,000 a second, with a hook and without, in turn.

    python benchmarks/hooks.py

One process with 200 MB more than it needs, the built-in model, half a second a block. Each frame is classified and
changes the state; what is measured is the time from the frame to the end of `append`, and so what the hook's threads
and processes do to it. Prints the median over the rounds of each way's p50 and p99, of its ratio to none, and what it
skipped or lost; and how much memory the whole run has added.
"""

from __future__ import annotations

import multiprocessing
import resource
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import numpy as np
from common import Row, machine, read_words, record, show

from edge_classify import Classifier, CommandHook, Frame, Webhook, classify_frames
from edge_classify.pipeline.decision import Change
from edge_classify.sources import demo

ROUNDS, SECONDS, CHANGES_PER_S = 40, 0.5, 1000
IMAGE = demo.draw(40).image


class Accept(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def block(classifier: Classifier, output: Any, numbers: count[int]) -> list[float]:
    """Milliseconds of each frame of a block."""
    found, end = [], time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < end:
        number = next(numbers)
        (result,) = classify_frames([Frame(IMAGE, number, began, "0")], classifier)
        change = Change(f"{number}", 0.9, f"{number - 1}", 0.001)
        if output is not None:
            output.append(result._replace(change=change))
        finished = time.perf_counter()
        found.append((finished - began) * 1e3)
        time.sleep(max(0.0, 1 / CHANGES_PER_S - (finished - began)))
    return found


def main() -> None:
    read_words(__doc__)
    server = ThreadingHTTPServer(("localhost", 0), Accept)
    multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True).start()
    ballast = np.ones(200 << 20, np.uint8)
    print(f"{machine()}; {ballast.nbytes >> 20} MB held")
    classifier, numbers = Classifier(), count(1)
    silent = socket.create_server(("localhost", 0))
    ways: dict[str, Callable[[], Any]] = {
        "none": nullcontext,
        "command": lambda: CommandHook("true", live=True),
        "command in Python": lambda: CommandHook("python3 -c pass", live=True),
        "command that writes errors for ever": lambda: CommandHook("yes >&2", shell=True, live=True),
        "webhook": lambda: Webhook(f"http://localhost:{server.server_port}/", live=True),
        "webhook that never answers": lambda: Webhook(f"http://localhost:{silent.getsockname()[1]}/", live=True),
    }
    before = 0
    quantiles: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    lost: dict[str, Counter[str]] = {name: Counter() for name in ways}
    for counted in [False] + [True] * ROUNDS:
        for name, open_output in ways.items():
            with open_output() as output:
                times = block(classifier, output, numbers)
            if counted:
                quantiles[name].append((statistics.median(times), float(np.quantile(times, 0.99))))
                lost[name].update(output.counts() if output is not None else {})
        before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows: list[Row] = []
    for name, found in quantiles.items():
        ratios = [
            [mine / base for mine, base in zip(one, other, strict=True)]
            for one, other in zip(found, quantiles["none"], strict=True)
        ]
        p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
        r50, r99 = (statistics.median(column) for column in zip(*ratios, strict=True))
        counts = ", ".join(f"{what}: {number}" for what, number in lost[name].items() if number)
        row: Row = {
            "hook": name,
            "p50 (ms)": round(p50, 2),
            "p50, to none": round(r50, 2),
            "p99 (ms)": round(p99, 2),
            "p99, to none": round(r99, 2),
            "skipped or lost": counts or None,
        }
        rows.append(show(row))
    grown = f"memory {(after - before) / 1024:+.1f} MB after the first round"
    record(__file__, rows, notes=f"{next(numbers)} changes in all; {grown}.")


if __name__ == "__main__":
    main()
