"""What edge-doctor looks at on a machine: software, cameras, power, heat, room."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from ..errors import CameraError, EdgeClassifyError, first_line
from ..sources.discovery import VideoDevice, camera_holders, camera_modules, video_devices
from ..system.machine import THROTTLING, System, is_throttled

_OLDEST_PYTHON, _NEWEST_PYTHON = (3, 11), (3, 13)
_MB = 2**20

# Not the bare word: outside a virtual environment Debian's pip refuses.
_PIP = f"{sys.executable} -m pip install"
_GOVERNOR = "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
_POWER = "take the board's own power supply and a short, thick cable; give USB devices a powered hub"
_HEAT = "give it a heat sink, a fan, or air"


Level = Literal["green", "yellow", "red"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    level: green is well; yellow works, but not as well as it could; with red, edge-classify does not work
        as it is started by default, or not for long.
    check: what was looked at. text: what was seen. remedy: what mends it.
    exit_code: edge-doctor's, for a red one.
    figures: numbers for programs.
    """

    level: Level
    check: str
    text: str
    remedy: str = ""
    exit_code: int = EdgeClassifyError.exit_code
    figures: Mapping[str, Any] = field(default_factory=dict)


def check_software(system: System) -> Iterator[Finding]:
    """Python, the machine's kind, the interpreter and OpenCV."""
    yield _check_python(system)
    yield _check_machine(system)
    yield _check_interpreter(system)
    yield _check_opencv()


def check_machine(system: System) -> Iterator[Finding]:
    """Cameras, power, heat, and room in memory and on the disk. What the machine does not have is left out."""
    yield from _check_cameras(system)
    yield from _check_power(system)
    yield from _check_temperature(system)
    yield from _check_governor(system)
    yield from _check_memory(system)
    yield _check_disk(system)


def _check_python(system: System) -> Finding:
    text = "{}.{}".format(*system.python)
    if _OLDEST_PYTHON <= system.python <= _NEWEST_PYTHON:
        return Finding("green", "python", text)
    return Finding("red", "python", f"{text}: 3.11 to 3.13 is needed", "take Raspberry Pi OS Bookworm or Trixie")


def _check_machine(system: System) -> Finding:
    name = system.model() or system.processor() or "unknown machine"
    cores = "1 core" if system.cores == 1 else f"{system.cores} cores"
    text = f"{name}, {system.machine}, {cores}, {system.word_bits} bits"
    if system.word_bits == 64:
        return Finding("green", "machine", text)
    wide = system.machine in ("aarch64", "x86_64")
    text += f"{' under a 64-bit kernel' if wide else ''}: LiteRT has no build for it"
    remedy = (
        "install the 64-bit Raspberry Pi OS"
        + ("" if wide else " (a Pi 3, a Zero 2 W, or newer)")
        + ", or tflite-runtime as docs/raspberry-pi.md says"
    )
    return Finding("yellow" if find_spec("tflite_runtime") else "red", "machine", text, remedy)


def _check_interpreter(system: System) -> Finding:
    from ..model.interpreter import BUILTIN_MODEL, convolutions_in_xnnpack, interpreter_package, load_interpreter

    install = f"{_PIP} --force-reinstall ai-edge-litert"
    if system.word_bits == 32:
        install = "as for the machine, above"

    try:
        package, version = interpreter_package()
        # Not by way of model_file, which needs OpenCV.
        interpreter = load_interpreter(BUILTIN_MODEL)
    except Exception as error:  # whatever a broken installation raises
        return Finding("red", "interpreter", f"does not work: {first_line(error)}", install)
    text = f"{package} {version or '(version not known)'}"
    counts = convolutions_in_xnnpack(interpreter)
    if counts is None:
        return Finding("yellow", "interpreter", f"{text}; it does not tell whether XNNPACK is in use")
    taken, convolutions = counts
    if taken == convolutions:
        return Finding("green", "interpreter", f"{text} with XNNPACK")
    if package == "ai-edge-litert":
        install = "XNNPACK reads /sys/devices/system/cpu: in a container, mount /sys"
    text += f", XNNPACK computes {taken} of {convolutions} convolutions of an int8 model: it is slower than it could be"
    return Finding("yellow", "interpreter", text, install)


def _check_opencv() -> Finding:
    try:
        import cv2

        registry = cv2.videoio_registry
        usable = [backend for backend in registry.getBackends() if registry.hasBackend(backend)]
        backends = list(dict.fromkeys(registry.getBackendName(backend) for backend in usable))
    except Exception as error:
        remedy = f"{_PIP} --force-reinstall opencv-python-headless (and uninstall opencv-python)"
        return Finding("red", "opencv", f"does not work: {first_line(error)}", remedy)
    text = f"{cv2.__version__}; video through {', '.join(backends)}"
    missing = {"V4L2": "USB cameras", "FFMPEG": "video files and network cameras"}
    lost = [what for name, what in missing.items() if name not in backends]
    if lost:
        return Finding(
            "yellow",
            "opencv",
            f"{text}: {' and '.join(lost)} do not open",
            f"{_PIP} --force-reinstall opencv-python-headless",
        )
    return Finding("green", "opencv", text)


