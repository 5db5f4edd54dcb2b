"""Opening a live camera: which module reads it, now and again after each fault."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..errors import CameraError
from ..system.machine import System
from .demo import DemoCamera
from .device import CameraSettings, Device
from .discovery import current_path, list_cameras, rpicam_vid, v4l2_cameras
from .frame import Transform
from .live import LiveCamera
from .network import NetworkCamera, is_address, without_password
from .rpicam import PiCamera
from .source import Source
from .v4l2 import V4l2Camera


def open_camera(text: str, settings: CameraSettings, transform: Transform, give_up: float | None) -> Source:
    """Open the camera that an address means. Returns when its first frame is there; raises CameraError."""
    open_device: Callable[[], Device]
    if text == "demo":
        open_device = DemoCamera
    elif is_address(text):
        open_device = partial(NetworkCamera, text)
    else:
        open_device = _local_camera(text, settings)
    camera = LiveCamera(without_password(text), open_device, transform, give_up)
    return Source(camera.frames(), stream=True, camera=camera)


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
            raise CameraError(
                f"camera {text} not found (present: {present}): connect one, or use `demo`, a simulated one"
            )
        return lambda: V4l2Camera(path, settings)
    known = camera
    fallback = known.path if any_camera else path
    return lambda: V4l2Camera(current_path(system, known, fallback, or_another=any_camera), settings)
