"""What the page costs the loop, and what collecting does: nobody looking, one viewer, eight, photos, against none.

    python benchmarks/page.py [--turns N] [--frames N]

Each run is a new process that classifies the demo, in turn. A viewer takes ten pictures a second, and does it on the
same cores, which a browser elsewhere would not. Prints the medians of p50, p90 and p99 of the total latency, of the
time to the first result and of the memory at the end, and the median of each turn's ratio and difference to the run
without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import aiohttp
from common import Row, machine, record, show

EDGE_CLASSIFY = str(Path(sys.executable).with_name("edge-classify"))
INTERVAL_S = 0.1


async def look(port: int, viewers: int, ended: threading.Event) -> None:
    async def view(session: aiohttp.ClientSession) -> None:
        headers = {"Origin": f"http://127.0.0.1:{port}"}
        while not ended.is_set():
            try:
                async with session.ws_connect(f"http://127.0.0.1:{port}/live", headers=headers) as live:
                    while not ended.is_set():
                        await live.send_str("next")
                        await live.receive_bytes(timeout=5)
                        await asyncio.sleep(INTERVAL_S)
            except (aiohttp.ClientError, TypeError, TimeoutError):
                await asyncio.sleep(INTERVAL_S)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(view(session) for _ in range(viewers)))


def run(frames: int, viewers: int | None, folder: Path | None) -> list[float]:
    """p50, p90 and p99 of the total latency, milliseconds to the first result, and megabytes at the end."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    words = [EDGE_CLASSIFY, "--camera", "demo", "--json", "--count", str(frames)]
    words += [] if viewers is None else ["--web", "--web-address", f"127.0.0.1:{port}"]
    words += [] if folder is None else ["--collect", str(folder), "--collect-free-mb", "0"]
    ended = threading.Event()
    looking = threading.Thread(target=lambda: asyncio.run(look(port, viewers or 0, ended)))
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    first = (time.perf_counter() - began) * 1e3
    looking.start()
    memory = 0.0
    for line in process.stdout:
        lines.append(line)
        if len(lines) == frames - 1:
            memory = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096 / 2**20
    ended.set()
    looking.join()
    if process.wait():
        raise SystemExit(f"failed: {' '.join(words)}")
    totals = sorted(json.loads(line)["timing_ms"]["total"] for line in lines)
    return [totals[int(part * (len(totals) - 1))] for part in (0.5, 0.9, 0.99)] + [first, memory]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--frames", type=int, default=450)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folders = (Path(name, str(number)) for number in range(options.turns))
        turns = [
            {
                "without": run(options.frames, None, None),
                "nobody looks": run(options.frames, 0, None),
                "one viewer": run(options.frames, 1, None),
                "eight viewers": run(options.frames, 8, None),
                "collecting": run(options.frames, None, folder),
            }
            for folder in folders
        ]
    rows: list[Row] = []
    for case in turns[0]:
        p50, p90, p99, first, memory = (statistics.median(turn[case][place] for turn in turns) for place in range(5))
        ratios = [statistics.median(turn[case][place] / turn["without"][place] for turn in turns) for place in range(3)]
        later, more = (
            statistics.median(turn[case][place] - turn["without"][place] for turn in turns) for place in (3, 4)
        )
        row: Row = {"case": case}
        for name, value, times in zip(("p50", "p90", "p99"), (p50, p90, p99), ratios, strict=True):
            row |= {f"{name} (ms)": round(value, 2), f"{name}, to without": round(times, 2)}
        row |= {"first result (ms)": round(first), "later by (ms)": round(later)}
        rows.append(show({**row, "memory (MB)": round(memory), "more by (MB)": round(more)}))
    record(__file__, rows)


if __name__ == "__main__":
    main()
