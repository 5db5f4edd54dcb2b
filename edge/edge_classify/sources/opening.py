"""Where frames come from: a camera, a network stream, a video, pictures, or the demo."""

from __future__ import annotations

import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ..errors import CameraError, DataError, UsageError
from ..images.photo import PICTURE_SUFFIXES
from ..system.machine import System
from .demo import DemoCamera
from .device import CameraSettings, Device
from .discovery import current_path, list_cameras, rpicam_vid, v4l2_cameras
from .files import open_file, open_folder
from .frame import UNCHANGED, Transform
from .live import LiveCamera
from .network import NetworkCamera, is_address, without_password
from .rpicam import PiCamera
from .source import Source
from .v4l2 import V4l2Camera

__all__ = ["check_source", "is_stream", "list_cameras", "open_source"]

_Kind = Literal["camera", "network camera", "demo", "video", "picture", "folder"]


def open_source(
    address: int | str | Path = 0,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    transform: Transform = UNCHANGED,
    give_up: float | None = None,
    fast: bool = False,
) -> Source:
    """Open a source of frames. For a camera, returns when its first frame is there.

    address: an index (0 is the USB camera if there is one, else the Raspberry Pi's first camera module; others as
        in /dev/video2), a device ("/dev/video0"), "csi" or "csi:1" (Pi camera modules), an rtsp:// or http://
        address, a video file, a picture, a folder of pictures, or "demo".
    size, fps: requested from a camera: (width, height) in pixels, frames per second. `Source.description` says what it
        really does.
    transform: how to rotate, flip and crop every frame.
    give_up: raise CameraError if a lost camera stays away for so many seconds; None: keep waiting.
    fast: read a video file as fast as possible, not at its own frame rate.

    Raises UsageError, DataError or CameraError.
    """
    settings = check_source(address, size=size, fps=fps, give_up=give_up, fast=fast)
    text = str(address)
    kind = _kind(text)
    if kind == "folder":
        return open_folder(Path(text), transform)
    if kind in ("picture", "video"):
        return open_file(Path(text), transform, fast=fast)
    open_device: Callable[[], Device]
    if kind == "camera":
        open_device = _local_camera(text, settings)
    elif kind == "network camera":
        open_device = lambda: NetworkCamera(text)  # noqa: E731
    else:
        open_device = DemoCamera
    camera = LiveCamera(without_password(text), open_device, transform, give_up)
    return Source(camera.frames(), stream=True, camera=camera)


def is_stream(address: int | str | Path) -> bool:
    """Whether the frames follow one another (camera, stream, demo, video), unlike separate pictures.

    Opens nothing: files are judged by their names. Raises DataError if there is no such file.
    """
    return _kind(str(address)) not in ("picture", "folder")


def check_source(
    address: int | str | Path,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    give_up: float | None = None,
    fast: bool = False,
) -> CameraSettings:
    """Refuse whatever `open_source` would refuse without opening anything. Raises UsageError or DataError."""
    settings = CameraSettings(size, fps)
    if give_up is not None and not give_up > 0:
        raise UsageError(f"give_up is {give_up:g}: it must be above 0 seconds")
    kind = _kind(str(address))
    name = without_password(str(address))
    if settings != CameraSettings() and kind != "camera":
        raise UsageError(f"size and fps only apply to USB cameras and Pi camera modules, not to {name}")
    if fast and kind != "video":
        raise UsageError(f"fast only applies to video files, not to {name}")
    return settings


def _kind(text: str) -> _Kind:
    """What an address means, from its text and the file's type. Raises DataError if there is no such file."""
    if re.fullmatch(r"\d+|csi(:\d+)?|/dev/.*", text):
        return "camera"
    if text == "demo":
        return "demo"
    if is_address(text):
        return "network camera"
    path = Path(text)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"{text}: no such file, folder or camera") from None
    except OSError as error:
        raise DataError(f"{text}: {error.strerror}") from error
    if stat.S_ISCHR(mode):
        return "camera"
    if stat.S_ISDIR(mode):
        return "folder"
    return "picture" if path.suffix.lower() in PICTURE_SUFFIXES else "video"


def _local_camera(text: str, settings: CameraSettings) -> Callable[[], Device]:
    """How to open, now and after each fault, the camera that `text` means on this machine."""
    if text.startswith("csi"):
        module = int(text.removeprefix("csi").removeprefix(":") or 0)
        return lambda: PiCamera(module, settings)
    path = Path(f"/dev/video{text}" if text.isdecimal() else text)
    if sys.platform != "linux":
        return lambda: V4l2Camera(path, settings)
    system = System()
    cameras = v4l2_cameras(system)
    camera = next((camera for camera in cameras if camera.path == path.resolve()), None)
    any_camera = text == "0"
    if camera is None and any_camera:
        if not cameras and rpicam_vid(system) is not None:
            return lambda: PiCamera(0, settings)
        camera = cameras[0] if cameras else None
    if camera is None:
        if text.isdecimal() or not path.exists():
            present = ", ".join(address for address, _ in list_cameras(system)) or "none"
            raise CameraError(f"camera {text} not found (present: {present}): connect one, or try --camera demo")
        return lambda: V4l2Camera(path, settings)
    known = camera
    fallback = known.path if any_camera else path
    return lambda: V4l2Camera(current_path(system, known, fallback, or_another=any_camera), settings)
