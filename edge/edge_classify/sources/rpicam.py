"""Raspberry Pi camera modules: raw frames from the standard output of `rpicam-vid`.

OpenCV cannot open these cameras on today's Raspberry Pi OS. `rpicam-vid` (`libcamera-vid` before 2024) comes with the
system and works from any virtual environment.
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
from ..system.machine import System
from .device import DEFAULT_FPS, DEFAULT_SIZE, CameraSettings, patience_for
from .discovery import rpicam_vid

# `--codec yuv420` writes each frame as the camera's buffer holds it: planes Y, U, V, rows padded to the hardware's
# stride, which is a multiple of 64 bytes up to the Pi 4 (rpicam-apps issues 151 and 188: 4056 became 4096, 780
# became 832) and of 128 on the Pi 5 (picamera2 issue 1182: 704 became 768). The stream does not contain the stride, so
# only widths are requested that need no padding on either.
_WIDTH_MULTIPLE = 128

# libcamera logs what it configured: "configuring streams: (0) 640x480-YUV420/sYCC (1) …".
_CONFIGURED = re.compile(r"configuring streams: \(0\) (\d+)x(\d+)-YUV420(?:/(\S+))?")
_LOG_PREFIX = re.compile(r"^\[[\d:.]+\]\s*\[\d+\]\s*")
# Colour spaces for JPEG use all 256 levels, those for video 16 to 235.
_FULL_RANGE_SPACES = ("sYCC", "JPEG")

_POLL_TIMEOUT_S = 0.25
_EXIT_TIMEOUT_S = 0.4

# From full range to 16 to 235 (luma) and 16 to 240 (chroma).
_LEVELS = np.arange(256)
_LUMA = np.round(16 + _LEVELS * 219 / 255).astype(np.uint8)
_CHROMA = np.round(128 + (_LEVELS - 128) * 224 / 255).astype(np.uint8)


def nearest_size(width: int, height: int) -> tuple[int, int]:
    """The smallest size at least as large, of nearly the same shape, whose rows need no padding."""
    wide = -(-width // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE
    return wide, max(2, round(height * wide / width / 2) * 2)


class PiCamera:
    """One camera module, read from `rpicam-vid`.

    Raises CameraError if the program is missing or exits before its first frame.
    """

    def __init__(self, module: int, settings: CameraSettings) -> None:
        program = rpicam_vid(System())
        if program is None:
            raise CameraError(
                "rpicam-vid, which reads the Pi's camera modules, is not installed: sudo apt install rpicam-apps-lite"
            )
        self._program = Path(program).name
        self._settings = settings
        self._size = nearest_size(*(settings.size or DEFAULT_SIZE))
        self._fps = settings.fps or DEFAULT_FPS
        self.description = ""
        self.patience = patience_for(self._fps)
        self._child = subprocess.Popen(
            _command(program, module, self._size, self._fps),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._stdout, self._stderr = self._child.stdout.fileno(), self._child.stderr.fileno()
        self._poll = select.poll()
        for descriptor in (self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        self._full_range = True
        self._partial_line = b""
        self._last_line = ""
        self._buffer = bytearray()
        self._filled = 0
        self._captured_at = 0.0

    def read(self) -> tuple[Image, float] | None:
        while ready := dict(self._poll.poll(_POLL_TIMEOUT_S * 1e3)):
            # What was configured is logged before the first frame is written.
            if self._stderr in ready:
                self._read_log()
            if self._stdout in ready and self._read_pixels():
                planes = np.frombuffer(self._buffer, np.uint8)
                return _to_bgr(planes, *self._size, full_range=self._full_range), self._captured_at
        return None

    def _read_pixels(self) -> bool:
        """Read what there is of the frame; returns whether the frame is complete."""
        if not self._buffer:
            self._configure()
        count = os.readv(self._stdout, [memoryview(self._buffer)[self._filled :]])
        if count == 0:
            raise CameraError(self._exit_reason())
        if self._filled == 0:
            self._captured_at = time.perf_counter()
        self._filled = (self._filled + count) % len(self._buffer)
        return self._filled == 0

    def _configure(self) -> None:
        """Adopt the size that the program really uses, which may differ from the requested one."""
        width, height = self._size
        if width % _WIDTH_MULTIPLE or height % 2:
            raise CameraError(
                f"{self._program} uses {width}x{height}, a size with unknown row padding: "
                f"choose another size, such as {DEFAULT_SIZE[0]}x{DEFAULT_SIZE[1]}"
            )
        self._buffer = bytearray(width * height * 3 // 2)
        self.description = self._settings.describe(self._program, self._size, "YUV420", self._fps)

    def _read_log(self) -> None:
        """Read what the program logs; its last line is the reason if it then exits."""
        try:
            output = os.read(self._stderr, 65536)
        except BlockingIOError:
            return
        if not output:  # it closed it, which a poll would report for ever
            with suppress(KeyError):
                self._poll.unregister(self._stderr)
            return
        *lines, self._partial_line = (self._partial_line + output).split(b"\n")
        for line in lines:
            text = _LOG_PREFIX.sub("", line.decode(errors="replace").strip())
            self._last_line = text or self._last_line
            match = _CONFIGURED.search(text)
            if match:
                self._size = int(match[1]), int(match[2])
                self._full_range = match[3] is None or match[3] in _FULL_RANGE_SPACES

    def _exit_reason(self) -> str:
        try:
            self._child.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._read_log()
        last_words = self._last_line or self._partial_line.decode(errors="replace").strip()
        return f"{self._program} exited: {last_words or f'exit code {self._child.returncode}'}"

    def close(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()


def _command(program: str, module: int, size: tuple[int, int], fps: float) -> list[str]:
    options = {
        "--camera": module,
        "--width": size[0],
        "--height": size[1],
        "--framerate": f"{fps:g}",
        "--codec": "yuv420",
        "--timeout": 0,
        "--output": "-",
    }
    command = [program, "--nopreview", "--flush"]
    for option, value in options.items():
        command += [option, str(value)]
    # Linux kills the child when we are killed; otherwise it would hold the camera until its next write.
    setpriv = shutil.which("setpriv")
    return command if setpriv is None else [setpriv, "--pdeathsig", "KILL", *command]


def _to_bgr(planes: Image, width: int, height: int, *, full_range: bool) -> Image:
    """Planes Y, U, V (4:2:0) as BGR, shape (height, width, 3); `planes` is overwritten.

    full_range: levels 0 to 255, else 16 to 235.
    """
    if full_range:
        # OpenCV's conversion of 4:2:0 is for 16 to 235; from these levels it is right for 0 to 255 too.
        cv2.LUT(planes[: width * height], _LUMA, planes[: width * height])
        cv2.LUT(planes[width * height :], _CHROMA, planes[width * height :])
    return np.asarray(cv2.cvtColor(planes.reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420), np.uint8)
