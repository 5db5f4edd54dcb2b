"""The kernel's own test cameras, in a virtual machine: vivid (with injected faults) and v4l2loopback.

Each boots once; the scripts guest_*.py do the work there and hand back what they saw.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import needs_programs

HERE = Path(__file__).parent
SOURCE = Path(__file__).parents[2] / "edge"
# The guest's kernel and modules; kept from run to run.
CACHE = Path(os.environ.get("CAMVM_CACHE", Path.home() / ".cache" / "camvm"))


@pytest.fixture(scope="module")
def camvm(data: Path) -> Path:
    program = data / "tools" / "camvm.sh"
    if not program.exists():
        pytest.skip(f"the tool that boots the guest is missing: {program}")
    needs_programs("qemu-system-x86_64", "mmdebstrap", "arch-test", "depmod", "cpio", "v4l2-ctl", "bc")
    return program


@pytest.fixture(scope="module")
def loopback_driver(camvm: Path) -> None:
    """v4l2loopback for the guest's kernel; it takes half a minute to build, once."""
    module = CACHE / "bookworm-amd64" / "v4l2loopback.ko"
    if module.exists():
        return
    if os.geteuid():
        pytest.skip("v4l2loopback is built in a chroot, which only root may → run the tests as root")
    module.parent.mkdir(parents=True, exist_ok=True)
    make = [str(camvm.with_name("mkloop.sh")), "amd64", "bookworm", str(module)]
    done = subprocess.run(make, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def run_in_guest(camvm: Path, device: str, script: Path, *arguments: object, seconds: int = 900) -> dict[str, Any]:
    # The guest sees this machine's files under their own paths, read-only, with an overlay in memory.
    inner = ["env", f"PYTHONPATH={SOURCE}", sys.executable, script, *arguments]
    environment = os.environ | {"CAMVM_CACHE": str(CACHE)}
    words = [str(word) for word in (camvm, "-d", device, "-t", seconds, "--", *inner)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def vivid(camvm: Path) -> dict[str, Any]:
    return run_in_guest(camvm, "vivid", HERE / "guest_vivid.py")


def test_vivid_is_found_negotiated_and_has_the_right_colours(vivid: dict[str, Any]) -> None:
    assert vivid["cameras"] == [["/dev/video0", "vivid-000-vid-cap"]]
    assert vivid["default"]["description"] == "camera 0: /dev/video0: 640x480 YUYV, 25 frames per second"
    assert vivid["default"]["shape"] == [480, 640, 3]
    # How fast the slow guest is says nothing; the driver gives no more than this.
    assert vivid["default"]["rate"] < 27
    # BGR of the 75 % bars: white, yellow, cyan, green, magenta, red, blue, black.
    bars = [(1, 1, 1), (0, 1, 1), (1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 0, 0), (0, 0, 0)]
    for seen, wanted in zip(vivid["bars"], bars, strict=True):
        assert [abs(level - 190 * there) <= 8 for level, there in zip(seen, wanted, strict=True)] == [True] * 3
    assert vivid["large"]["description"] == "camera 0: /dev/video0: 1280x720 YUYV, 12.5 frames per second"
    assert vivid["large"]["shape"] == [720, 1280, 3]
    assert vivid["odd"]["description"].endswith("640x480 YUYV, 10 frames per second (requested 641x481)")
    assert vivid["odd"]["rate"] < 11
    # Rotated clockwise, the first bar is on top; mirrored, what was below the driver's text is at the right.
    assert vivid["turned"]["shape"] == [80, 480, 3]
    assert all(abs(level - 190) < 8 for level in vivid["turned"]["color"])


def test_vivid_is_classified_and_a_second_program_is_refused(vivid: dict[str, Any]) -> None:
    results = [json.loads(line) for line in vivid["classified"][0].splitlines()]
    assert len(results) == 5
    assert all(result["source"] == "0" for result in results)
    assert "camera 0: /dev/video0: 640x480 YUYV, 25 frames per second" in vivid["classified"][1]
    assert "another program is using it" in vivid["busy"]


def test_sigterm_during_a_stall_ends_it(vivid: dict[str, Any]) -> None:
    assert vivid["terminated"]["code"] == 0
    assert "capture_age" in vivid["terminated"]["rest"]


def test_dropped_and_erroneous_buffers_do_not_stop_it(vivid: dict[str, Any]) -> None:
    for fault in ("half dropped", "erroneous buffer", "refused buffer"):
        assert vivid[fault]["warnings"] == [], fault


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("streaming error", "no frames for 2 s"),
        ("stalled", "no frames for 2 s"),
        ("unplugged", "unplugged"),
        ("replugged at once", "unplugged"),
    ],
)
def test_a_lost_camera_comes_back(vivid: dict[str, Any], fault: str, reason: str) -> None:
    lost, back = vivid[fault]["warnings"]
    assert lost == f"camera 0: {reason}; waiting for it to return"
    assert back.startswith("camera 0: back after ")
    assert back.endswith("640x480 YUYV, 25 frames per second")


def test_a_camera_that_stays_away_or_was_never_there_is_an_error(vivid: dict[str, Any]) -> None:
    assert vivid["given up"]["code"] == 3
    assert "error: camera 0: no frames for 2 s, giving up (" in vivid["given up"]["errors"]
    assert vivid["absent"]["code"] == 3
    assert "camera 0 not found (present: none)" in vivid["absent"]["errors"]


@pytest.mark.usefixtures("loopback_driver")
def test_loopback_raw_jpeg_cut_jpeg_and_a_player_that_dies(camvm: Path, data: Path) -> None:
    picture = next(iter(sorted((data / "data" / "flowers" / "validation").rglob("*.jpg"))))
    seen = run_in_guest(camvm, "loop", HERE / "guest_loopback.py", data / "tools" / "guest" / "play.py", picture)
    for name, fourcc in (("raw", "YUYV"), ("jpeg", "MJPG"), ("cut", "MJPG")):
        description, differences = seen[name]
        assert f"320x240 {fourcc}" in description
        # A cut picture would be grey in its lower part.
        assert max(differences) < 6, name
    assert seen["warnings"] == ["camera 0: left out a frame that cannot be decoded; more will be counted"]
    assert seen["player died"]["error"].startswith("camera 0: no frames for 5 s, giving up (")
    assert seen["player died"]["warnings"] == ["camera 0: no frames for 2 s; waiting for it to return"]


def test_the_service_may_do_what_its_configuration_needs_and_no_more(camvm: Path) -> None:
    needs_programs("systemd-analyze", "unshare", "nsenter")
    seen = run_in_guest(camvm, "vivid", HERE / "guest_service.py", seconds=1500)
    # A model in a home folder, labels that root alone may read, events in a folder of the service's own, no network.
    assert seen["configured"]["notes"] == ""
    assert "ActiveState=active" in seen["local camera"], seen["log"]
    (first, *_) = map(json.loads, seen["events"].splitlines())
    assert first["state"].startswith("digit ")
    assert float(seen["security"].split(": ")[1].split()[0]) <= 1.0
    assert "IPAddressAllow=127.0.0.1\n" in seen["network"]["drop-in"]
    assert "ActiveState=active" in seen["network camera"], seen["log"]
    assert "ActiveState=active" not in seen["another address"], seen["log"]
