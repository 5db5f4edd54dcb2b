"""The machine that the program runs on: processor, heat, power, memory, devices' owners, processes.

Everything is read through a `System`. A test plays another machine with a folder of its files, and a `System` that
reads there.
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

# The bits of the firmware's `get_throttled`: so it is now. 16 bits higher: so it has been since boot.
THROTTLING = {
    0: "undervoltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}

# Instruction sets that make inference faster on one processor than on another of the same name: x86, then ARM.
_FEATURES = {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"}
_FEATURES |= {"asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"}

# ARM processors report no name, only implementer and part number (0x41 is ARM itself).
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


class Group(NamedTuple):
    name: str
    members: set[str]


class ProcessorTime(NamedTuple):
    """Seconds of all cores together since boot: spent working, and stolen from a virtual machine by its host."""

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
    """One machine; without arguments, this one.

    root: the folder of its /dev, /etc, /proc and /sys.
    search_path: the folders of its programs, as in PATH.
    word_bits: 32 or 64, of the userland; the kernel may differ.
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
        """The text of a small file, stripped; None if it cannot be read."""
        try:
            return (self.root / path).read_text("utf-8", "replace").strip("\0 \n")
        except OSError:
            return None

    def files(self, pattern: str) -> list[Path]:
        """The files and folders that match the glob pattern below the root, sorted by the numbers in their names."""
        return sorted(self.root.glob(pattern), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])

    def program(self, *names: str) -> str | None:
        """The path of the first of these programs that is installed; None if none is."""
        return next((path for name in names if (path := shutil.which(name, path=self.search_path))), None)

    def run(self, program: str, *arguments: str, seconds: float) -> str:
        """The program's output and errors as text. Raises OSError; its subclass TimeoutError after `seconds`."""
        import subprocess  # takes 5 ms, and most starts run no program

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
        """The board's name in its device tree, such as "Raspberry Pi 4 Model B Rev 1.4"; None on a PC."""
        return self.read("proc/device-tree/model") or self.read("sys/firmware/devicetree/base/model")

    def is_raspberry_pi(self) -> bool:
        return (self.model() or "").startswith("Raspberry Pi")

    def processor(self) -> str | None:
        """The processor's name, such as "Cortex-A72" or "AMD EPYC"; None if unknown."""
        text = self.read("proc/cpuinfo") or ""
        if named := re.search(r"^model name\s*: (.+)$", text, re.MULTILINE):
            return named[1]
        parts = {int(part, 16) for part in re.findall(r"^CPU part\s*: (0x[0-9a-f]+)$", text, re.MULTILINE)}
        if not parts or not re.search(r"^CPU implementer\s*: 0x41$", text, re.MULTILINE):
            return None
        return " + ".join(_ARM_PARTS.get(part, f"ARM part {part:#x}") for part in sorted(parts))

    def features(self) -> list[str]:
        """The processor's instruction sets that matter for inference speed, by the kernel's names."""
        found = re.search(r"^(?:flags|Features)\s*: (.+)$", self.read("proc/cpuinfo") or "", re.MULTILINE)
        return sorted(_FEATURES & set(found[1].split())) if found else []

    def governor(self) -> str | None:
        return self.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")

    def clocks_mhz(self) -> list[float]:
        """The present clock rate of each group of cores that share one; empty if unknown."""
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
        """The largest amount of memory that this process has used, in bytes; None if unknown."""
        # Not getrusage: its figure survives exec, and may be that of the program that started this one.
        found = re.search(r"^VmHWM:\s+(\d+) kB$", self.read("proc/self/status") or "", re.MULTILINE)
        return int(found[1]) * 1024 if found else None

    def throttled_bits(self) -> int | None:
        """The firmware's `get_throttled` (see THROTTLING); None if unknown.

        Without `vcgencmd`, or the permission to use it, the kernel still reports undervoltage.
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
        """The temperature of the hottest thermal zone in °C; None if there is none."""
        zones = [self.read(str(zone / "temp")) for zone in self.files("sys/class/thermal/thermal_zone*")]
        return max((int(text) / 1000 for text in zones if text and text.lstrip("-").isdigit()), default=None)

    def memory(self) -> Memory | None:
        lines = dict(re.findall(r"^(\w+): +(\d+) kB$", self.read("proc/meminfo") or "", re.MULTILINE))
        if not {"MemTotal", "MemAvailable"} <= lines.keys():
            return None
        return Memory(int(lines["MemTotal"]) * 1024, int(lines["MemAvailable"]) * 1024)

    def group_of(self, path: Path) -> Group:
        """The group that owns a device, and its members in /etc/group (from their next login on)."""
        number = path.stat().st_gid
        found = re.search(rf"^([^:]+):[^:]*:{number}:(.*)$", self.read("etc/group") or "", re.MULTILINE)
        return Group(found[1], set(found[2].split(","))) if found else Group(str(number), set())

    def open_files(self) -> Iterator[tuple[int, str]]:
        """Each (process id, path) of a file that a process has open; without root, only of the user's own processes."""
        for folder in self.files("proc/[0-9]*/fd"):
            try:
                links = list(folder.iterdir())
            except OSError:  # another user's process, or it has ended
                continue
            for link in links:
                try:
                    yield int(folder.parent.name), str(link.readlink())
                except OSError:
                    continue


def cache_folder() -> Path:
    """The folder for what can be computed again: `$XDG_CACHE_HOME/edge-classify`, or `~/.cache/edge-classify`."""
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a container's user without a home
        import tempfile  # takes 5 ms

        root = Path(tempfile.gettempdir())
    return root / "edge-classify"


def is_throttled(system: System | None = None) -> bool:
    """Whether the processor is now slowed down because of heat or insufficient power.

    Starts a process on a Pi: call it every few seconds, not for every frame.
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
