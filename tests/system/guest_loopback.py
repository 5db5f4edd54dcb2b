"""Runs in the guest of test_kernel_camera.py, whose /dev/video0 is v4l2loopback. Prints JSON. PLAYER PICTURE"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_classify import CameraError, open_source

PLAYER, PICTURE = sys.argv[1:]
FORMAT = Path("/sys/class/video4linux/video0/format")
seen: dict[str, Any] = {}
warnings: list[str] = []


class Listen(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        warnings.append(record.getMessage())


def play(fourcc: str, width: int, height: int, seconds: int = 300, cut: int = 0) -> subprocess.Popen[bytes]:
    """Start a player and wait until its frames come; every `cut`th JPEG is cut short."""
    words = [fourcc, *map(str, (width, height, 15, seconds, *([cut] if cut else [])))]
    for _ in range(5):
        player = subprocess.Popen([sys.executable, PLAYER, PICTURE, *words])
        # Asked through /sys, because the device refuses a format to its player while somebody else has it open.
        while player.poll() is None:
            time.sleep(0.5)
            if f"{fourcc}:{width}x{height}" in FORMAT.read_text():
                time.sleep(1)
                return player
    raise SystemExit(f"the player does not play {words}: {FORMAT.read_text()}")


def differences(size: tuple[int, int], frames: int) -> tuple[str, list[float]]:
    """How far each of `frames` is from the picture that is played: mean difference of a level."""
    truth = cv2.resize(cv2.imread(PICTURE), size, interpolation=cv2.INTER_LINEAR_EXACT).astype(int)
    with open_source(0) as source:
        taken = [frame.image for frame, _ in zip(source, range(frames), strict=False)]
        return source.description, [float(np.abs(image - truth).mean()) for image in taken]


def main() -> None:
    logging.getLogger("edge_classify").addHandler(Listen())
    for name, fourcc, cut in (("raw", "YUYV", 0), ("jpeg", "MJPG", 0), ("cut", "MJPG", 3)):
        player = play(fourcc, 320, 240, cut=cut)
        seen[name] = differences((320, 240), 15)
        player.kill()
        player.wait()
    seen["warnings"] = list(warnings)

    warnings.clear()
    # v4l2loopback takes no new player while a reader looks for the old one, so it cannot come back here.
    player = play("YUYV", 320, 240)
    with open_source(0, give_up=5) as source:
        frames = iter(source)
        next(frames)
        player.kill()
        player.wait()
        try:
            for _ in frames:
                pass
        except CameraError as error:
            seen["player died"] = {"error": str(error), "warnings": list(warnings)}
    print(json.dumps(seen), flush=True)
    os._exit(0)


if __name__ == "__main__":
    assert Path("/dev/video0").exists()
    main()
