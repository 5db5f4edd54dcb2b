"""A child process of somebody else's making: it gets a time limit, and nothing of it or its children stays behind."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

log = logging.getLogger(__name__)

# Frames go first on a busy processor.
_NICENESS = 10
# After SIGTERM, until SIGKILL: for a child that is out of time, and when the program itself has to end.
_GRACE_S = 2.0
_GRACE_AT_END_S = 0.2
# How soon a request to stop is noticed, and that the child's own children have ended.
_TICK_S = 0.1
_KEPT_BYTES = 4096
# One that writes errors without end is read no faster than 32 MB a second: the processor is for the frames.
_READ_INTERVAL_S = 0.002


@dataclass(frozen=True)
class Ending:
    """How a child process and those that it had started ended.

    exit_code: the child's; -N if signal N ended it.
    ended_for: why it was ended from outside: "time" was up, or a "stop" was asked for. None: it ended by itself.
    last_line: the last line of its standard error that is not empty.
    """

    exit_code: int
    ended_for: Literal["time", "stop"] | None
    last_line: str


def run_child(
    words: Sequence[str],
    environment: Mapping[str, str | bytes],
    standard_input: bytes,
    time_limit: float,
    stop: threading.Event,
) -> Ending:
    """Run a command, and return when it has ended and so has all that it had started in its process group.

    words: the program and its arguments; no shell sees them.
    standard_input: what it can read, if it wants to. Its standard output is dropped, of its standard error the end is
        kept; neither can fill up, whatever it writes.
    time_limit: in seconds. What runs then gets SIGTERM, and 2 s later SIGKILL.
    stop: set it to end the child early, in the same way within 0.2 s.

    Raises OSError if the command cannot be started.
    """
    process = _start(words, environment, standard_input)
    assert process.stderr is not None
    with process.stderr as errors, _Watch(process, errors) as watch:
        ended_for: Literal["time", "stop"] | None = None
        deadline, killed = time.monotonic() + time_limit, False
        while _runs(process):
            now = time.monotonic()
            if ended_for != "stop" and stop.is_set():
                ended_for, deadline = "stop", now + _GRACE_AT_END_S
                _signal(process, signal.SIGTERM)
            elif now >= deadline and ended_for is None:
                ended_for, deadline = "time", now + _GRACE_S
                _signal(process, signal.SIGTERM)
            elif now >= deadline:
                if killed:
                    log.warning("%s cannot be ended, and no other is started until it has", words[0])
                killed, deadline = True, now + 60
                _signal(process, signal.SIGKILL)
            watch.wait(min(_TICK_S, max(0.0, deadline - now)))
        return Ending(process.returncode, ended_for, watch.last_line())


def _start(
    words: Sequence[str], environment: Mapping[str, str | bytes], standard_input: bytes
) -> subprocess.Popen[bytes]:
    # A file in memory: unlike a pipe, it can neither fill up nor break if the child does not read it.
    with os.fdopen(os.memfd_create("standard input"), "w+b", buffering=0) as given:
        given.write(standard_input)
        given.seek(0)
        process = subprocess.Popen(
            words,
            env=environment,
            stdin=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            # A group of its own: all of it can be ended, and the terminal's Ctrl-C is for us.
            start_new_session=True,
        )
    with suppress(OSError):  # it may run as another user, or have ended
        os.setpriority(os.PRIO_PGRP, process.pid, _NICENESS)
    return process


def _runs(process: subprocess.Popen[bytes]) -> bool:
    """Whether it, or anything that it has started in its group, still runs."""
    if process.poll() is None:
        return True
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # as another user
        return True
    # What has ended stays in its group until the system's first process has taken note, which in a container may be
    # late or never.
    return any(state != "Z" for state in _states_in(process.pid))


def _states_in(group: int) -> Iterator[str]:
    """The state of each process in a group, as /proc/PID/stat has it: Z for one that has ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has gone meanwhile
            # Behind the program's name, which may hold anything: the state, the parent, the group.
            state, _, found, *_ = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(found) == group:
                yield state


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


class _Watch:
    """Waits for a process to end, and meanwhile empties its standard error, of which it keeps the end."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._errors = errors.fileno()
        os.set_blocking(self._errors, False)
        self._process = os.pidfd_open(process.pid)
        self._poll = select.poll()
        for descriptor in (self._errors, self._process):
            self._poll.register(descriptor, select.POLLIN)
        self._kept = b""

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._process)

    def wait(self, seconds: float) -> None:
        """Until something happens, at most so long."""
        ready = dict(self._poll.poll(seconds * 1e3))
        if self._process in ready:
            self._poll.unregister(self._process)
        if self._errors in ready:
            if not self._read():
                self._poll.unregister(self._errors)
            time.sleep(_READ_INTERVAL_S)

    def last_line(self) -> str:
        # What was written just before the end; one that has left the group may go on writing for ever.
        for _ in range(16):
            if not self._read():
                break
        lines = self._kept.decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _read(self) -> bool:
        """Whether there was anything to read."""
        try:
            data = os.read(self._errors, 65536)
        except BlockingIOError:
            return False
        self._kept = (self._kept + data)[-_KEPT_BYTES:]
        return bool(data)
