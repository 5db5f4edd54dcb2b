"""Runs in the guest of test_kernel_camera.py, whose /dev/video0 is the kernel's vivid driver. Prints JSON."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge_classify import CameraError, list_cameras, open_source
from edge_classify.sources.frame import Frame, Transform

DRIVER = Path("/sys/bus/platform/drivers/vivid")
seen: dict[str, Any] = {}
warnings: list[str] = []


class Listen(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        warnings.append(record.getMessage())


def control(setting: str) -> None:
    """Set one of the driver's controls; `name=value` as v4l2-ctl takes it."""
    subprocess.run(["v4l2-ctl", "-d", list_cameras()[0][0], "-c", setting], check=True)


def unplug() -> None:
    (DRIVER / "unbind").write_text("vivid.0")


def plug_in() -> None:
    (DRIVER / "bind").write_text("vivid.0")


def read_on(frames: Iterator[Frame], seconds: float) -> None:
    """Read for this long, or until the camera was lost and has come back, of which each is a warning."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and len(warnings) < 2:
        next(frames)


def fault(
    name: str, happen: Callable[[], object], repair: Callable[[], object] | None = None, after: float = 4
) -> None:
    warnings.clear()
    with open_source(0) as source:
        frames = iter(source)
        for _ in range(5):
            next(frames)
        happen()
        timer = threading.Timer(after, repair) if repair else None
        if timer:
            timer.start()
        read_on(frames, 12 if repair else 6)
        seen[name] = {"warnings": list(warnings)}
        if timer:
            timer.join()


def opened(**requested: Any) -> tuple[str, Frame, float]:
    with open_source(0, **requested) as source:
        frames = iter(source)
        taken = [next(frames) for _ in range(12)]
        took = taken[-1].captured_at - taken[0].captured_at
        return source.description, taken[-1], (taken[-1].number - taken[0].number) / took


def command(*options: str) -> subprocess.Popen[str]:
    """The command `edge-classify`, of the source that the tests run."""
    program = [sys.executable, "-c", "import sys; from edge_classify.cli import main; sys.exit(main())"]
    return subprocess.Popen([*program, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def main() -> None:
    logging.getLogger("edge_classify").addHandler(Listen())
    seen["cameras"] = list_cameras()

    description, frame, rate = opened()
    height, width = frame.image.shape[:2]
    # The middle of each colour bar, below the driver's text.
    row = frame.image[height * 3 // 4]
    seen["bars"] = [row[(2 * bar + 1) * width // 16].tolist() for bar in range(8)]
    seen["default"] = {"description": description, "shape": frame.image.shape, "rate": rate}
    description, frame, rate = opened(size=(1280, 720))
    seen["large"] = {"description": description, "shape": frame.image.shape}
    description, frame, rate = opened(size=(641, 481), fps=10)
    seen["odd"] = {"description": description, "shape": frame.image.shape, "rate": rate}
    description, frame, _ = opened(transform=Transform(rotate=90, flip="h", crop=(0, 0, 1, 0.125)))
    seen["turned"] = {"shape": frame.image.shape, "color": frame.image[30, 400].tolist()}

    with open_source(0) as first:
        next(iter(first))
        try:
            open_source("/dev/video0")
        except CameraError as error:
            seen["busy"] = str(error)

    seen["classified"] = command("--camera", "0", "--json", "--count", "5").communicate()
    stalled = command("--camera", "0")
    assert stalled.stdout is not None
    stalled.stdout.readline()
    control("percentage_of_dropped_buffers=100")
    time.sleep(3)
    stalled.send_signal(signal.SIGTERM)
    rest, _ = stalled.communicate()
    seen["terminated"] = {"code": stalled.returncode, "rest": rest}
    control("percentage_of_dropped_buffers=0")

    fault("half dropped", lambda: control("percentage_of_dropped_buffers=50"))
    control("percentage_of_dropped_buffers=0")
    fault("erroneous buffer", lambda: control("inject_v4l2_buf_flag_error=0"))
    fault("refused buffer", lambda: control("inject_vidioc_qbuf_error=0"))
    fault("streaming error", lambda: control("inject_fatal_streaming_error=0"), lambda: None)
    fault(
        "stalled",
        lambda: control("percentage_of_dropped_buffers=100"),
        lambda: control("percentage_of_dropped_buffers=0"),
    )
    fault("unplugged", unplug, plug_in)
    fault("replugged at once", lambda: (unplug(), plug_in()), lambda: None)

    given_up = command("--camera", "0", "--json", "--give-up", "2")
    assert given_up.stdout is not None
    given_up.stdout.readline()
    unplug()
    _, errors = given_up.communicate()
    seen["given up"] = {"code": given_up.returncode, "errors": errors}
    absent = command("--camera", "0")
    _, errors = absent.communicate()
    seen["absent"] = {"code": absent.returncode, "errors": errors}
    plug_in()
    print(json.dumps(seen), flush=True)
    # The guest is switched off at once; nothing here needs an orderly end.
    os._exit(0)


if __name__ == "__main__":
    main()
