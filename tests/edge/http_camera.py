"""A camera on the network, for tests: MJPEG over HTTP from the standard library, in a process of its own.

http_camera.py PORT [stall=N] [resize=N] [broken=N] [garbage=N] [file=PATH]: after N frames it sends no more, or larger
ones; every Nth is cut in half, or no picture at all. /photo.jpg and /snapshot give one picture, /clip… the file.
Frames are 320x240 at 25 per second, left half red, right half blue; it prints a line when it listens.
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

GIVEN = dict(word.split("=") for word in sys.argv[2:])
FILE = Path(GIVEN.pop("file", __file__))
BEHAVIOUR = {key: int(value) for key, value in GIVEN.items()}


def draw(width: int, height: int) -> bytes:
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = (0, 0, 255), (255, 0, 0)
    return cv2.imencode(".jpg", image)[1].tobytes()


SMALL, LARGE = draw(320, 240), draw(640, 480)


class Camera(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith(("/photo.jpg", "/snapshot")):
            return self.send_all("image/jpeg", SMALL)
        if self.path.startswith("/clip"):
            return self.send_all("video/x-msvideo", FILE.read_bytes())
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        number = 0
        while True:
            number += 1
            if number == BEHAVIOUR.get("stall"):
                time.sleep(3600)
            jpeg = LARGE if 0 < BEHAVIOUR.get("resize", 0) < number else SMALL
            if "broken" in BEHAVIOUR and number % BEHAVIOUR["broken"] == 0:
                jpeg = jpeg[: len(jpeg) // 2]
            if "garbage" in BEHAVIOUR and number % BEHAVIOUR["garbage"] == 0:
                jpeg = b"x" * 500
            try:
                self.wfile.write(
                    b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg + b"\r\n"
                )
            except OSError:
                return None
            time.sleep(0.04)

    def send_all(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Camera)
    server.daemon_threads = True
    print("listening", flush=True)
    server.serve_forever()
