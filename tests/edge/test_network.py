"""Network cameras, with real servers in processes of their own on the loopback address."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import needs_programs, skip_for_packages, stop
from edge_classify import CameraError, open_source
from edge_classify.sources.frame import Transform
from edge_classify.sources.live import LiveCamera
from edge_classify.sources.network import NetworkCamera, without_password
from edge_classify.sources.source import Source

HERE = Path(__file__).parent
# GStreamer's Python modules belong to the system's Python.
SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def serve() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a server and wait until it listens; all are ended after the test."""
    servers: list[subprocess.Popen[str]] = []

    def start(*command: object) -> subprocess.Popen[str]:
        server = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        servers.append(server)
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        return server

    yield start
    for server in servers:
        server.kill()
        server.wait()


def read_until(source: Source, done: Callable[[], bool]) -> np.ndarray:
    for frame in source:
        if done():
            return frame.image
    raise AssertionError("the source ended")


def test_http_colours_size_and_a_password_that_stays_secret(serve, port: int) -> None:
    serve(sys.executable, HERE / "http_camera.py", port)
    with open_source(f"http://maker:secret@127.0.0.1:{port}/stream", transform=Transform(rotate=180)) as source:
        frame = next(iter(source))
        assert source.description == f"camera http://***@127.0.0.1:{port}/stream: 320x240 MJPG"
    assert frame.name == f"http://***@127.0.0.1:{port}/stream"
    assert frame.image.shape == (240, 320, 3)
    assert np.abs(frame.image[120, 20].astype(int) - (255, 0, 0)).max() < 10
    assert np.abs(frame.image[120, -20].astype(int) - (0, 0, 255)).max() < 10


def test_an_http_camera_that_is_killed_and_started_again_goes_on(serve, port: int, caplog) -> None:
    server = serve(sys.executable, HERE / "http_camera.py", port)
    with open_source(f"http://127.0.0.1:{port}/") as source:
        frames = iter(source)
        before = next(frames)
        server.kill()
        server.wait()
        serve(sys.executable, HERE / "http_camera.py", port)
        read_until(source, lambda: "back after" in caplog.text)
        after = next(frames)
    assert after.number > before.number
    lost, _back = caplog.messages
    assert lost.endswith(": the stream ended; waiting for it to return")


def test_an_http_camera_that_stalls_is_noticed_and_opened_again(serve, port: int, caplog) -> None:
    serve(sys.executable, HERE / "http_camera.py", port, "stall=8")
    camera = LiveCamera("stalling", lambda: NetworkCamera(f"http://127.0.0.1:{port}/", timeout=1))
    try:
        for _ in camera.frames():
            if "back after" in caplog.text:
                break
    finally:
        camera.close()
    assert caplog.messages[0] == "camera stalling: no frames for 1 s; waiting for it to return"


