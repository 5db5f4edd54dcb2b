"""Runs in the guest of test_kernel_camera.py, whose /dev/video0 is v4l2loopback. Prints JSON. PLAYER PICTURE"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_classify import list_cameras, open_camera

PLAYER, PICTURE = sys.argv[1:]
seen: dict[str, Any] = {}
said: list[str] = []


class Listen(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        said.append(record.getMessage())


def play(fourcc: str, width: int, height: int, *more: int) -> subprocess.Popen[bytes]:
    words = (fourcc, width, height, 15, *(more or (300,)))
    return subprocess.Popen([sys.executable, PLAYER, PICTURE, *map(str, words)])


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.2)


def differences(size: tuple[int, int], frames: int) -> tuple[str, list[float]]:
    """How far each of `frames` is from the picture that is played: mean difference of a level."""
    truth = cv2.resize(cv2.imread(PICTURE), size, interpolation=cv2.INTER_LINEAR_EXACT).astype(int)
    with open_camera(0) as source:
        taken = [frame.image for frame, _ in zip(source, range(frames), strict=False)]
        return source.description, [float(np.abs(image - truth).mean()) for image in taken]


def main() -> None:
    logging.getLogger("edge_classify").addHandler(Listen())
    for name, fourcc, more in (("raw", "YUYV", ()), ("jpeg", "MJPG", ()), ("cut", "MJPG", (300, 3))):
        player = play(fourcc, 320, 240, *more)
        wait(lambda: bool(list_cameras()))
        seen[name] = differences((320, 240), 15)
        player.kill()
        player.wait()
    seen["said"] = list(said)

    said.clear()
    player = play("YUYV", 320, 240)
    wait(lambda: bool(list_cameras()))
    with open_camera(0) as source:
        frames = iter(source)
        next(frames)
        player.kill()
        player.wait()
        died = time.perf_counter()
        player = play("YUYV", 640, 480)
        shape = (240, 320, 3)
        while shape == (240, 320, 3) and time.perf_counter() - died < 40:
            shape = next(frames).image.shape
        seen["player died"] = {"shape": shape, "seconds": time.perf_counter() - died, "said": list(said)}
    player.kill()
    print(json.dumps(seen), flush=True)
    os._exit(0)


if __name__ == "__main__":
    assert Path("/dev/video0").exists()
    main()
