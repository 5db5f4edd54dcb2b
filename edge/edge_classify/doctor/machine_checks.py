"""Checks of the machine: software, cameras, power, heat, memory and disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from ..config.settings import is_local_camera
from ..errors import CameraError, first_line
from ..sources.discovery import VideoDevice, camera_holders, camera_modules, video_devices
from ..sources.network import without_password
from ..system.counted import counted
from ..system.machine import THROTTLING, System, is_throttled
from ..system.packages import install_command
from .finding import Finding, Level

_OLDEST_PYTHON = (3, 11)
_NEWEST_PYTHON = (3, 13)
_MB = 2**20
# A Pi's firmware slows its processor from here on.
_HOT_CELSIUS = 80
# edge-classify with a small model takes some 100 MB.
_ENOUGH_MEMORY_MB = 200
_MIN_MEMORY_MB = 80
_ENOUGH_DISK_MB = 200

_USE_PERFORMANCE = "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
_FIX_POWER = "use the official power supply and a short, thick cable; put USB devices on a powered hub"
_FIX_HEAT = "add a heat sink or a fan, or improve airflow"


def check_software(system: System) -> Iterator[Finding]:
    """Check Python, the kind of machine, the interpreter and OpenCV."""
    yield _check_python(system)
    yield _check_machine(system)
    yield _check_interpreter(system)
    yield _check_opencv()


def check_machine(system: System, source: str = "0") -> Iterator[Finding]:
    """Check cameras, power, heat, memory and disk. What the machine does not have is left out.

    source: what edge-classify is to read, as `open_source` takes it.
    """
    yield from _check_cameras(system, source)
    yield from _check_power(system)
    yield from _check_temperature(system)
    yield from _check_governor(system)
    yield from _check_memory(system)
    yield _check_disk(system)


def _check_python(system: System) -> Finding:
    major, minor = system.python
    text = f"{major}.{minor}"
    if _OLDEST_PYTHON <= system.python <= _NEWEST_PYTHON:
        return Finding("green", "python", text)
    return Finding("red", "python", f"{text}: expected 3.11 to 3.13", "install Raspberry Pi OS Bookworm or Trixie")


def _check_machine(system: System) -> Finding:
    name = system.model() or system.processor() or "unknown machine"
    cores = counted(system.cores, "core")
    text = f"{name}, {system.machine}, {cores}, {system.word_bits} bits"
    if system.word_bits == 64:
        return Finding("green", "machine", text)
    level: Level = "yellow" if find_spec("tflite_runtime") else "red"
    if system.machine in ("aarch64", "x86_64"):
        text += " under a 64-bit kernel"
        remedy = "install the 64-bit Raspberry Pi OS, or tflite-runtime (see docs/raspberry-pi.md)"
    else:
        remedy = (
            "install the 64-bit Raspberry Pi OS (on a Pi 3, Zero 2 W or newer), or tflite-runtime "
            "(see docs/raspberry-pi.md)"
        )
    return Finding(level, "machine", f"{text}: LiteRT has no 32-bit build", remedy)


def _check_interpreter(system: System) -> Finding:
    from ..model.interpreter import BUILTIN_MODEL, convolutions_in_xnnpack, interpreter_package, load_interpreter

    remedy = install_command("--force-reinstall", "ai-edge-litert")
    if system.word_bits == 32:
        remedy = "see the machine's line above"
    try:
        package, version = interpreter_package()
        # Not by way of model_file, which needs OpenCV.
        interpreter = load_interpreter(BUILTIN_MODEL)
    except Exception as error:  # whatever a broken installation raises
        return Finding("red", "interpreter", f"does not work: {first_line(error)}", remedy)
    text = f"{package} {version or '(unknown version)'}"
    counts = convolutions_in_xnnpack(interpreter)
    if counts is None:
        return Finding("yellow", "interpreter", f"{text}; it does not report whether XNNPACK is in use")
    delegated, convolutions = counts
    if delegated == convolutions:
        return Finding("green", "interpreter", f"{text} with XNNPACK")
    if package == "ai-edge-litert":
        remedy = "XNNPACK reads /sys/devices/system/cpu: in a container, mount /sys"
    text += f", XNNPACK runs only {delegated} of {convolutions} convolutions of an int8 model: inference is slow"
    return Finding("yellow", "interpreter", text, remedy)


def _check_opencv() -> Finding:
    reinstall = install_command("--force-reinstall", "opencv-python-headless")
    try:
        import cv2

        registry = cv2.videoio_registry
        usable = [backend for backend in registry.getBackends() if registry.hasBackend(backend)]
        backends = list(dict.fromkeys(registry.getBackendName(backend) for backend in usable))
    except Exception as error:
        remedy = f"uninstall opencv-python if it is there, then {reinstall}"
        return Finding("red", "opencv", f"does not work: {first_line(error)}", remedy)
    text = f"{cv2.__version__}; video through {', '.join(backends)}"
    uses = {"V4L2": "USB cameras", "FFMPEG": "video files and network cameras"}
    if missing := [use for name, use in uses.items() if name not in backends]:
        return Finding("yellow", "opencv", f"{text}: {' and '.join(missing)} do not open", reinstall)
    return Finding("green", "opencv", text)


def _check_cameras(system: System, source: str) -> Iterator[Finding]:
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
        text = "no camera found"
        if devices:
            text += f" ({len(devices)} /dev/video* devices are codecs and the like)"
        if not is_local_camera(source):
            text += f"; the configuration has {without_password(source)}, which needs none"
            yield Finding("green", "camera", text)
            return
        remedy = "plug in a USB camera (lsusb should list it)"
        if system.is_raspberry_pi():
            remedy += " or connect a camera module"
        yield Finding("red", "camera", text, remedy, CameraError.exit_code)


def _check_video_device(system: System, camera: VideoDevice, users: set[str]) -> Finding:
    device = f"/dev/{camera.path.name}"
    group = system.group_of(camera.path)
    text = f"{device}, {camera.name or 'unnamed'}"
    if not system.may_open(camera.path):
        remedy = "log out and in again"
        if system.user not in group.members:
            remedy = f"sudo usermod -aG {group.name} {system.user}, then log out and in again"
        text += f": user {system.user} has no permission (allowed: root, group {group.name})"
        return Finding("red", "camera", text, remedy, CameraError.exit_code)
    if users:
        return _in_use("camera", text, users)
    return Finding("green", "camera", f"{text}: user {system.user} can open it")


def _in_use(check: str, camera: str, users: set[str]) -> Finding:
    names = ", ".join(sorted(users))
    return Finding("yellow", check, f"{camera}: in use by {names}", "stop that program if the camera does not open")


def _check_modules(system: System, holders: Mapping[str, set[str]]) -> Iterator[Finding]:
    """Check a Pi's camera modules."""
    try:
        modules = camera_modules(system)
    except OSError as error:
        yield Finding("yellow", "modules", str(error), "restart the Pi")
        return
    if modules is None:
        if system.is_raspberry_pi():
            text = "rpicam-vid is not installed: only USB cameras work"
            yield Finding("green", "modules", text, "to use a camera module: sudo apt install rpicam-apps-lite")
        return
    users = set[str]().union(*(names for device, names in holders.items() if device.startswith("/dev/media")))
    for number, sensor in modules:
        module = f"csi:{number}, {sensor}"
        yield _in_use("modules", module, users) if users else Finding("green", "modules", module)
    if not modules:
        remedy = (
            "if one is connected: reseat its ribbon cable and put camera_auto_detect=1 into /boot/firmware/config.txt"
        )
        yield Finding("green", "modules", "rpicam-vid finds no camera module", remedy)


