"""Raspberry Pi camera modules: raw frames from the standard output of `rpicam-vid`.

OpenCV does not open these cameras on today's Raspberry Pi OS. `rpicam-vid` (`libcamera-vid` before 2024) comes
with the system and works from any virtual environment.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from ..errors import CameraError
from ..images.preprocessing import Image
from ..system.machine import RPICAM_VID, CameraModule, System

DEFAULT_SIZE, DEFAULT_FPS = (640, 480), 30.0

# `--codec yuv420` writes each frame as the camera's buffer holds it: planes Y, U, V, rows padded to the hardware's
# stride, which is a multiple of 64 bytes up to the Pi 4 (rpicam-apps issues 151 and 188: 4056 became 4096, 780
# became 832) and of 128 on the Pi 5 (picamera2 issue 1182: 704 became 768). Nothing in the stream tells the
# stride, so only widths are asked for that need no padding on either.
_WIDTHS = 128

# libcamera says on standard error what it configured: "configuring streams: (0) 640x480-YUV420/sYCC (1) …".
_CONFIGURED = re.compile(r"configuring streams: \(0\) (\d+)x(\d+)-YUV420(?:/(\S+))?")
_LOG_PREFIX = re.compile(r"^\[[\d:.]+\]\s*\[\d+\]\s*")

_POLL = 0.25
_TERMINATE = 0.4


def program() -> str | None:
    """The path of the program that reads the camera modules, or None."""
    return System().program(*RPICAM_VID)


def list_modules() -> list[CameraModule]:
    """The camera modules; none where they cannot be asked for."""
    try:
        return System().camera_modules() or []
    except OSError:
        return []


def nearest_size(width: int, height: int) -> tuple[int, int]:
    """The smallest size at least as large, of nearly the same shape, whose rows need no padding."""
    wide = -(-width // _WIDTHS) * _WIDTHS
    return wide, max(2, round(height * wide / width / 2) * 2)


class PiCamera:
    """One camera module, read from `rpicam-vid`. `size` (width, height) and `fps` are wishes.

    Raises CameraError if the program is missing or ends before its first frame.
    """

    def __init__(self, module: int, size: tuple[int, int] | None, fps: float | None) -> None:
        found = program()
        if found is None:
            raise CameraError(
                "rpicam-vid is not installed, which reads the Pi's camera modules: sudo apt install rpicam-apps-lite"
            )
        self._size = nearest_size(*(size or DEFAULT_SIZE))
        command = [
            *(found, "--camera", str(module), "--width", str(self._size[0]), "--height", str(self._size[1])),
            *("--framerate", f"{fps or DEFAULT_FPS:g}", "--codec", "yuv420", "--timeout", "0"),
            *("--nopreview", "--flush", "--output", "-"),
        ]
        # Linux ends the child when we are killed; otherwise it would keep the camera until its next write.
        ender = shutil.which("setpriv")
        if ender is not None:
            command = [ender, "--pdeathsig", "KILL", *command]
        self._full_range = True
        self._heard = b""
        self._last_line = ""
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._stdout, self._stderr = self._child.stdout.fileno(), self._child.stderr.fileno()
        os.set_blocking(self._stdout, False)
        os.set_blocking(self._stderr, False)
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)
        self._buffer = bytearray()
        self._filled = 0
        self._began_at = 0.0
        self.description = ""
        self._program = Path(found).name
        self._asked = size
        self._fps = fps or DEFAULT_FPS
        self.patience = max(2.0, 3 / self._fps)

    def read(self) -> tuple[Image, float] | None:
        while ready := dict(self._poll.poll(_POLL * 1e3)):
            # What was configured is said before the first frame is written.
            if self._stderr in ready:
                self._listen()
            if self._stdout in ready:
                if not self._buffer:
                    self._configure()
                count = os.readv(self._stdout, [memoryview(self._buffer)[self._filled :]])
                if count == 0:
                    raise CameraError(self._death())
                if self._filled == 0:
                    self._began_at = time.perf_counter()
                self._filled += count
                if self._filled == len(self._buffer):
                    self._filled = 0
                    planes = np.frombuffer(self._buffer, np.uint8)
                    return _to_bgr(planes, *self._size, full_range=self._full_range), self._began_at
        return None

    def _configure(self) -> None:
        """Take what the program really does, which may differ from what it was asked for."""
        width, height = self._size
        if width % _WIDTHS or height % 2:
            raise CameraError(
                f"{self._program} gives {width}x{height}, whose rows are padded in ways that cannot be known: "
                f"ask for another --size, such as {'x'.join(map(str, DEFAULT_SIZE))}"
            )
        self._buffer = bytearray(width * height * 3 // 2)
        self.description = f"{self._program}: {width}x{height} YUV420, {self._fps:g} frames a second"
        if self._asked is not None and self._asked != self._size:
            self.description += f" (asked for {self._asked[0]}x{self._asked[1]})"

    def _listen(self) -> None:
        """Take in what the program says; its last line is the reason if it then ends."""
        try:
            heard = os.read(self._stderr, 65536)
        except BlockingIOError:
            return
        if not heard:  # it closed it; a poll would report that for ever
            with suppress(KeyError):
                self._poll.unregister(self._stderr)
            return
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            text = _LOG_PREFIX.sub("", line.decode(errors="replace").strip())
            self._last_line = text or self._last_line
            match = _CONFIGURED.search(text)
            if match:
                self._size = int(match[1]), int(match[2])
                # Pictures for JPEG use all 256 levels, those for video 16 to 235.
                self._full_range = (match[3] or "sYCC") in ("sYCC", "JPEG")

    def _death(self) -> str:
        try:
            self._child.wait(_TERMINATE)
        except subprocess.TimeoutExpired:
            self._child.kill()
        self._listen()
        said = self._last_line or self._heard.decode(errors="replace").strip() or f"exit {self._child.returncode}"
        return f"{self._program} ended: {said}"

    def close(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(_TERMINATE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()


def _to_bgr(planes: Image, width: int, height: int, *, full_range: bool) -> Image:
    """Planes Y, U, V (4:2:0) as BGR. full_range: levels 0 to 255, else 16 to 235."""
    if full_range:
        # OpenCV's conversion of 4:2:0 is for 16 to 235; with these levels it is right for 0 to 255 too.
        cv2.LUT(planes[: width * height], _LUMA, planes[: width * height])
        cv2.LUT(planes[width * height :], _CHROMA, planes[width * height :])
    return np.asarray(cv2.cvtColor(planes.reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420), np.uint8)


_LEVELS = np.arange(256)
_LUMA = np.round(16 + _LEVELS * 219 / 255).astype(np.uint8)
_CHROMA = np.round(128 + (_LEVELS - 128) * 224 / 255).astype(np.uint8)
