"""Network cameras: RTSP and HTTP streams, read by OpenCV's FFmpeg."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import cv2
import numpy as np

from ..errors import CameraError
from ..images.preprocessing import Image
from .device import UndecodableFrameError, pixel_format

TIMEOUT_S = 5.0

# A frame that cannot be decoded and the end are the same to OpenCV, but behind the end all reads fail at once.
_AT_ONCE_S = 0.002
_MAX_FAILURES_AT_ONCE = 100
# Between the pictures of an address that gives one per request, unless it is slower.
_SNAPSHOT_INTERVAL_S = 0.1

_ADDRESS = re.compile(r"(rtsps?|https?)://", re.IGNORECASE)
# One slash is a typing error; a letter alone is a Windows drive.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)
# name=value in an address, up to where the next one may begin: some recorders separate them by _.
_VALUE = re.compile(r"([/?&;#_]|^)([\w.\-\[\]%]+?)=(.*?)(?=[&;#]|[/?_][\w.\-\[\]%]+=|$)", re.DOTALL)
_HARMLESS_NAMES = re.compile(
    "action|camera|channel|ch|chn|cmd|codec|fps|height|id|mode|profile|quality|rate|res|resolution|size|stream|streamtype|"
    "subtype|transport|type|unicast|width",
    re.IGNORECASE,
)
# A part of an address by itself, between its separators.
_WORD = re.compile(r"(?<=[/?&;#])[^/?&;#=]+(?=[/?&;#]|$)")
# A name and a password, or a time.
_PAIR = re.compile(r"(?!.*\d\d:\d\d)[^:]+:.+")
_HEX_TOKEN = re.compile(r"[0-9a-f-]{16,}", re.IGNORECASE)
_MIN_TOKEN = 12
# Of videos that begin without saying how long they are; their server may.
_NO_LENGTH_INSIDE = re.compile(r"\.(ts|m2ts|mts|mpg|mpeg)([?#].*)?$", re.IGNORECASE)


def is_address(text: str) -> bool:
    return _ADDRESS.match(text) is not None


def is_http(text: str) -> bool:
    return text[:4].lower() == "http"


def why_no_address(text: str) -> str | None:
    """For an error about what looks like an address of a kind that cannot be read; None if it does not."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        return None
    name = without_password(text)
    if scheme[1].lower() == "file":
        return f"{name}: give the path of the file without file://"
    if _ADDRESS.match(f"{scheme[1]}://"):
        return f"{name}: expected {scheme[1].lower()}:// with two slashes"
    return f"{name}: {scheme[1]}:// cannot be read: expected an rtsp:// or http:// address, or the path of a file"


def without_password(address: str) -> str:
    """The address as it may be shown, in results and logs.

    Cameras take secrets before an @, and as name=value anywhere behind; the values of all names but a few are masked.
    A password may hold an @ or a slash of its own, so all up to the last @ is masked. Of other parts behind the host
    those that look random are, and name:password. A password that is a word in the path cannot be told from the path.
    """
    scheme = _SCHEME.match(address)
    if scheme is None:
        return address
    start, rest = scheme[0], address[scheme.end() :]
    login, at, rest = rest.rpartition("@")
    return f"{start}{'***@' if at or login else ''}{_WORD.sub(_mask_word, _VALUE.sub(_mask_value, rest))}"


def _mask_value(found: re.Match[str]) -> str:
    return found[0] if _HARMLESS_NAMES.fullmatch(found[2]) else f"{found[1]}{found[2]}=***"


def _mask_word(found: re.Match[str]) -> str:
    stem, dot, suffix = found[0].partition(".")
    return f"***{dot}{suffix}" if _PAIR.fullmatch(found[0]) or _looks_random(stem) else found[0]


def _looks_random(word: str) -> bool:
    """Whether a word is a token: long hexadecimal digits, or letters and digits that change every few characters."""
    if _HEX_TOKEN.fullmatch(word) and any(map(str.isdigit, word)):
        return True
    kinds = ["digit" if char.isdigit() else "upper" if char.isupper() else "lower" for char in word if char.isalnum()]
    changes = sum(kind != following for kind, following in pairwise(kinds))
    return len(kinds) >= _MIN_TOKEN and 3 * changes >= len(kinds)


