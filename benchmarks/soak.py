"""A soak: 200,000 frames of the demo with faults of the camera and of the outputs, in some minutes.

    python benchmarks/soak.py [--frames N]

The camera raises, gives nothing, broken pictures, and pictures of another size. Results go to a pipe whose reader
stalls, to a full disk, to a pipe whose reader goes away half way, and to a file of events. Exits with 1 if resident
memory grows by more than 2 MB after the first thousand frames, if a thread or a file descriptor is left over, or if
the p99 of the total latency in the last tenth of the frames is more than 1.5 times that of the first.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from common import Row, machine, record

from edge_classify import CameraError, Classifier, Frame
from edge_classify.outputs.console import Console
from edge_classify.outputs.events import Events
from edge_classify.outputs.json_lines import JsonLines
from edge_classify.outputs.queue import BoundedQueue
from edge_classify.outputs.writer import Writer
from edge_classify.pipeline.decision import Decision
from edge_classify.pipeline.latency import Latency
from edge_classify.pipeline.loop import classify_frames
from edge_classify.pipeline.pacing import Pace
from edge_classify.pipeline.stillness import Stillness
from edge_classify.sources import demo
from edge_classify.sources.live import LiveCamera
from edge_classify.system.memory import use_one_heap

SETTLED = 1000
MOST_GROWTH_MB, MOST_SLOWER = 2.0, 1.5
RING = 64


class FaultyCamera:
    """A device that gives drawn frames as fast as they are taken, and now and then a fault.

    taken: released once for each frame that is wanted.
    faults: how often each kind came.
    """

    description = "drawn, with faults"
    patience = 2.0

    def __init__(self, seed: int) -> None:
        self.taken = threading.Semaphore(1)
        self.faults = dict.fromkeys(("raised", "gave nothing", "broken pictures", "other sizes"), 0)
        # Drawing costs more than classifying: a ring of frames, 1.5 s of the demo apart from sheet to sheet.
        self._ring = [demo.draw(number * 19).image for number in range(RING)]
        self._rng = np.random.default_rng(seed)
        self._number = 0
        self._other_size = 0

    def close(self) -> None:
        pass

    def read(self) -> tuple[np.ndarray, float] | None:
        self.taken.acquire(timeout=1)
        self._number += 1
        # Each for some frames, as things stay in a picture; a camera's frame is a new one, too.
        image = self._ring[self._number // 12 % RING].copy()
        chance = self._rng.random()
        if chance < 1e-4:  # rare, for it is then waited for, up to 5 s
            self.faults["raised"] += 1
            self.taken.release()
            raise CameraError("the soak pulled the plug")
        if chance < 2e-3:
            self.faults["gave nothing"] += 1
            self.taken.release()
            return None
        if chance < 4e-3:
            self.faults["broken pictures"] += 1
            image[int(self._rng.integers(480)) :] = self._rng.integers(0, 256, dtype=np.uint8)
        elif chance < 5e-3:
            self.faults["other sizes"] += 1
            self._other_size = 50
        if self._other_size:
            self._other_size -= 1
            image = np.asarray(cv2.resize(image, (320, 200)), np.uint8)
        return image, time.perf_counter()


def faulty_frames(camera: FaultyCamera, count: int) -> Iterator[Frame]:
    """So many frames, through the newest-frame slot, which opens the camera again after each fault."""
    live = LiveCamera("soak", lambda: camera)
    try:
        for frame in islice(live.frames(), count):
            yield frame
            camera.taken.release()
    finally:
        live.close()


class StallingReader(threading.Thread):
    """Reads a pipe, stops now and then for up to three seconds, and goes away after so many bytes."""

    def __init__(self, descriptor: int, seed: int, most: float = float("inf")) -> None:
        super().__init__(daemon=True)
        self._descriptor, self._most = descriptor, most
        self._rng = np.random.default_rng(seed)

    def run(self) -> None:
        read = 0
        while read < self._most and (data := os.read(self._descriptor, 65536)):
            read += len(data)
            if self._rng.random() < 0.05:
                time.sleep(3 * self._rng.random())
        os.close(self._descriptor)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def queue_for(descriptor: int, name: str) -> BoundedQueue[str]:
    writer = Writer(descriptor)
    return BoundedQueue(writer.write, name, live=True, is_ready=writer.is_ready)


def held() -> tuple[int, int]:
    """(threads, file descriptors) of this process."""
    return len(list(Path("/proc/self/task").iterdir())), len(list(Path("/proc/self/fd").iterdir()))


def soak(count: int, folder: Path) -> tuple[np.ndarray, Latency, float, tuple[int, int], tuple[int, int]]:
    """(total latency of each frame in ms, of all stages, growth of resident memory in MB, held after settling and at
    the end)."""
    classifier, latency, camera = Classifier(), Latency(), FaultyCamera(seed=1)
    totals = np.full(count, np.nan, np.float32)
    settled_mb, settled = 0.0, (0, 0)
    still = 0
    with ExitStack() as stack:

        def piped(name: str, seed: int, most: float = float("inf")) -> BoundedQueue[str]:
            reading, writing = os.pipe()
            StallingReader(reading, seed, most).start()
            stack.callback(os.close, writing)
            return stack.enter_context(queue_for(writing, name))

        full = stack.enter_context(Path("/dev/full").open("wb", buffering=0))
        file = stack.enter_context((folder / "events").open("wb", buffering=0))
        queues = {
            "a stalling reader": piped("a stalling reader", 2),
            "a full disk": stack.enter_context(queue_for(full.fileno(), "a full disk")),
            "a reader that goes": piped("a reader that goes", 3, most=100_000),
            "a file of events": stack.enter_context(queue_for(file.fileno(), "a file of events")),
        }
        stalling, on_full_disk, leaving, events = queues.values()
        outputs: list[JsonLines | Console | Events] = [
            JsonLines(stalling),
            JsonLines(on_full_disk),
            Console(leaving, stream=False, terminal=False),
            Events(events),
        ]
        frames = Pace(None, lambda: False, poll=0.2).frames(faulty_frames(camera, count))
        results = classify_frames(frames, classifier, Decision(classifier.labels), Stillness())
        began = time.perf_counter()
        for number, result in enumerate(results):
            latency.append(result.timing_ms, result.finished_at)
            for output in outputs:
                output.append(result)
            totals[number] = result.timing_ms.total
            still += result.still
            if number == SETTLED:
                settled_mb, settled = resident_mb(), held()
        growth = resident_mb() - settled_mb
        print(f"{count} frames in {time.perf_counter() - began:.0f} s; {still} of them still, not classified")
        print(", ".join(f"{name} {times}" for name, times in camera.faults.items()))
        print(latency.table())
        # Threads of a camera that was just left take a moment to end.
        time.sleep(1.5)
        ended = held()
    print("lines dropped: " + ", ".join(f"{name} {queue.dropped}" for name, queue in queues.items()))
    return totals, latency, growth, settled, ended


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=200_000)
    count = parser.parse_args().frames
    use_one_heap()
    logging.disable(logging.WARNING)  # of the full disk, once a minute
    print(machine())
    before = held()
    with tempfile.TemporaryDirectory() as folder:
        totals, latency, growth, settled, ended = soak(count, Path(folder))
    until = time.perf_counter() + 30  # for the stalling readers, which read what is left
    while (after := held())[1] > before[1] and time.perf_counter() < until:
        time.sleep(0.5)
    tenth = count // 10
    first, last = (float(np.percentile(part, 99)) for part in (totals[:tenth], totals[-tenth:]))
    checks = {
        f"resident memory grew by {growth:.2f} MB after the first {SETTLED} frames": growth <= MOST_GROWTH_MB,
        f"threads, file descriptors: {settled} after the first {SETTLED} frames, {ended} at the end": all(
            end <= start for end, start in zip(ended, settled, strict=True)
        ),
        f"before the outputs were opened {before}, after they were closed {after}": after[1] <= before[1],
        f"p99 of total: {first:.2f} ms in the first tenth, {last:.2f} ms in the last": last <= MOST_SLOWER * first,
    }
    for line, passed in checks.items():
        print(f"{'passed' if passed else 'FAILED'}: {line}")
    rows: list[Row] = [
        {"latency (ms)": stage, **{name: round(value, 2) for name, value in times.items()}}
        for stage, times in latency.percentiles().items()
    ]
    record(__file__, rows, notes=f"{count} frames. " + ". ".join(checks) + ".")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
