"""A camera on the network, for tests: MJPEG over HTTP from the standard library, in a process of its own.

http_camera.py PORT [stall=N] [resize=N] [broken=N]: after N frames it sends no more, or larger ones; every Nth is
cut in half. Frames are 320x240 at 25 per second, left half red, right half blue; it prints a line when it listens.
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

BEHAVIOUR = {key: int(value) for key, value in (word.split("=") for word in sys.argv[2:])}


def draw(width: int, height: int) -> bytes:
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = (0, 0, 255), (255, 0, 0)
    return cv2.imencode(".jpg", image)[1].tobytes()


SMALL, LARGE = draw(320, 240), draw(640, 480)


class Camera(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
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
            try:
                self.wfile.write(
                    b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg + b"\r\n"
                )
            except OSError:
                return
            time.sleep(0.04)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Camera)
    server.daemon_threads = True
    print("listening", flush=True)
    server.serve_forever()
