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
from ..system.machine import System, is_throttled


def describe(system: System) -> dict[str, Any]:
    """The machine and the software on it, ready for JSON; what there is no telling of is None."""
    package, version = interpreter_package()
    memory = system.memory()
    return {
        "device": system.model(),
        "processor": system.processor(),
        "features": system.features(),
        "machine": system.machine,
        "cores": system.cores,
        "word_bits": system.word_bits,
        "memory_mb": memory and memory.total // 2**20,
        "kernel": system.kernel,
        "governor": system.governor(),
        "interpreter": package,
        "interpreter_version": version,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "edge_classify": __version__,
    }


def identity(environment: dict[str, Any]) -> dict[str, Any]:
    """What makes another device of it, or another runtime: times of one say nothing certain of the other."""
    keys = ("device", "processor", "features", "machine", "cores", "word_bits", "interpreter", "interpreter_version")
    return {key: environment[key] for key in keys}


class Watch:
    """Takes down the machine's state while something is measured, and what other programs take of it meanwhile."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._began = monotonic()
        self._busy = system.processor_time()
        self._own = _own_seconds()
        self.states = [self._state("before")]

    def during(self) -> dict[str, Any]:
        """Take down the state now, and return it."""
        self.states.append(self._state("during"))
        return self.states[-1]

    def finish(self) -> dict[str, Any]:
        """The record, ready for JSON.

        states: of before, during and after. throttled: whether any of them was so, or the firmware says that it was
        so since. others, stolen: how many cores other programs, and a virtual machine's host, took on average.
        """
        self.states.append(self._state("after"))
        bits = [state["throttled_bits"] or 0 for state in (self.states[0], self.states[-1])]
        seconds = max(monotonic() - self._began, 1e-9)
        record: dict[str, Any] = {
            "seconds": round(seconds, 1),
            "states": self.states,
            # The upper half of the word is what has happened since boot.
            "throttled": any(state["throttled"] for state in self.states) or bool(bits[1] >> 16 & ~(bits[0] >> 16)),
            "others": None,
            "stolen": None,
        }
        now = self._system.processor_time()
        if self._busy and now:
            others = now.busy - self._busy.busy - (_own_seconds() - self._own)
            record["others"] = round(max(0.0, others) / seconds, 2)
            record["stolen"] = round((now.stolen - self._busy.stolen) / seconds, 2)
        return record

    def _state(self, when: str) -> dict[str, Any]:
        clocks = self._system.clocks_mhz()
        degrees = self._system.temperature()
        return {
            "when": when,
            "seconds": round(monotonic() - self._began, 1),
            "clock_mhz": round(max(clocks)) if clocks else None,
            "celsius": None if degrees is None else round(degrees, 1),
            "throttled": is_throttled(self._system),
            "throttled_bits": self._system.throttled_bits(),
        }


def _own_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
