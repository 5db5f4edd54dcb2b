"""What a measurement depends on besides the model file, and how it changes while measuring."""

from __future__ import annotations

import os
import platform
from time import monotonic
from typing import Any

import cv2
import numpy as np

from .. import __version__
from ..model.interpreter import interpreter_package
from ..system.machine import ProcessorTime, System, is_throttled
from .result import Environment, MachineState, WatchRecord

# In `throttled_bits` the bits from here on say what has happened since boot, those below what happens now.
_SINCE_BOOT_SHIFT = 16


def describe(system: System) -> Environment:
    """The machine and the software on it."""
    package, version = interpreter_package()
    memory = system.memory()
    return {
        "device": system.model(),
        "processor": system.processor(),
        "features": system.features(),
        "machine": system.machine,
        "cores": system.cores,
        "word_bits": system.word_bits,
        "memory_mb": memory.total // 2**20 if memory else None,
        "kernel": system.kernel,
        "governor": system.governor(),
        "interpreter": package,
        "interpreter_version": version,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "edge_classify": __version__,
    }


def identity(environment: Environment) -> dict[str, Any]:
    """The part that makes it another device or another runtime, whose times would be different."""
    return {
        "device": environment["device"],
        "processor": environment["processor"],
        "features": environment["features"],
        "machine": environment["machine"],
        "cores": environment["cores"],
        "word_bits": environment["word_bits"],
        "interpreter": environment["interpreter"],
        "interpreter_version": environment["interpreter_version"],
    }


class Watch:
    """Records the machine's state during a measurement, and how much of it other programs use meanwhile."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._started = monotonic()
        self._processor_time = system.processor_time()
        self._own_time = _own_processor_time()
        self._states = [self._state("before")]

    def record(self) -> MachineState:
        """Record the state now, and return it."""
        state = self._state("during")
        self._states.append(state)
        return state

    def finish(self) -> WatchRecord:
        """Record the last state; returns the whole record."""
        self._states.append(self._state("after"))
        seconds = max(monotonic() - self._started, 1e-9)
        others, stolen = self._used_by_others(seconds)
        return {
            "seconds": round(seconds, 1),
            "states": self._states,
            "throttled": any(state["throttled"] for state in self._states) or self._throttled_between(),
            "others": others,
            "stolen": stolen,
        }

    def _throttled_between(self) -> bool:
        before, after = ((state["throttled_bits"] or 0) for state in (self._states[0], self._states[-1]))
        return bool((after & ~before) >> _SINCE_BOOT_SHIFT)

    def _used_by_others(self, seconds: float) -> tuple[float, float] | tuple[None, None]:
        before: ProcessorTime | None = self._processor_time
        after = self._system.processor_time()
        if before is None or after is None:
            return None, None
        others = after.busy - before.busy - (_own_processor_time() - self._own_time)
        return round(max(0.0, others) / seconds, 2), round((after.stolen - before.stolen) / seconds, 2)

    def _state(self, when: str) -> MachineState:
        clocks = self._system.clocks_mhz()
        celsius = self._system.temperature()
        return {
            "when": when,
            "seconds": round(monotonic() - self._started, 1),
            "clock_mhz": round(max(clocks)) if clocks else None,
            "celsius": None if celsius is None else round(celsius, 1),
            "throttled": is_throttled(self._system),
            "throttled_bits": self._system.throttled_bits(),
        }


def _own_processor_time() -> float:
    """Seconds of this process, and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