class NetworkCamera:
    """One open stream. Raises CameraError if it cannot be opened within `timeout` seconds.

    timeout: also how long a read waits for data.
    """

    def __init__(self, address: str, timeout: float = TIMEOUT_S) -> None:
        self.patience = timeout
        self._address = address
        self._opened_at = time.perf_counter()
        self._capture = open_stream(address, timeout)
        self._frames = 0
        # Reads that failed since the last frame, and the frame that proved them broken frames.
        self._failures = 0
        self._decoded: tuple[Image, float] | None = None
        width, height = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.description = f"{width}x{height} {pixel_format(self._capture)}"

    def read(self) -> tuple[Image, float] | None:
        if self._decoded is None:
            self._decoded = self._read_next()
            if self._decoded is None:
                return None
            self._frames += 1
            failures, self._failures = self._failures, 0
            if failures:
                raise UndecodableFrameError(failures)
        decoded, self._decoded = self._decoded, None
        return decoded

    def _read_next(self) -> tuple[Image, float] | None:
        """None after a read that failed, which was a broken frame if another follows, else the end of the stream."""
        at_once = 0
        while at_once < _MAX_FAILURES_AT_ONCE:
            began = time.perf_counter()
            arrived, image = self._capture.read()
            now = time.perf_counter()
            if arrived:
                return np.asarray(image, np.uint8), now
            if now - began > 0.9 * self.patience:
                raise CameraError(f"no frames for {self.patience:g} s")
            self._failures += 1
            if now - began > _AT_ONCE_S:
                return None
            at_once += 1
        if self._frames != 1 or not is_http(self._address):
            raise CameraError("the stream ended")
        self._request_again()
        return None

    def _request_again(self) -> None:
        """For an address that answers each request with one picture."""
        self._capture.release()
        time.sleep(max(0.0, self._opened_at + _SNAPSHOT_INTERVAL_S - time.perf_counter()))
        self._opened_at = time.perf_counter()
        try:
            self._capture = open_stream(self._address, self.patience)
        except CameraError:
            # It was a stream that ended after a frame.
            raise CameraError("the stream ended") from None
        self._frames = self._failures = 0

    def close(self) -> None:
        self._capture.release()


def open_network_video(address: str) -> cv2.VideoCapture | None:
    """A video with an end at an http:// address; None if it has none, as a camera's. Raises CameraError."""
    try:
        capture = open_stream(address)
    except CameraError as error:
        raise CameraError(f"video {without_password(address)}: {error}") from None
    if capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0 or (_NO_LENGTH_INSIDE.search(address) and _is_file(address)):
        return capture
    capture.release()
    return None


def _is_file(address: str) -> bool:
    """Whether the server says how long the answer is, as a camera's does not; False if it does not answer us."""
    import base64
    from http.client import HTTPException
    from urllib.parse import unquote, urlsplit
    from urllib.request import Request, urlopen

    parts = urlsplit(address)
    login, _, host = parts.netloc.rpartition("@")
    request = Request(parts._replace(netloc=host, fragment="").geturl())
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(unquote(login).encode()).decode())
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.headers.get("Content-Length") is not None
    except (OSError, ValueError, HTTPException):
        return False


def open_stream(address: str, timeout: float = TIMEOUT_S) -> cv2.VideoCapture:
    """FFmpeg's reader of a network address. Raises CameraError if it cannot be opened within `timeout` seconds."""
    scheme, rest = address.split("://", 1)
    milliseconds = round(timeout * 1000)
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds, cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
    capture = cv2.VideoCapture(f"{scheme.lower()}://{rest}", cv2.CAP_FFMPEG, timeouts)
    if not capture.isOpened():
        capture.release()
        raise CameraError(
            "cannot open the stream: check the address, the password in it, and that the camera is on and sends H.264, "
            "H.265 or MJPEG"
        )
    return capture
