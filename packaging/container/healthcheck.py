"""Whether edge-classify is well, for a container's HEALTHCHECK: exits with 1 unless its camera gives frames."""

from __future__ import annotations

import sys
from urllib.request import urlopen

METRICS = "http://127.0.0.1:9464/metrics"


def main(address: str = METRICS) -> int:
    """0 if the camera is up, else 1."""
    try:
        with urlopen(address, timeout=4) as answer:
            lines = answer.read().decode().splitlines()
    except OSError as error:
        print(f"no metrics: {error}")
        return 1
    if "edge_classify_camera_up 1.0" in lines:
        return 0
    print("the camera is lost")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
