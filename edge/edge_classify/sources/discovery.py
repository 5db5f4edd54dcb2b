"""Which cameras this machine has, and where they are now.

Everything is read through a `System`, so that a test can play any machine with a folder. Imports no OpenCV:
edge-doctor looks for cameras even where OpenCV is broken.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from ..system.machine import System

# Video devices of a Raspberry Pi that are pipeline stages (raw sensor data, scaler, codec), not cameras to open.
_PIPELINE_STAGES = ("unicam", "bcm2835-", "bcm2708-", "rp1-", "pispbe", "rpivid", "rpi-")

# What reads a Pi's camera modules; the second is the name until 2024.
_RPICAM_VID = ("rpicam-vid", "libcamera-vid")
_LIST_CAMERAS_TIMEOUT_S = 10.0

# From Linux's videodev2.h: VIDIOC_QUERYCAP, the size of its struct, and where in it `device_caps` is.
_QUERYCAP = 0x80685600
_QUERYCAP_BYTES = 104
_DEVICE_CAPABILITIES = slice(88, 92)
# V4L2_CAP_VIDEO_CAPTURE and V4L2_CAP_VIDEO_CAPTURE_MPLANE.
_CAPTURES = 0x1 | 0x1000


class VideoDevice(NamedTuple):
    """One of /dev/video*.

    captures: it gives images that OpenCV can read; false for codecs, scalers and metadata.
    port: where it is plugged in; unchanged if it comes back under another path.
    """

    path: Path
    name: str
    captures: bool
    port: str


class CameraModule(NamedTuple):
    """One of a Pi's camera modules. sensor: "imx708 [4608x2592 10-bit RGGB]"."""

    number: int
    sensor: str


def list_cameras(system: System | None = None) -> list[tuple[str, str]]:
    """The cameras of this machine: (address for `open_source`, name of the camera)."""
    system = system or System()
    try:
        modules = camera_modules(system) or []
    except OSError:
        modules = []
    cameras = [(str(device.path), device.name) for device in v4l2_cameras(system)]
    return cameras + [(f"csi:{number}", sensor) for number, sensor in modules]


def v4l2_cameras(system: System) -> list[VideoDevice]:
    """USB and other V4L2 cameras, without metadata devices and a Pi's internal ones."""
    return [device for device in video_devices(system) if device.captures]


def video_devices(system: System) -> list[VideoDevice]:
    """All of /dev/video*, by number."""
    return [_video_device(system, path) for path in system.files("dev/video[0-9]*")]


def camera_modules(system: System) -> list[CameraModule] | None:
    """A Pi's camera modules, as rpicam-vid lists them; None if it is not installed. Raises OSError."""
    program = rpicam_vid(system)
    if program is None:
        return None
    listing = system.run(program, "--list-cameras", seconds=_LIST_CAMERAS_TIMEOUT_S)
    found = re.findall(r"^\s*(\d+) : (\S+(?: \[[^\]]*\])?)", listing, re.MULTILINE)
    return [CameraModule(int(number), sensor) for number, sensor in found]


def rpicam_vid(system: System) -> str | None:
    """The path of the program that reads the Pi's camera modules, or None."""
    return system.program(*_RPICAM_VID)


def current_path(system: System, device: VideoDevice, fallback: Path, *, or_another: bool) -> Path:
    """Where a camera is now: one that was unplugged may come back under another number.

    fallback: the path if it is not found. or_another: take the first camera there is if nothing is on its port.
    """
    present = v4l2_cameras(system)
    found = [other for other in present if other.port == device.port] or (present if or_another else [])
    return found[0].path if found else fallback


def camera_holders(system: System) -> dict[str, set[str]]:
    """Other programs that have camera devices open: {"/dev/video0": {"motion (812)"}}.

    Only root sees the programs of other users.
    """
    holders: dict[str, set[str]] = {}
    for process, target in system.open_files():
        if re.fullmatch(r"/dev/(video|media)\d+", target) and process != os.getpid():
            name = system.read(f"proc/{process}/comm") or "?"
            holders.setdefault(target, set()).add(f"{name} ({process})")
    return holders


def _video_device(system: System, path: Path) -> VideoDevice:
    sysfs = f"sys/class/video4linux/{path.name}"
    name = system.read(f"{sysfs}/name") or ""
    capabilities = _capabilities(path)
    if capabilities is not None:
        captures = bool(capabilities & _CAPTURES)
    else:  # no permission to ask it; a webcam's first device is the camera, the others are its metadata
        captures = system.read(f"{sysfs}/index") in ("0", None)
    port = str((system.root / sysfs / "device").resolve())
    return VideoDevice(path, name, captures and not name.startswith(_PIPELINE_STAGES), port)


def _capabilities(path: Path) -> int | None:
    """The device's V4L2 capability bits; None if it is no V4L2 device, or may not be opened."""
    import fcntl  # Unix only, unlike the rest of what is imported to classify files

    try:
        # Opening does not disturb a program that streams from it.
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        answer = fcntl.ioctl(descriptor, _QUERYCAP, bytes(_QUERYCAP_BYTES))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return int.from_bytes(answer[_DEVICE_CAPABILITIES], sys.byteorder)