def _check_cameras(system: System) -> Iterator[Finding]:
    holders = camera_holders(system)
    devices = video_devices(system)
    found = False
    for device in devices:
        if device.captures:
            found = True
            yield _check_video_device(system, device, holders.get(f"/dev/{device.path.name}", set()))
    for finding in _check_modules(system, holders):
        found = found or finding.text.startswith("csi:")
        yield finding
    if not found:
        text = f"no camera ({len(devices)} /dev/video* are codecs and the like)" if devices else "no camera"
        remedy = "plug in a USB camera (lsusb lists it)" + (", or a module" if system.is_raspberry_pi() else "")
        yield Finding("red", "camera", text, remedy, CameraError.exit_code)


def _check_video_device(system: System, camera: VideoDevice, users: set[str]) -> Finding:
    device = f"/dev/{camera.path.name}"
    group = system.group_of(camera.path)
    text = f"{device}, {camera.name or 'without a name'}"
    if not system.may_open(camera.path):
        remedy = "log out and in again"
        if system.user not in group.members:
            remedy = f"sudo usermod -aG {group.name} {system.user}, then log out and in again"
        text += f": {system.user} may not open it, root and the group {group.name} may"
        return Finding("red", "camera", text, remedy, CameraError.exit_code)
    if users:
        return _in_use("camera", text, users)
    return Finding("green", "camera", f"{text}: {system.user} may open it")


def _in_use(check: str, camera: str, users: set[str]) -> Finding:
    names = ", ".join(sorted(users))
    return Finding("yellow", check, f"{camera}: held by {names}", "stop that program if the camera does not open")


def _check_modules(system: System, holders: Mapping[str, set[str]]) -> Iterator[Finding]:
    """A Pi's camera modules."""
    try:
        modules = camera_modules(system)
    except OSError as error:
        yield Finding("yellow", "modules", str(error), "restart the Pi")
        return
    if modules is None:
        if system.is_raspberry_pi():
            text = "rpicam tools are not installed, only USB cameras work"
            yield Finding("green", "modules", text, "for a camera module: sudo apt install rpicam-apps-lite")
        return
    users = set[str]().union(*(names for device, names in holders.items() if device.startswith("/dev/media")))
    for number, sensor in modules:
        module = f"csi:{number}, {sensor}"
        yield _in_use("modules", module, users) if users else Finding("green", "modules", module)
    if not modules:
        remedy = "if there is one: its ribbon cable, and camera_auto_detect=1 in /boot/firmware/config.txt"
        yield Finding("green", "modules", "rpicam-vid finds no camera module", remedy)


def _check_power(system: System) -> Iterator[Finding]:
    bits = system.throttled_bits()
    if bits is None:
        if system.is_raspberry_pi():
            remedy = "sudo apt install raspi-utils; only root and the group video may ask it"
            yield Finding("yellow", "power", "vcgencmd does not tell undervoltage and throttling", remedy)
        elif is_throttled(system):
            yield Finding("yellow", "throttling", "the processor is held back for heat, now", _HEAT)
        return
    figures = {"get_throttled": bits}
    undervoltage, *slower = THROTTLING.items()
    states = [("now", bits), ("since boot, not now", bits >> 16)]
    for when, word in states:
        if word >> undervoltage[0] & 1:
            level: Level = "red" if when == "now" else "yellow"
            text = f"undervoltage {when}: it slows the Pi down, and may crash it"
            yield Finding(level, "power", text, _POWER, figures=figures)
            break
    else:
        yield Finding("green", "power", "no undervoltage since boot", figures=figures)
    for when, word in states:
        if names := [name for bit, name in slower if word >> bit & 1]:
            # Low voltage slows it down, too.
            remedy = _POWER if word >> undervoltage[0] & 1 else _HEAT
            yield Finding("yellow", "throttling", f"{', '.join(names)} {when}", remedy, figures=figures)
            break
    else:
        yield Finding("green", "throttling", "none since boot", figures=figures)


def _check_temperature(system: System) -> Iterator[Finding]:
    if (degrees := system.temperature()) is None:
        return
    text, figures = f"{degrees:.0f} °C", {"celsius": degrees}
    if degrees < 80:
        yield Finding("green", "temperature", text, figures=figures)
    else:
        yield Finding("yellow", "temperature", f"{text}: a Pi slows down from 80 °C", _HEAT, figures=figures)


def _check_governor(system: System) -> Iterator[Finding]:
    if (governor := system.governor()) is None:
        return
    # The drivers of PCs call powersave what moves between slow and fast all the same.
    driver = system.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver") or ""
    moves = driver.startswith(("intel_pstate", "amd-pstate"))
    if governor == "powersave" and not moves:
        yield Finding("yellow", "governor", "powersave: the processor stays at its slowest", _GOVERNOR)
    else:
        yield Finding("green", "governor", governor)


def _check_memory(system: System) -> Iterator[Finding]:
    if (memory := system.memory()) is None:
        return
    text = f"{memory.available // _MB} MB available of {memory.total // _MB} MB"
    remedy = "stop other programs, or run without a desktop"
    # edge-classify with a small model takes some 100 MB.
    level: Level = "green"
    if memory.available < 200 * _MB:
        level = "red" if memory.available < 80 * _MB else "yellow"
    yield Finding(level, "memory", text, "" if level == "green" else remedy)


def _check_disk(system: System) -> Finding:
    free = system.free_bytes(system.root) // _MB
    if free >= 200:
        return Finding("green", "disk", f"{free} MB free")
    return Finding("yellow", "disk", f"{free} MB free: updates and logs may fail", "sudo apt clean; df -h / tells more")
