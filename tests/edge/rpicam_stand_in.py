"""Stands in for `rpicam-vid` in tests: its command line, its messages, its raw frames.

Facts from rpicam-apps' sources: options it does not know end it with a message on standard error; each frame is the
camera's whole buffer, planes Y, U and V with rows padded to the hardware's stride; libcamera logs on standard
error what it configured, before the first frame; `--codec yuv420` uses full-range levels.

RPICAM_STAND_IN is a list of words: "stride=64", "die=N" (after N frames), "silent", "none" (no camera), "stall=N",
"adjust=WxH", "limited" (16 to 235), "pid=FILE" and "starts=FILE" (one line for each start).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

BEHAVIOUR = dict(word.partition("=")[::2] for word in os.environ.get("RPICAM_STAND_IN", "").split())

# Left to right, as BGR: red, green, blue, light grey; the lower half is dark grey. None is at the end of its range,
# which would hide wrongly stretched levels by clipping them.
BARS = [(40, 40, 200), (40, 200, 40), (200, 40, 40), (230, 230, 230)]


def plane(values: np.ndarray, stride: int) -> bytes:
    padded = np.full((values.shape[0], stride), 0x5A, np.uint8)
    padded[:, : values.shape[1]] = values
    return padded.tobytes()


def draw(width: int, height: int, stride: int) -> bytes:
    """BT.601 by its formulas: https://www.itu.int/rec/T-REC-T.871 for full range."""
    bgr = np.full((height, width, 3), 40.0)
    for bar, color in enumerate(BARS):
        bgr[: height // 2, bar * width // 4 : (bar + 1) * width // 4] = color
    b, g, r = bgr.transpose(2, 0, 1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    u, v = 128 + (b - y) / 1.772, 128 + (r - y) / 1.402
    if "limited" in BEHAVIOUR:
        y, u, v = 16 + y * 219 / 255, 128 + (u - 128) * 224 / 255, 128 + (v - 128) * 224 / 255
    y, u, v = (np.clip(np.round(values), 0, 255).astype(np.uint8) for values in (y, u[::2, ::2], v[::2, ::2]))
    return plane(y, stride) + plane(u, stride // 2) + plane(v, stride // 2)


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for option in ("--camera", "--width", "--height"):
        parser.add_argument(option, type=int, default=0)
    parser.add_argument("--framerate", type=float, default=30)
    parser.add_argument("--codec", default="h264")
    parser.add_argument("--timeout", "-t", default="5sec")
    parser.add_argument("--output", "-o")
    for flag in ("--nopreview", "--flush", "--list-cameras"):
        parser.add_argument(flag, action="store_true")
    options, unknown = parser.parse_known_args()
    if unknown:
        sys.exit(f"ERROR: *** unrecognised option '{unknown[0]}' ***")
    if options.list_cameras:
        print("Available cameras\n-----------------")
        print("0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)")
        print("    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]")
        return
    if "pid" in BEHAVIOUR:
        Path(BEHAVIOUR["pid"]).write_text(str(os.getpid()))
    if "starts" in BEHAVIOUR:
        with Path(BEHAVIOUR["starts"]).open("a") as file:
            file.write(f"{time.monotonic()} {' '.join(sys.argv[1:])}\n")
    print("[0:00:01.234567890] [321]  INFO Camera camera_manager.cpp:326 libcamera v0.5.1", file=sys.stderr)
    if "none" in BEHAVIOUR or options.camera > 0:
        sys.exit("ERROR: *** no cameras available ***")
    if options.codec != "yuv420" or options.output != "-" or options.timeout != "0":
        sys.exit("ERROR: *** this stand-in only writes yuv420 to standard output, for ever ***")
    width, height = map(int, BEHAVIOUR.get("adjust", f"{options.width}x{options.height}").split("x"))
    if "silent" not in BEHAVIOUR:
        space = "SMPTE170M" if "limited" in BEHAVIOUR else "sYCC"
        print(
            f"[0:00:01.3] [321]  INFO Camera camera.cpp:1215 configuring streams: (0) {width}x{height}-YUV420/{space} "
            "(1) 1536x864-SBGGR10_CSI2P/RAW",
            file=sys.stderr,
        )
    alignment = int(BEHAVIOUR.get("stride", 64))
    frame = draw(width, height, -(-width // alignment) * alignment)
    began = time.monotonic()
    number = 0
    while True:
        if str(number) == BEHAVIOUR.get("die"):
            sys.exit("ERROR: *** Camera frontend has timed out! ***")
        if str(number) == BEHAVIOUR.get("stall"):
            time.sleep(3600)
        sys.stdout.buffer.write(frame)
        sys.stdout.buffer.flush()
        number += 1
        time.sleep(max(0.0, began + number / options.framerate - time.monotonic()))


if __name__ == "__main__":
    main()
