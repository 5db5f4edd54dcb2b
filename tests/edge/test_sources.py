from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import write_photos
from edge_classify import CameraError, DataError, demo, open_camera


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twelve frames, each as bright as its number times 20."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(12):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


def test_a_video_gives_every_frame_and_ends(video: Path) -> None:
    with open_camera(video) as source:
        frames = [(frame.number, round(frame.image.mean() / 20)) for frame in source]
    assert frames == [(number, number) for number in range(12)]


def test_a_folder_gives_its_pictures_in_order_and_names_the_unreadable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_photos(tmp_path / "my photos é", 2, ("disc",))
    (folder / "broken.jpg").write_bytes(b"no picture")
    with open_camera(folder) as source:
        names = [Path(frame.name).name for frame in source]
    assert names == ["0.png", "1.png"]
    assert "broken.jpg" in caplog.text
    assert "1 of 3 pictures were skipped" in caplog.text


def test_a_picture_is_one_frame(tmp_path: Path) -> None:
    path = write_photos(tmp_path, 1, ("disc",)) / "disc" / "0.png"
    frames = list(open_camera(str(path)))
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
        open_camera(tmp_path / name)


def test_an_empty_folder_and_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures in this folder"):
        open_camera(tmp_path)
    with pytest.raises(DataError, match="there is no such file, folder or camera"):
        open_camera(tmp_path / "gone.mp4")


@pytest.mark.parametrize("camera", [97, "/dev/video97"])
def test_a_camera_that_is_not_there(camera: int | str) -> None:
    with pytest.raises(CameraError, match=r"there is no such camera .*try --camera demo"):
        open_camera(camera)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device file that somebody else may not open")
def test_a_camera_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    device = tmp_path / "video0"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(81, 0))
    except OSError as error:
        pytest.skip(f"this machine allows no device files: {error}")
    # The libraries are loaded as root, which may read them wherever they are installed.
    code = f"""
import os, cv2, edge_classify.sources
os.setuid(65534)
try:
    edge_classify.sources.open_camera({str(device)!r})
except edge_classify.CameraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "no permission to open" in done.stdout, done.stderr
    assert "usermod -aG video" in done.stdout


def test_a_slow_consumer_gets_new_frames_not_old_ones() -> None:
    with open_camera("demo") as source:
        frames = iter(source)
        first = next(frames)
        time.sleep(0.5)
        later = next(frames)
        age = time.perf_counter() - later.captured_at
    assert later.number - first.number >= 10
    assert age < 0.2


def test_the_demo_keeps_a_camera_s_pace() -> None:
    with open_camera("demo") as source:
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
