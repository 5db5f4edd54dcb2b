"""The machine around the program: everything that is read from the system is read here.

A test makes a folder with the files of another machine in it, and a `System` that reads there.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# What the bits of the firmware's `get_throttled` mean; 16 higher, the same has happened since boot.
THROTTLING = {
    0: "undervoltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}

# A Pi's video devices that are steps of a pipeline (raw sensor data, scaler, codec) and not cameras to open.
_PIPELINE = ("unicam", "bcm2835-", "bcm2708-", "rp1-", "pispbe", "rpivid", "rpi-")

# What reads a Pi's camera modules: the name until 2024 last.
RPICAM_VID = ("rpicam-vid", "libcamera-vid")

# What makes quantized or float inference faster on one processor than on another of the same name.
_FEATURES = {
    *("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
}

# ARM's processors do not tell their name, only implementer and part (0x41 is ARM itself).
_ARM_PARTS = {
    0xC07: "Cortex-A7",
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD41: "Cortex-A78",
}

# Of Linux' videodev2.h: the request for a device's capabilities, and the bits for "gives pictures".
_QUERYCAP = 0x80685600
_QUERYCAP_BYTES = 104
_DEVICE_CAPABILITIES = slice(88, 92)
_CAPTURES = 0x1 | 0x1000


class VideoDevice(NamedTuple):
    """One of /dev/video*.

    captures: whether it gives pictures that OpenCV can read, and is no codec, scaler or metadata.
    port: where it is plugged in; stays when it comes back under another path.
    """

    path: Path
    name: str
    captures: bool
    port: str


class CameraModule(NamedTuple):
    """One of a Pi's camera modules. sensor: "imx708 [4608x2592 10-bit RGGB]"."""

    number: int
    sensor: str


class Group(NamedTuple):
    name: str
    members: set[str]


class ProcessorTime(NamedTuple):
    """Seconds of all cores together since boot: spent working, and taken from a virtual machine by its host."""

    busy: float
    stolen: float


class Memory(NamedTuple):
    """Total and available memory in bytes."""

    total: int
    available: int


def _may_open(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.geteuid())


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


