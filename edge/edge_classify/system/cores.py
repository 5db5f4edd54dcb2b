"""How many cores this process may keep busy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def usable_cores(root: Path = Path("/"), affinity: int | None = None) -> int:
    """The cores that this process may run on, within the quotas of its cgroups; at least 1.

    root: the folder of the machine's /proc and /sys. affinity: how many cores taskset or a unit's CPUAffinity= leave
    to it; None asks the kernel.

    A quota is rounded down: a thread beyond it would stand still for a part of every tenth of a second.
    """
    if affinity is None:
        affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in _cgroups(root) if (quota := _quota(group)) is not None]
    return max(1, int(min([affinity, *quotas])))


def _cgroups(root: Path) -> Iterator[Path]:
    """The process' cgroups that may limit its processor time, and all above them."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # A container sees its own group as the root, whatever the path says.
        group = Path(path.strip("/"))
        for part in (group, *group.parents) if group.parts else (group,):
            yield root / "sys/fs/cgroup" / controllers / part


def _quota(cgroup: Path) -> float | None:
    """How many cores' time it may use (systemd's CPUQuota=, Docker's --cpus); None if it is not limited."""
    words = _read(cgroup / "cpu.max").split()
    if not words:  # version 1
        words = [_read(cgroup / f"cpu.cfs_{what}_us").strip() for what in ("quota", "period")]
    if len(words) != 2 or not all(word.isdigit() for word in words) or not int(words[1]):
        return None
    return int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
