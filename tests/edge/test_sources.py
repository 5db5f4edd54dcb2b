from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import write_photos
from edge_classify import CameraError, DataError, UsageError, open_source
from edge_classify.sources import demo, v4l2
from edge_classify.system.machine import System


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twelve frames, each as bright as its number times 20."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(12):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("fast", [False, True])
def test_a_video_gives_every_frame_and_ends(video: Path, fast: bool) -> None:
    with open_source(video, fast=fast) as source:
        frames = list(source)
    assert [(frame.number, round(frame.image.mean() / 20)) for frame in frames] == [(n, n) for n in range(12)]
    took = frames[-1].captured_at - frames[0].captured_at
    assert took < 0.5 if fast else took > 1.05


def test_a_video_that_is_taken_slowly_leaves_nothing_out(video: Path) -> None:
    with open_source(video) as source:
        numbers = []
        for frame in source:
            numbers.append(frame.number)
            time.sleep(0.15)
    assert numbers == list(range(12))


def test_pictures_are_turned_then_mirrored_then_cropped(tmp_path: Path) -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:20, :40] = 255  # white in the upper left
    cv2.imwrite(str(tmp_path / "corner.png"), image)

    def white(**options: Any) -> tuple[tuple[int, ...], list[list[bool]]]:
        turned = next(iter(open_source(tmp_path / "corner.png", **options))).image
        height, width = turned.shape[:2]
        quarters = [
            [bool(turned[y, x].all()) for x in (width // 4, width * 3 // 4)] for y in (height // 4, height * 3 // 4)
        ]
        return turned.shape[:2], quarters

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
        ("demo", {"rotate": 45}, "rotate is 45: it must be 90, 180 or 270"),
        ("demo", {"flip": "x"}, "flip is x"),
        ("demo", {"crop": (160, 0, 320, 480)}, r"crop is 160,0,320,480: .* fractions"),
        ("demo", {"crop": (0.5, 0.5, 0.6, 0.5)}, "stay inside"),
        ("demo", {"size": (640, 480)}, "size and fps are for cameras: demo has its own"),
        ("demo", {"fast": True}, "fast is for video files"),
        ("demo", {"give_up": 0}, r"give_up \(--give-up\) is 0"),
        (0, {"size": (0, 480)}, "size is 0x480"),
        ("http://me:secret@host/", {"fps": 5}, r"http://\*\*\*@host/ has its own"),
    ],
)
def test_options_that_cannot_be(camera: int | str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(camera, **options)


def test_a_folder_gives_its_pictures_in_order_and_names_the_unreadable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_photos(tmp_path / "my photos é", 2, ("disc",))
    (folder / "broken.jpg").write_bytes(b"no picture")
    with open_source(folder) as source:
        names = [Path(frame.name).name for frame in source]
    assert names == ["0.png", "1.png"]
    assert "broken.jpg" in caplog.text
    assert "1 of 3 pictures were skipped" in caplog.text


def test_a_picture_is_one_frame(tmp_path: Path) -> None:
    path = write_photos(tmp_path, 1, ("disc",)) / "disc" / "0.png"
    frames = list(open_source(str(path)))
    assert [frame.image.shape for frame in frames] == [(120, 160, 3)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"hello", "neither a picture nor a video"),
        ("empty.mp4", b"", "neither a picture nor a video"),
    ],
)
def test_a_file_that_is_neither_picture_nor_video(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path / name)


def test_an_empty_folder_and_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures in this folder"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="there is no such file, folder or camera"):
        open_source(tmp_path / "gone.mp4")


@pytest.mark.parametrize("camera", [97, "/dev/video97"])
def test_a_camera_that_is_not_there(camera: int | str) -> None:
    with pytest.raises(CameraError, match=r"there is no such camera .*try --camera demo"):
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
import os, cv2, edge_classify.sources.opening
os.setuid(65534)
try:
    edge_classify.open_source({str(device)!r})
except edge_classify.CameraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "no permission to open" in done.stdout, done.stderr
    assert "usermod -aG video" in done.stdout