@dataclass(frozen=True)
class System:
    """One machine. Without arguments, this one.

    root: where its /dev, /etc, /proc and /sys are.
    search_path: the folders of its programs, as in PATH.
    word_bits: 32 or 64, of the userland; the kernel's may be another.
    may_open: whether the user may read and write a device.
    """

    root: Path = Path("/")
    search_path: str = field(default_factory=lambda: os.environ.get("PATH", os.defpath))
    machine: str = field(default_factory=lambda: os.uname().machine)
    kernel: str = field(default_factory=lambda: os.uname().release)
    word_bits: int = 64 if sys.maxsize > 2**32 else 32
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    python: tuple[int, int] = sys.version_info[:2]
    user: str = field(default_factory=_user)
    may_open: Callable[[Path], bool] = _may_open
    free_bytes: Callable[[Path], int] = _free_bytes

    def read(self, path: str) -> str | None:
        """A small text file, stripped, or None where it cannot be read."""
        try:
            return (self.root / path).read_text("utf-8", "replace").strip("\0 \n")
        except OSError:
            return None

    def files(self, pattern: str) -> list[Path]:
        """What matches `pattern` below the root, its numbers in order."""
        return sorted(self.root.glob(pattern), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])

    def program(self, *names: str) -> str | None:
        """The path of the first of these programs that is installed."""
        return next((path for name in names if (path := shutil.which(name, path=self.search_path))), None)

    def run(self, program: str, *arguments: str, seconds: float) -> str:
        """What the program prints. Raises OSError; TimeoutError, which is one, after `seconds`."""
        import subprocess  # 5 ms of a start, where there may be nothing to run

        try:
            done = subprocess.run(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{program} did not answer within {seconds:g} s") from None
        return done.stdout.decode("utf-8", "replace")

    def model(self) -> str | None:
        """The board's name from its device tree: "Raspberry Pi 4 Model B Rev 1.4". None on a PC."""
        return self.read("proc/device-tree/model") or self.read("sys/firmware/devicetree/base/model")

    def is_raspberry_pi(self) -> bool:
        return (self.model() or "").startswith("Raspberry Pi")

    def processor(self) -> str | None:
        """The processor's name: "Cortex-A72", "AMD EPYC"."""
        text = self.read("proc/cpuinfo") or ""
        if named := re.search(r"^model name\s*: (.+)$", text, re.MULTILINE):
            return named[1]
        parts = {int(part, 16) for part in re.findall(r"^CPU part\s*: (0x[0-9a-f]+)$", text, re.MULTILINE)}
        if not parts or not re.search(r"^CPU implementer\s*: 0x41$", text, re.MULTILINE):
            return None
        return " + ".join(_ARM_PARTS.get(part, f"ARM part {part:#x}") for part in sorted(parts))

    def features(self) -> list[str]:
        """Those of the processor's instruction sets that decide how fast inference is, by the kernel's names."""
        found = re.search(r"^(?:flags|Features)\s*: (.+)$", self.read("proc/cpuinfo") or "", re.MULTILINE)
        return sorted(_FEATURES & set(found[1].split())) if found else []

    def governor(self) -> str | None:
        return self.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")

    def clocks_mhz(self) -> list[float]:
        """The clock now, for each group of cores that shares one; empty where there is no telling."""
        policies = self.files("sys/devices/system/cpu/cpufreq/policy*")
        texts = [self.read(str(policy / "scaling_cur_freq")) for policy in policies]
        if clocks := [int(text) / 1000 for text in texts if text and text.isdigit()]:
            return clocks
        cores = re.findall(r"^cpu MHz\s*: ([\d.]+)$", self.read("proc/cpuinfo") or "", re.MULTILINE)
        return [float(core) for core in cores]

    def processor_time(self) -> ProcessorTime | None:
        found = re.match(r"cpu +(.+)", self.read("proc/stat") or "")
        if found is None:
            return None
        ticks = os.sysconf("SC_CLK_TCK")
        user, nice, system, _idle, _waiting, interrupts, soft, stolen = (
            int(number) / ticks for number in found[1].split()[:8]
        )
        return ProcessorTime(user + nice + system + interrupts + soft, stolen)

    def peak_memory(self) -> int | None:
        """The most memory that this process has had, in bytes."""
        # Not getrusage: its figure lives on through exec, and may be that of the program that started this one.
        found = re.search(r"^VmHWM:\s+(\d+) kB$", self.read("proc/self/status") or "", re.MULTILINE)
        return int(found[1]) * 1024 if found else None

    def throttled_bits(self) -> int | None:
        """The firmware's `get_throttled` (see THROTTLING), or None where there is no telling.

        Without `vcgencmd`, or the right to ask with it, the kernel still tells undervoltage.
        """
        if program := self.program("vcgencmd"):
            try:
                answer = self.run(program, "get_throttled", seconds=2)
            except OSError:
                answer = ""
            if found := re.search(r"throttled=0x([0-9a-f]+)", answer):
                return int(found[1], 16)
        for folder in self.files("sys/class/hwmon/hwmon*"):
            if self.read(f"{folder}/name") == "rpi_volt":
                return int(self.read(f"{folder}/in0_lcrit_alarm") == "1")
        return None

    def temperature(self) -> float | None:
        """Of the hottest thermal zone, in °C."""
        zones = [self.read(str(zone / "temp")) for zone in self.files("sys/class/thermal/thermal_zone*")]
        return max((int(text) / 1000 for text in zones if text and text.lstrip("-").isdigit()), default=None)

    def memory(self) -> Memory | None:
        lines = dict(re.findall(r"^(\w+): +(\d+) kB$", self.read("proc/meminfo") or "", re.MULTILINE))
        if not {"MemTotal", "MemAvailable"} <= lines.keys():
            return None
        return Memory(int(lines["MemTotal"]) * 1024, int(lines["MemAvailable"]) * 1024)

    def group_of(self, path: Path) -> Group:
        """The group that a device belongs to, after /etc/group: members are so from their next login on."""
        number = path.stat().st_gid
        found = re.search(rf"^([^:]+):[^:]*:{number}:(.*)$", self.read("etc/group") or "", re.MULTILINE)
        return Group(found[1], set(found[2].split(","))) if found else Group(str(number), set())

    def video_devices(self) -> list[VideoDevice]:
        """All of /dev/video*, by number."""
        return [self._video_device(path) for path in self.files("dev/video[0-9]*")]

    def _video_device(self, path: Path) -> VideoDevice:
        sysfs = f"sys/class/video4linux/{path.name}"
        name = self.read(f"{sysfs}/name") or ""
        capabilities = _capabilities(path)
        if capabilities is not None:
            captures = bool(capabilities & _CAPTURES)
        else:  # we may not ask it; a webcam's first device is the camera, the others are its metadata
            captures = self.read(f"{sysfs}/index") in ("0", None)
        port = str((self.root / sysfs / "device").resolve())
        return VideoDevice(path, name, captures and not name.startswith(_PIPELINE), port)

    def camera_modules(self) -> list[CameraModule] | None:
        """A Pi's camera modules, as rpicam-vid lists them; None where it is not installed. Raises OSError."""
        program = self.program(*RPICAM_VID)
        if program is None:
            return None
        listing = self.run(program, "--list-cameras", seconds=10)
        found = re.findall(r"^\s*(\d+) : (\S+(?: \[[^\]]*\])?)", listing, re.MULTILINE)
        return [CameraModule(int(number), sensor) for number, sensor in found]

    def holders(self) -> dict[str, set[str]]:
        """Programs that have camera devices open: {"/dev/video0": {"motion (812)"}}, ours left out.

        Only root sees the programs of other users.
        """
        found: dict[str, set[str]] = {}
        for process, target in self._open_files():
            if re.fullmatch(r"/dev/(video|media)\d+", target) and process != str(os.getpid()):
                name = self.read(f"proc/{process}/comm") or "?"
                found.setdefault(target, set()).add(f"{name} ({process})")
        return found

    def _open_files(self) -> Iterator[tuple[str, str]]:
        for folder in self.files("proc/[0-9]*/fd"):
            try:
                links = list(folder.iterdir())
            except OSError:  # another user's, or gone meanwhile
                continue
            for link in links:
                try:
                    yield folder.parent.name, str(link.readlink())
                except OSError:
                    continue


def cache_folder() -> Path:
    """Where what can be computed again is kept: `$XDG_CACHE_HOME/edge-classify`, or below `~/.cache`."""
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a container's user without a home
        import tempfile  # 5 ms of a start

        root = Path(tempfile.gettempdir())
    return root / "edge-classify"


def is_throttled(system: System | None = None) -> bool:
    """Whether the machine now holds its processor back, for heat or for lack of power.

    On a Pi it starts a process, so ask every few seconds, not at every frame.
    """
    system = system or System()
    bits = system.throttled_bits()
    if bits is not None:
        return bool(bits & sum(1 << bit for bit in THROTTLING))
    cooling = system.files("sys/class/thermal/cooling_device*")
    return any(
        (system.read(f"{device}/type") or "").lower().startswith(("cpufreq", "thermal-cpufreq", "processor"))
        and system.read(f"{device}/cur_state") not in ("0", None)
        for device in cooling
    )


def _capabilities(path: Path) -> int | None:
    """What the device itself can do, in V4L2's bits; None where it is none, or may not be asked."""
    import fcntl  # not everywhere that pictures can be classified

    try:
        # Opening does not disturb a program that streams from it.
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        answer = fcntl.ioctl(descriptor, _QUERYCAP, bytes(_QUERYCAP_BYTES))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return int.from_bytes(answer[_DEVICE_CAPABILITIES], sys.byteorder)
