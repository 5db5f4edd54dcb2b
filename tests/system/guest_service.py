"""Runs in the guest of test_kernel_camera.py: systemd runs the service as docs/service.md installs it. Prints JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2

SOURCE = Path(__file__).parents[2] / "edge"
PREFIX = Path("/opt/edge-classify")
UNIT = Path("/etc/systemd/system/edge-classify.service")
DROP_IN = Path("/etc/systemd/system/edge-classify.service.d/configuration.conf")
CONFIG_FILE = Path("/etc/edge-classify.toml")
CONFIG = """[camera]
camera = 0
give-up = 60

[model]
model = "/home/pi/model.tflite"
labels = "/etc/labels.txt"

[output]
events = "/var/lib/edge-classify/events.jsonl"
"""


def run(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300, check=False)
    return done.stdout + done.stderr


def install() -> None:
    """A virtual environment outside of home folders, of an interpreter that is outside, too."""
    python = next(
        path for path in (Path(sys.base_prefix, "bin/python3"), Path("/usr/bin/python3")) if not in_home(path)
    )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = PREFIX / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (PREFIX / "bin").mkdir()
    (PREFIX / "bin" / "python").symlink_to(python)
    (PREFIX / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
    # The service has a /tmp of its own and no home folders: a clone there would be out of its sight.
    seen = []
    for number, path in enumerate([str(SOURCE), *(path for path in sys.path if path.endswith("site-packages"))]):
        seen.append(PREFIX / f"seen{number}")
        seen[-1].mkdir()
        run("mount", "--bind", path, seen[-1])
    (packages / "seen.pth").write_text("".join(f"{path}\n" for path in seen))
    for name, module in (("edge-classify", "edge_classify.cli"), ("edge-doctor", "edge_classify.doctor.cli")):
        program = PREFIX / "bin" / name
        program.write_text(f"#!{PREFIX}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n")
        program.chmod(0o755)


def in_home(path: Path) -> bool:
    return path.resolve().is_relative_to("/root") or path.resolve().is_relative_to("/home") or not path.exists()


def configure() -> dict[str, str]:
    CONFIG_FILE.write_text(CONFIG)
    home = Path("/home/pi")
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(SOURCE / "edge_classify" / "model" / "builtin.tflite", home / "model.tflite")
    home.chmod(0o700)
    labels = Path("/etc/labels.txt")
    labels.write_text("".join(f"digit {number}\n" for number in (*range(10), "none")))
    labels.chmod(0o600)
    UNIT.parent.mkdir(parents=True, exist_ok=True)
    UNIT.write_text(run(PREFIX / "bin/edge-doctor", "--print-service"))
    return make_drop_in()


def make_drop_in() -> dict[str, str]:
    made = subprocess.run([PREFIX / "bin/edge-doctor", "--print-drop-in"], capture_output=True, text=True, check=False)
    DROP_IN.parent.mkdir(exist_ok=True)
    DROP_IN.write_text(made.stdout)
    return {"drop-in": made.stdout, "notes": made.stderr}


def boot() -> Callable[..., str]:
    """systemd in a process namespace of its own, with nothing but what our service wants; how to run its programs."""
    # The guest's init has put us into a chroot, where the kernel gives nobody a user namespace: make it the root.
    run("chroot", "/proc/1/root", "/bin/busybox", "mount", "-o", "move", "/root", "/")
    os.environ["SYSTEMD_IGNORE_CHROOT"] = "1"
    Path("/sys/fs/cgroup").mkdir(exist_ok=True)
    run("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    (UNIT.parent / "test.target").write_text("[Unit]\nWants=systemd-journald.service\n")
    words = ["unshare", "--fork", "--pid", "--mount-proc", "--propagation", "shared", "/lib/systemd/systemd"]
    with Path("/run/systemd.log").open("wb") as log:
        process = subprocess.Popen(
            [*words, "--system", "--unit=test.target", "--log-target=console"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"container": "guest", "PATH": os.environ["PATH"]},
        )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait(lambda: children.read_text().strip())
    # systemd answers only whom it sees.
    enter = ("nsenter", "--target", children.read_text().split()[0], "--pid")
    wait(lambda: run(*enter, "systemctl", "is-system-running").strip() in ("running", "degraded"))
    return partial(run, *enter)


def wait(true: Callable[[], object], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not true():
        time.sleep(1)


def restart(inside: Callable[..., str]) -> str:
    """Restart the service; its state once it has had its first result, or has failed."""
    inside("systemctl", "daemon-reload")
    inside("systemctl", "restart", "edge-classify")
    return inside("systemctl", "show", "edge-classify", "-p", "ActiveState", "-p", "StatusText")


def serve_pictures() -> str:
    """A network camera on this machine: the address of its picture."""
    folder = Path("/run/pictures")
    folder.mkdir()
    shutil.copy(SOURCE / "edge_classify" / "sources" / "demo_digits.png", folder / "shot.png")
    cv2.imwrite(str(folder / "shot.jpg"), cv2.imread(str(folder / "shot.png")))
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/shot.jpg"


def main() -> None:
    install()
    seen: dict[str, object] = {"configured": configure()}
    inside = boot()
    seen["local camera"] = restart(inside)
    events = Path("/var/lib/private/edge-classify/events.jsonl")
    wait(lambda: events.exists() and events.read_text())
    seen["events"] = events.read_text() if events.exists() else ""
    seen["security"] = inside("systemd-analyze", "security", "edge-classify", "--no-pager").splitlines()[-1]
    address = serve_pictures()
    CONFIG_FILE.write_text(f'[camera]\ncamera = "{address}"\n')
    seen["network"] = make_drop_in()
    seen["network camera"] = restart(inside)
    DROP_IN.write_text(DROP_IN.read_text().replace("IPAddressAllow=127.0.0.1", "IPAddressAllow=127.0.0.2"))
    seen["another address"] = restart(inside)
    seen["log"] = inside("journalctl", "-u", "edge-classify", "--no-pager")[-4000:]
    print(json.dumps(seen), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