def test_a_slow_consumer_gets_new_frames_not_old_ones() -> None:
    with open_source("demo") as source:
        frames = iter(source)
        first = next(frames)
        time.sleep(0.5)
        later = next(frames)
        age = time.perf_counter() - later.captured_at
        dropped = source.dropped
    assert later.number - first.number >= 10
    # All but `first` and `later`, and those that came while this looked.
    assert later.number - 1 <= dropped <= later.number + 5
    assert age < 0.2


def test_the_demo_keeps_a_camera_s_pace() -> None:
    with open_source("demo") as source:
        frames = [frame for frame, _ in zip(source, range(31), strict=False)]
    assert frames[-1].captured_at - frames[0].captured_at > 0.9


def test_a_frame_of_the_demo_is_drawn_alike_each_time() -> None:
    again = demo.draw(40)
    demo.draw(7)
    assert (demo.draw(40).image == again.image).all()
    assert again.image.shape == (480, 640, 3)
    assert again.truth == demo.draw(40).truth


def test_the_demo_shows_all_digits_and_things_that_are_none() -> None:
    truths = {demo.draw(number).truth for number in range(0, 105 * 60, 13)}
    assert truths == {*"0123456789", "unknown", None}


def test_a_pi_s_own_nodes_and_metadata_nodes_are_no_cameras(tmp_path: Path) -> None:
    # As on a Pi 4 with one webcam; nothing here can be opened, so only what /sys says counts.
    nodes = {
        0: ("unicam-image", 0),
        1: ("HD Webcam: HD Webcam", 0),
        2: ("HD Webcam: HD Webcam", 1),
        10: ("bcm2835-codec-decode", 0),
        13: ("bcm2835-isp-output0", 0),
        19: ("rpi-hevc-dec", 0),
        20: ("pispbe-input", 0),
    }
    for number, (name, index) in nodes.items():
        folder = tmp_path / "sys" / "class" / "video4linux" / f"video{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
        (folder / "index").write_text(f"{index}\n")
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / f"video{number}").touch()
    nodes_of_cameras = v4l2.list_nodes(System(root=tmp_path))
    assert [(node.path.name, node.name) for node in nodes_of_cameras] == [("video1", "HD Webcam: HD Webcam")]


def test_a_jpeg_that_was_cut_off_is_told_from_a_whole_or_padded_one() -> None:
    _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))
    assert v4l2.is_whole(jpeg)
    assert v4l2.is_whole(np.concatenate([jpeg.reshape(-1), np.zeros(100, np.uint8)]))
    assert not v4l2.is_whole(jpeg[: len(jpeg) // 2])


class Webcam:
    """Answers as OpenCV does for a USB 2 webcam: `set` is always True, `get` tells what the driver made of it."""

    def __init__(self, rates: dict[tuple[str, int], float]) -> None:
        self._rates = rates
        self._fourcc, self._width, self._fps = next(iter(rates))[0], 640, 30.0

    def set(self, what: int, value: float) -> bool:
        if what == cv2.CAP_PROP_FOURCC:
            wanted = int(value).to_bytes(4, "little").decode()
            if any(fourcc == wanted for fourcc, _ in self._rates):
                self._fourcc = wanted
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
        (USUAL, (640, 480), 30, ("YUYV", (640, 480), 30)),
        (USUAL, (1280, 720), 30, ("MJPG", (1280, 720), 30)),
        (USUAL, (1280, 720), 5, ("YUYV", (1280, 720), 5)),
        ({("YUYV", 640): 30.0, ("MJPG", 1280): 30.0}, (1280, 720), 30, ("MJPG", (1280, 720), 30)),
        ({("YUYV", 640): 15.0, ("YUYV", 1280): 5.0}, (1280, 720), 30, ("YUYV", (1280, 720), 5)),
        ({("NV12", 640): 30.0}, (640, 480), 30, ("NV12", (640, 480), 30)),
    ],
)
def test_raw_is_taken_where_it_is_fast_enough_else_mjpg(
    rates: dict[tuple[str, int], float], size: tuple[int, int], fps: float, expected: tuple[str, tuple[int, int], float]
) -> None:
    mode = v4l2._negotiate(Webcam(rates), size, fps)
    assert (mode.fourcc, mode.size, mode.fps) == expected
