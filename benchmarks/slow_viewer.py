"""How old a picture of the page is when a viewer behind a slow network has it: at most 1 s and one transfer is wanted.

    python benchmarks/slow_viewer.py [--seconds 600] [--rate 100000]

edge-classify films the demo; a viewer asks for a picture, waits until it has all of it, and asks for the next, as the
page does. Between them is a network that passes on so many bytes a second. The age is from capture until the picture is
there, as the page reckons it. Prints ages, of which parts they are made, and the worst against the bound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import aiohttp
from common import ROOT, Row, machine, record, show

EDGE_CLASSIFY = str(Path(sys.executable).with_name("edge-classify"))
NETWORK = ROOT / "tests" / "edge" / "slow_network.py"


class Seen(NamedTuple):
    """Of one picture, in seconds. old: when it was sent. underway: from there. size: in bytes, with its facts."""

    old: float
    underway: float
    size: int

    @property
    def age(self) -> float:
        return self.old + self.underway


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def look(port: int, seconds: float) -> list[Seen]:
    found = []
    headers = {"Origin": f"http://127.0.0.1:{port}"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{port}/live", headers=headers) as live,
    ):
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            asked = time.perf_counter()
            await live.send_str("next")
            data = await live.receive_bytes(timeout=60)
            took = time.perf_counter() - asked
            (length,) = struct.unpack(">I", data[:4])
            facts = json.loads(data[4 : 4 + length])
            found.append(Seen(facts["age_ms"] / 1e3, took - facts["waited_ms"] / 1e3, len(data)))
    return found


def wait_for_page(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit("the page did not come up") from None
            time.sleep(0.1)
        else:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=int, default=100_000, help="bytes per second")
    options = parser.parse_args()
    print(machine())
    page, slow = free_port(), free_port()
    words = [EDGE_CLASSIFY, "--camera", "demo", "--web", "--web-address", f"127.0.0.1:{page}"]
    network = [sys.executable, str(NETWORK), str(slow), str(page), str(options.rate)]
    with (
        subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as classifying,
        subprocess.Popen(network, stdout=subprocess.PIPE, text=True) as between,
    ):
        try:
            assert between.stdout is not None
            between.stdout.readline()
            wait_for_page(page)
            seen = asyncio.run(look(slow, options.seconds))
        finally:
            classifying.kill()
            between.kill()
    transfers = [one.size / options.rate for one in seen]
    rows: list[Row] = []
    for name, values in (
        ("age", [one.age for one in seen]),
        ("of it, before it was sent", [one.old for one in seen]),
        ("one transfer", transfers),
        ("on the way for longer", [one.underway - own for one, own in zip(seen, transfers, strict=True)]),
    ):
        ordered = sorted(values)
        found = (statistics.median(values), ordered[int(0.99 * (len(ordered) - 1))], ordered[-1])
        seconds = zip(("median (s)", "p99 (s)", "most (s)"), found, strict=True)
        rows.append(show({"part": name, **{column: round(value, 3) for column, value in seconds}}))
    spare = min(1 + own - one.age for one, own in zip(seen, transfers, strict=True))
    within = f"the worst is {spare:.3f} s within 1 s and its transfer"
    record(__file__, rows, notes=f"{len(seen)} pictures in {options.seconds:.0f} s; {within}.")


if __name__ == "__main__":
    main()
