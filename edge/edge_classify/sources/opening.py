"""Where frames come from: a camera, a network stream, a video, pictures, or the demo."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import DataError, UsageError
from ..recognize import why_no_source
from ..system.nearest import or_nearest_path
from .device import CameraSettings
from .files import is_picture, open_file, open_folder, open_video
from .frame import UNCHANGED, Transform
from .network import is_address, is_http, open_network_video, why_no_address, without_password

if TYPE_CHECKING:
    from .source import Source

SourceKind = Literal["camera", "network", "network video", "demo", "video", "picture", "folder"]

# Of addresses that give a file with an end, not a camera.
_VIDEO_ADDRESS = re.compile(
    r"\.(mp4|m4v|mov|mkv|webm|avi|mpg|mpeg|ts|m2ts|mts|wmv|flv|3gp|ogv|m3u8)([?#].*)?$", re.IGNORECASE
)


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
    settings = CameraSettings(size, fps)
    text = str(address)
    kind = _checked_kind(text, settings, give_up, fast)
    if kind == "folder":
        return open_folder(Path(text), transform)
    if kind in ("picture", "video"):
        return open_file(Path(text), transform, fast=fast)
    if kind == "network video" and (capture := open_network_video(text)) is not None:
        return open_video(without_password(text), capture, transform, fast=fast)

    from .cameras import open_camera  # which files do without, and start sooner

    return open_camera(text, settings, transform, give_up)


def is_stream(address: int | str | Path) -> bool:
    """Whether the frames follow one another (camera, stream, demo, video), unlike separate pictures.

    Files are judged by how they begin, and not decoded. Raises DataError if there is no such file.
    """
    return source_kind(str(address)) not in ("picture", "folder")


def check_source(
    address: int | str | Path,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    give_up: float | None = None,
    fast: bool = False,
) -> None:
    """Refuse what `open_source` can refuse before it opens anything. Raises UsageError or DataError."""
    _checked_kind(str(address), CameraSettings(size, fps), give_up, fast)


def _checked_kind(text: str, settings: CameraSettings, give_up: float | None, fast: bool) -> SourceKind:
    if give_up is not None and not give_up > 0:
        raise UsageError(f"give_up is {give_up:g}: it must be above 0 seconds")
    kind = source_kind(text)
    if kind in ("video", "picture", "folder") and (why := why_no_source(Path(text))):
        raise UsageError(why)
    name = without_password(text)
    if settings != CameraSettings() and kind != "camera":
        raise UsageError(f"size and fps only apply to USB cameras and Pi camera modules, not to {name}")
    if fast and kind not in ("video", "network video"):
        raise UsageError(f"fast only applies to video files, not to {name}")
    return kind


def source_kind(text: str) -> SourceKind:
    """What an address means, from its text and the file's type. Raises DataError if there is no such file."""
    if text in ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
        raise UsageError(f"{text}: standard input cannot be read: give the name of a file, a folder or a camera")
    if re.fullmatch(r"\d+|csi(:\d+)?|/dev/.*", text):
        return "camera"
    if text == "demo":
        return "demo"
    if is_address(text):
        return "network video" if is_http(text) and _VIDEO_ADDRESS.search(text) else "network"
    path = Path(text)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if why := why_no_address(text):
            raise UsageError(why) from None
        raise DataError(f"{text}: no such file, folder or camera{or_nearest_path(path)}") from None
    except OSError as error:
        raise DataError(f"{text}: {error.strerror}") from error
    if stat.S_ISCHR(mode):
        return "camera"
    if stat.S_ISDIR(mode):
        return "folder"
    return "picture" if is_picture(path) else "video"
