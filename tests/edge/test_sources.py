"""What `open_source` makes of files, folders, the demo and camera addresses, and what it refuses."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import write_photos
from edge_classify import CameraError, DataError, UsageError, open_source
from edge_classify.sources import demo, v4l2
from edge_classify.sources.device import CameraSettings
from edge_classify.sources.discovery import list_cameras
from edge_classify.sources.frame import Transform
from edge_classify.sources.opening import check_source, is_stream
from edge_classify.system.machine import System


def write_video(path: Path, fps: float) -> Path:
    """Twelve frames, each as bright as its number times 20."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    for number in range(12):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(("fps", "fast"), [(25, False), (0.1, True)])  # the second lasts two minutes
def test_a_video_gives_every_frame_and_ends(tmp_path: Path, fps: float, fast: bool) -> None:
    with open_source(write_video(tmp_path / "clip.avi", fps), fast=fast) as source:
        assert source.stream
        frames = list(source)
    assert [(frame.number, round(frame.image.mean() / 20)) for frame in frames] == [(n, n) for n in range(12)]
    took = frames[-1].captured_at - frames[0].captured_at
    # A frame that comes late is caught up with, so a busy machine may be nearly an interval short of eleven.
    assert took < 60 if fast else took > 9.5 / 25


def test_a_video_that_is_taken_slowly_leaves_nothing_out(tmp_path: Path) -> None:
    with open_source(write_video(tmp_path / "clip.avi", 50)) as source:
        numbers = []
        for frame in source:
            numbers.append(frame.number)
            time.sleep(0.05)
    assert numbers == list(range(12))


def write_damaged_video(path: Path, damaged: tuple[int, ...], fps: float = 25) -> Path:
    """As `write_video`, with frames that are no JPEGs."""
    data = write_video(path, fps).read_bytes()
    frames = data.split(b"\xff\xd8\xff")
    for number in damaged:
        # The last bytes are the header of the next frame.
        frames[number + 1] = b"\0" * (len(frames[number + 1]) - 16) + frames[number + 1][-16:]
    path.write_bytes(b"\xff\xd8\xff".join(frames))
    return path


def test_frames_of_a_video_that_cannot_be_decoded_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_damaged_video(tmp_path / "clip.avi", (3, 7, 8))
    with open_source(path, fast=True) as source:
        frames = [(frame.number, round(frame.image.mean() / 20)) for frame in source]
        assert source.undecodable == 3
    assert frames == [(n, n) for n in range(12) if n not in (3, 7, 8)]
    assert caplog.messages == [f"{path}: left out frame 3, which cannot be decoded; more will be counted"]


def test_a_video_that_was_cut_off_is_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "clip.avi", 2)
    assert len(list(open_source(path, fast=True))) == 12
    assert not caplog.messages
    mark = b"\xff\xd8\xff"
    path.write_bytes(mark.join(path.read_bytes().split(mark)[:7]))
    assert len(list(open_source(path, fast=True))) == 6
    assert re.search(r"clip.avi: no more frames after \d\.\d of 6\.0 seconds: it may be cut off", caplog.text)


@pytest.mark.parametrize("name", ["rpicam.mjpeg", "RPICAM.MJPG", "no_suffix", "data.bin"])
def test_a_row_of_jpegs_is_a_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    jpegs = [cv2.imencode(".jpg", np.full((48, 64, 3), 20 * n, np.uint8))[1].tobytes() for n in range(12)]
    path.write_bytes(b"".join(jpegs))
    with open_source(path, fast=True) as source:
        assert source.stream
        assert [round(frame.image.mean() / 20) for frame in source] == list(range(12))
    path.write_bytes(jpegs[3] + b"MPF\0" + jpegs[4])  # a phone's photo, with a second picture for its own use
    if name == "no_suffix":
        assert [round(frame.image.mean() / 20) for frame in open_source(path)] == [3]