def _check_power(system: System) -> Iterator[Finding]:
    bits = system.throttled_bits()
    if bits is None:
        if system.is_raspberry_pi():
            text = "cannot read undervoltage and throttling from vcgencmd"
            remedy = "sudo apt install raspi-utils; the user must be root or in the group video"
            yield Finding("yellow", "power", text, remedy)
        elif is_throttled(system):
            yield Finding("yellow", "throttling", "the processor is slowed down by heat now", _FIX_HEAT)
        return
    figures = {"get_throttled": bits}
    undervoltage, *slower = THROTTLING.items()
    states = [("now", bits), ("since boot, but not now", bits >> 16)]
    for when, state in states:
        if state >> undervoltage[0] & 1:
            level: Level = "red" if when == "now" else "yellow"
            text = f"undervoltage {when}: it slows the Pi down and may crash it"
            yield Finding(level, "power", text, _FIX_POWER, figures=figures)
            break
    else:
        yield Finding("green", "power", "no undervoltage since boot", figures=figures)
    for when, state in states:
        if names := [name for bit, name in slower if state >> bit & 1]:
            # Low voltage slows it down, too.
            remedy = _FIX_POWER if state >> undervoltage[0] & 1 else _FIX_HEAT
            yield Finding("yellow", "throttling", f"{', '.join(names)} {when}", remedy, figures=figures)
            break
    else:
        yield Finding("green", "throttling", "none since boot", figures=figures)


def _check_temperature(system: System) -> Iterator[Finding]:
    if (degrees := system.temperature()) is None:
        return
    text, figures = f"{degrees:.0f} °C", {"celsius": degrees}
    if degrees < _HOT_CELSIUS:
        yield Finding("green", "temperature", text, figures=figures)
    else:
        text += f": a Pi slows down above {_HOT_CELSIUS} °C"
        yield Finding("yellow", "temperature", text, _FIX_HEAT, figures=figures)


def _check_governor(system: System) -> Iterator[Finding]:
    if (governor := system.governor()) is None:
        return
    # With the drivers of PCs, powersave still scales the clock.
    driver = system.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver") or ""
    scales = driver.startswith(("intel_pstate", "amd-pstate"))
    if governor == "powersave" and not scales:
        text = "powersave: the processor stays at its lowest clock"
        yield Finding("yellow", "governor", text, _USE_PERFORMANCE)
    else:
        yield Finding("green", "governor", governor)


def _check_memory(system: System) -> Iterator[Finding]:
    if (memory := system.memory()) is None:
        return
    available = memory.available // _MB
    text = f"{available} MB available of {memory.total // _MB} MB"
    if available >= _ENOUGH_MEMORY_MB:
        yield Finding("green", "memory", text)
    else:
        level: Level = "yellow" if available >= _MIN_MEMORY_MB else "red"
        yield Finding(level, "memory", text, "stop other programs, or run without a desktop")


def _check_disk(system: System) -> Finding:
    free = system.free_bytes(system.root) // _MB
    if free >= _ENOUGH_DISK_MB:
        return Finding("green", "disk", f"{free} MB free")
    return Finding("yellow", "disk", f"{free} MB free: updates and logs may fail", "sudo apt clean; df -h / shows more")