def test_stopping_it_while_ffmpeg_waits_for_data(serve, port: int) -> None:
    serve(sys.executable, HERE / "http_camera.py", port, "stall=8")
    process = subprocess.Popen(
        [Path(sys.executable).with_name("edge-classify"), f"http://127.0.0.1:{port}/", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.8)  # longer than the frames last before it stalls, shorter than FFmpeg waits
    _, rest = stop(process, signal.SIGTERM)
    assert "capture_age" in rest


@pytest.mark.parametrize("fault", ["broken=3", "resize=5"])
def test_broken_and_resized_pictures_do_not_stop_it(serve, port: int, fault: str, caplog) -> None:
    serve(sys.executable, HERE / "http_camera.py", port, fault)
    with open_source(f"http://127.0.0.1:{port}/") as source:
        shapes = {frame.image.shape for frame, _ in zip(source, range(12), strict=False)}
    assert shapes == {(240, 320, 3)}
    assert not caplog.messages


def test_frames_that_cannot_be_decoded_are_left_out_and_counted(serve, port: int, caplog) -> None:
    serve(sys.executable, HERE / "http_camera.py", port, "garbage=4")
    with open_source(f"http://127.0.0.1:{port}/") as source:
        for _ in source:
            if source.undecodable >= 3:
                break
    assert caplog.messages == [
        f"camera http://127.0.0.1:{port}/: left out a frame that cannot be decoded; more will be counted"
    ]


@pytest.mark.parametrize("path", ["photo.jpg", "snapshot?width=320"])
def test_an_address_that_gives_one_picture_per_request_is_asked_again_and_again(
    serve, port: int, path: str, caplog
) -> None:
    serve(sys.executable, HERE / "http_camera.py", port)
    with open_source(f"HTTP://127.0.0.1:{port}/{path}") as source:
        frames = [frame for frame, _ in zip(source, range(5), strict=False)]
        assert source.undecodable == 0
    assert {frame.image.shape for frame in frames} == {(240, 320, 3)}
    assert not caplog.messages


@pytest.mark.parametrize("name", ["clip.avi", "clip.ts"])
def test_a_video_at_an_address_has_every_frame_and_an_end(serve, port: int, tmp_path: Path, name: str) -> None:
    codec = {"clip.avi": "MJPG", "clip.ts": "MPG2"}[name]  # the second does not say how long it is, but its server does
    writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
    for number in range(12):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    serve(sys.executable, HERE / "http_camera.py", port, f"file={tmp_path / name}")
    with open_source(f"http://me:secret@127.0.0.1:{port}/{name}?token=secret", fast=True) as source:
        assert not source.live
        frames = list(source)
    assert [round(frame.image.mean() / 20) for frame in frames] == list(range(12))
    assert frames[0].name == f"http://***@127.0.0.1:{port}/{name}?token=***"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://h/videostream.cgi?user=admin&pwd=SECRET", "http://h/videostream.cgi?user=***&pwd=***"),
        ("rtsp://h/user=admin&password=SECRET&channel=1", "rtsp://h/user=***&password=***&channel=1"),
        ("rtsp://h/user=a_password=SECRET_channel=1_stream=0.sdp?x", "rtsp://h/user=***_password=***_channel=1_stream=0.sdp?x"),
        ("rtsp://admin:SE@CRET@h/1", "rtsp://***@h/1"),
        ("rtsp://admin:SE/CRET@h/1", "rtsp://***@h/1"),
        ("rtsp://admin:SE?C#RET@h/1", "rtsp://***@h/1"),
        ("rtsp://SECRET@h/1", "rtsp://***@h/1"),
        ("http://h/x?cred[pw]=SE=CR/ET?&res=3", "http://h/x?cred[pw]=***&res=3"),
        ("http://h/x;pass=SECRET", "http://h/x;pass=***"),
        ("http://h/x#token=SECRET", "http://h/x#token=***"),
        ("rtmp://me:SECRET@h/x", "rtmp://***@h/x"),
        ("rtsps://h:7441/AbCdEfGhIjKlMnOp?enableSrtp", "rtsps://h:7441/***?enableSrtp"),
        ("http://h/hls/3f9c2ab81d7e4506/index.m3u8", "http://h/hls/***/index.m3u8"),
        ("http://h/live/123e4567-e89b-12d3-a456-426614174000.m3u8", "http://h/live/***.m3u8"),
        ("rtsp://h/admin:SECRET/1", "rtsp://h/***/1"),
        ("rtsp://h/admin:SECRET@x/1", "rtsp://***@x/1"),
        ("rtsp://h:554/Streaming/Channels/101", "rtsp://h:554/Streaming/Channels/101"),
        ("rtsp://h/h264Preview_01_main", "rtsp://h/h264Preview_01_main"),
        ("rtsp://h/axis-media/media.amp?videocodec", "rtsp://h/axis-media/media.amp?videocodec"),
        ("http://h/2026-01-05T10:30:00.mp4", "http://h/2026-01-05T10:30:00.mp4"),
        ("HTTP://h:81/a/b.jpg?size=2", "HTTP://h:81/a/b.jpg?size=2"),
        ("photos/a=b@c.jpg", "photos/a=b@c.jpg"),
    ],
)  # fmt: skip
def test_secrets_are_masked_in_every_place_of_an_address(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_a_stream_that_is_not_there_is_an_error_at_once(port: int) -> None:
    with pytest.raises(CameraError, match=r"camera rtsp://\*\*\*@127.*: cannot open the stream"):
        open_source(f"rtsp://maker:secret@127.0.0.1:{port}/stream")


def test_rtsp_from_gstreamer_s_server_killed_and_started_again(serve, port: int, caplog) -> None:
    needed = 'import gi; gi.require_version("GstRtspServer", "1.0"); from gi.repository import GstRtspServer'
    check = [SYSTEM_PYTHON, "-c", needed]
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run(check, capture_output=True, check=False).returncode:
        skip_for_packages("no RTSP server")
    server = serve(SYSTEM_PYTHON, HERE / "rtsp_camera.py", port)
    with open_source(f"rtsp://127.0.0.1:{port}/stream") as source:
        image = next(iter(source)).image
        assert image.shape == (240, 320, 3)
        assert image[100, 100].argmax() == 2  # BGR: red
        server.kill()
        server.wait()
        serve(SYSTEM_PYTHON, HERE / "rtsp_camera.py", port)
        read_until(source, lambda: "back after" in caplog.text)


def test_ffmpeg_as_a_server_of_h264(port: int) -> None:
    needs_programs("ffmpeg")
    picture = ("-f", "lavfi", "-i", "color=blue:size=320x240:rate=25", "-t", "10", "-c:v", "libx264", "-g", "25")
    address = f"http://127.0.0.1:{port}/"
    server = subprocess.Popen(
        ["ffmpeg", "-loglevel", "error", "-re", *picture, "-f", "mpegts", "-listen", "1", address],
        stdin=subprocess.DEVNULL,
    )
    try:
        # ffmpeg does not report when it listens, and serves the first client only.
        for _ in range(100):
            time.sleep(0.1)
            try:
                source = open_source(address)
                break
            except CameraError:
                assert server.poll() is None
        with source:
            image = next(iter(source)).image
            assert image.shape == (240, 320, 3)
            assert image[100, 100].argmax() == 0  # BGR: blue
            assert "320x240 H264" in source.description
    finally:
        server.kill()
        server.wait()