NAMES = [
    b"2026-01-05T10:30:00",  # FFmpeg would take what is before the colon for a protocol
    b"rtsp:x",
    b"caf\xe9",  # not UTF-8, which OpenCV expects
    "k\u00e4tzchen \u732b".encode(),
    b"%03d",  # FFmpeg's pattern for numbered pictures
]


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_files_of_any_name_are_read(tmp_path: Path, locale: str) -> None:
    folder = os.fsencode(tmp_path)
    write_video(tmp_path / "clip.avi", 25)
    assert cv2.imwrite(str(tmp_path / "picture.png"), np.full((48, 64, 3), 60, np.uint8))
    for name in NAMES:
        os.link(tmp_path / "clip.avi", folder + b"/" + name + b".avi")
        os.link(tmp_path / "picture.png", folder + b"/" + name + b".png")
    code = """
import sys
from edge_classify import open_source
for name in sys.argv[1:]:
    print(len(list(open_source(name, fast=name.endswith("avi")))))
"""
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = [sys.executable, "-c", code, *(name + suffix for name in NAMES for suffix in (b".avi", b".png"))]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False)
    assert done.stdout.split() == [b"12", b"1"] * len(NAMES), done.stderr


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("-", "-: standard input cannot be read"),
        ("/dev/stdin", "/dev/stdin: standard input cannot be read"),
        ("rtmp://me:secret@host/x", r"rtmp://\*\*\*@host/x: rtmp:// cannot be read: expected an rtsp:// or http://"),
        ("http:/host/x", "http:/host/x: expected http:// with two slashes"),
        ("file:///x.mp4", "file:///x.mp4: give the path of the file without file://"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_with_what_can(address: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(address)


def test_pictures_are_rotated_then_flipped_then_cropped(tmp_path: Path) -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:20, :40] = 255  # white in the upper left
    cv2.imwrite(str(tmp_path / "corner.png"), image)

    def white(**options: Any) -> tuple[tuple[int, ...], list[list[bool]]]:
        image = next(iter(open_source(tmp_path / "corner.png", transform=Transform(**options)))).image
        height, width = image.shape[:2]
        quarters = [
            [bool(image[y, x].all()) for x in (width // 4, width * 3 // 4)] for y in (height // 4, height * 3 // 4)
        ]
        return image.shape[:2], quarters

    assert white() == ((40, 80), [[True, False], [False, False]])
    assert white(rotate=90) == ((80, 40), [[False, True], [False, False]])
    assert white(rotate=180) == ((40, 80), [[False, False], [False, True]])
    assert white(rotate=270) == ((80, 40), [[False, False], [True, False]])
    assert white(flip="h") == ((40, 80), [[False, True], [False, False]])
    assert white(flip="v") == ((40, 80), [[False, False], [True, False]])
    assert white(rotate=90, flip="h") == ((80, 40), [[True, False], [False, False]])
    assert white(crop=(0.25, 0, 0.75, 1)) == ((40, 60), [[True, False], [False, False]])
    assert white(rotate=90, crop=(0.5, 0, 0.5, 0.5)) == ((40, 20), [[True, True], [True, True]])


@pytest.mark.parametrize(
    ("camera", "options", "message"),
    [
        ("demo", {"size": (640, 480)}, "size and fps only apply to USB cameras and Pi camera modules, not to demo"),
        ("demo", {"fast": True}, "fast only applies to video files, not to demo"),
        ("demo", {"give_up": 0}, "give_up is 0"),
        (0, {"size": (0, 480)}, "size is 0x480: it must be at least 16x16"),
        (0, {"fps": float("nan")}, "fps is nan: it must be above 0"),
        (".", {"fast": True}, "fast only applies to video files, not to ."),
        ("http://me:secret@host/", {"fps": 5}, r"not to http://\*\*\*@host/"),
    ],
)
@pytest.mark.parametrize("function", [check_source, open_source])
def test_impossible_options_are_refused_also_before_opening(
    function: Callable[..., object], camera: int | str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        function(camera, **options)


def test_whether_it_is_a_stream_is_known_without_opening_it(tmp_path: Path) -> None:
    for name in ("clip.mp4", "photo.JPG"):
        (tmp_path / name).touch()
    streams = [0, "97", "/dev/video97", "csi:1", "rtsp://host/stream", "demo", tmp_path / "clip.mp4"]
    assert all(is_stream(address) for address in streams)
    assert not is_stream(tmp_path)
    assert not is_stream(tmp_path / "photo.JPG")
    with pytest.raises(DataError, match="no such file, folder or camera"):
        is_stream(tmp_path / "gone.mp4")


def test_a_folder_gives_its_pictures_in_order_and_names_the_unreadable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_photos(tmp_path / "my photos é", 2, ("disc",))
    (folder / "broken.jpg").write_bytes(b"no picture")
    with open_source(folder) as source:
        names = [Path(frame.name).name for frame in source]
    assert names == ["0.png", "1.png"]
    assert "broken.jpg" in caplog.text
    assert "skipped 1 of 3 pictures" in caplog.text


def test_a_picture_is_one_frame_whatever_its_name(tmp_path: Path) -> None:
    path = write_photos(tmp_path, 1, ("disc",)) / "disc" / "0.png"
    for name in ("0.png", "0"):
        path = path.rename(path.with_name(name))
        source = open_source(str(path))
        assert [frame.image.shape for frame in source] == [(120, 160, 3)]
        assert not source.stream


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"hello", "not a readable picture or video"),
        ("empty.mp4", b"", "not a readable picture or video"),
    ],
)
def test_a_file_that_is_neither_picture_nor_video(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path / name)


def test_an_empty_folder_and_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures in this folder"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="no such file, folder or camera"):
        open_source(tmp_path / "gone.mp4")


@pytest.mark.parametrize("camera", [97, "/dev/video97"])
def test_a_camera_that_is_not_there(camera: int | str) -> None:
    with pytest.raises(CameraError, match=r"not found \(present: .*use `demo`, a simulated one"):
        open_source(camera)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device file that somebody else may not open")
def test_a_camera_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)
    device = tmp_path / "video0"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(81, 0))
    except OSError as error:
        pytest.skip(f"this machine allows no device files: {error}")
    # The libraries are loaded as root, which may read them wherever they are installed.
    code = f"""
import getpass, os, cv2, edge_classify.sources.cameras
from edge_classify import CameraError, open_source
os.setuid(65534)
try:
    open_source({str(device)!r})
except CameraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "no permission to open" in done.stdout, done.stderr
    assert "usermod -aG video" in done.stdout


def test_a_slow_consumer_gets_new_frames_not_old_ones() -> None:
    with open_source("demo") as source:
        frames = iter(source)
        next(frames)
        while source.dropped < 10:
            time.sleep(0.02)
        dropped = source.dropped
        later = next(frames)
    # Newer than all that were dropped.
    assert later.number > dropped


def test_the_demo_keeps_a_camera_s_pace() -> None:
    with open_source("demo") as source:
        frames = [frame for frame, _ in zip(source, range(16), strict=False)]
    assert frames[-1].captured_at - frames[0].captured_at > 0.45


def test_a_frame_of_the_demo_is_drawn_alike_each_time() -> None:
    again = demo.draw(40)
    demo.draw(7)
    assert (demo.draw(40).image == again.image).all()
    assert again.image.shape == (480, 640, 3)
    assert again.truth == demo.draw(40).truth


def test_the_demo_shows_all_digits_and_things_that_are_none() -> None:
    # The middle of each of 60 visits, a sheet that slides in, and an empty desk.
    truths = [demo.draw(number).truth for number in (*range(45, 105 * 60, 105), 5, 100)]
    assert set(truths[:-2]) == {*"0123456789", "unknown"}
    assert truths[-2:] == [None, "unknown"]


def test_cameras_are_listed_without_a_pi_s_own_devices_and_metadata(tmp_path: Path) -> None:
    # As on a Pi 4 with one webcam; nothing here can be opened, so only what /sys says counts.
    # rpicam-vid lists one camera module.
    devices = {
        0: ("unicam-image", 0),
        1: ("HD Webcam: HD Webcam", 0),
        2: ("HD Webcam: HD Webcam", 1),
        10: ("bcm2835-codec-decode", 0),
        13: ("bcm2835-isp-output0", 0),
        19: ("rpi-hevc-dec", 0),
        20: ("pispbe-input", 0),
    }
    for number, (name, index) in devices.items():
        folder = tmp_path / "sys" / "class" / "video4linux" / f"video{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
        (folder / "index").write_text(f"{index}\n")
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / f"video{number}").touch()
    program = tmp_path / "rpicam-vid"
    program.write_text("#!/bin/sh\necho '0 : imx708 [4608x2592 10-bit RGGB] (/base/axi/pcie@1000120000/imx708@1a)'\n")
    program.chmod(0o755)
    assert list_cameras(System(root=tmp_path, search_path=str(tmp_path))) == [
        (str(tmp_path / "dev" / "video1"), "HD Webcam: HD Webcam"),
        ("csi:0", "imx708 [4608x2592 10-bit RGGB]"),
    ]


def test_a_jpeg_that_was_cut_off_is_told_from_a_complete_or_padded_one() -> None:
    _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))
    assert v4l2.is_complete(jpeg)
    assert v4l2.is_complete(np.concatenate([jpeg.reshape(-1), np.zeros(100, np.uint8)]))
    assert not v4l2.is_complete(jpeg[: len(jpeg) // 2])


class Webcam:
    """Answers as OpenCV does for a USB 2 webcam: `set` is always True, `get` returns what the driver made of it."""

    def __init__(self, rates: dict[tuple[str, int], float]) -> None:
        self._rates = rates
        self._fourcc, self._width, self._fps = next(iter(rates))[0], 640, 30.0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, what: int, value: float) -> bool:
        if what == cv2.CAP_PROP_FOURCC:
            requested = int(value).to_bytes(4, "little").decode()
            if any(fourcc == requested for fourcc, _ in self._rates):
                self._fourcc = requested
        elif what == cv2.CAP_PROP_FRAME_WIDTH:
            widths = [width for fourcc, width in self._rates if fourcc == self._fourcc]
            self._width = min(widths, key=lambda width: abs(width - value))
        elif what == cv2.CAP_PROP_FPS:
            self._fps = value
        return True

    def get(self, what: int) -> float:
        return {
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*self._fourcc),
            cv2.CAP_PROP_FRAME_WIDTH: self._width,
            cv2.CAP_PROP_FRAME_HEIGHT: {640: 480, 1280: 720}[self._width],
            cv2.CAP_PROP_FPS: min(self._fps, self._rates[self._fourcc, self._width]),
        }[what]


USUAL = {("YUYV", 640): 30.0, ("YUYV", 1280): 10.0, ("MJPG", 640): 30.0, ("MJPG", 1280): 30.0}


@pytest.mark.parametrize(
    ("rates", "size", "fps", "expected"),
    [
        (USUAL, None, None, "640x480 YUYV, 30 frames per second"),
        (USUAL, (640, 480), 30, "640x480 YUYV, 30 frames per second"),
        (USUAL, (1280, 720), 30, "1280x720 MJPG, 30 frames per second"),
        (USUAL, (1280, 720), 5, "1280x720 YUYV, 5 frames per second"),
        (USUAL, (1281, 721), 30, "1280x720 MJPG, 30 frames per second (requested 1281x721)"),
        ({("YUYV", 640): 30.0, ("MJPG", 1280): 30.0}, (1280, 720), 30, "1280x720 MJPG, 30 frames per second"),
        (
            {("YUYV", 640): 15.0, ("YUYV", 1280): 5.0},
            (1280, 720),
            30,
            "1280x720 YUYV, 5 frames per second (requested 30)",
        ),
        ({("NV12", 640): 30.0}, (640, 480), 30, "640x480 NV12, 30 frames per second"),
    ],
)
def test_raw_is_taken_if_it_is_fast_enough_else_mjpg(
    rates: dict[tuple[str, int], float],
    size: tuple[int, int] | None,
    fps: float | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Webcam(rates))
    device = tmp_path / "video0"
    device.touch()
    assert v4l2.V4l2Camera(device, CameraSettings(size, fps)).description == f"{device}: {expected}"


def test_a_slow_video_is_whole_although_its_last_frame_begins_long_before_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(list(open_source(write_video(tmp_path / "clip.avi", 0.2), fast=True))) == 12
    assert not caplog.messages


def test_a_named_pipe_is_a_video(tmp_path: Path) -> None:
    pipe = tmp_path / "camera.mjpeg"
    os.mkfifo(pipe)
    jpegs = [cv2.imencode(".jpg", np.full((48, 64, 3), 20 * n, np.uint8))[1].tobytes() for n in range(12)]
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"".join(jpegs)))
    writer.start()
    with open_source(pipe, fast=True) as source:
        assert [round(frame.image.mean() / 20) for frame in source] == list(range(12))
    writer.join()
