"""A command that runs at each change of state."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import DataError, UsageError
from ..options import duration, only_in_help_all
from .queue import BoundedQueue
from .rare_warnings import RareWarnings

if TYPE_CHECKING:
    import argparse

    from ..pipeline.loop import Result
    from ..system.child_process import Ending
    from .destinations import Destinations

TABLE = "hooks"

_TIME_LIMIT_S = 10.0
# Between two commands, so that states that flicker do not keep a small processor busy with starting them.
_REST_S = 0.25
# When the program ends, what runs and waits has so long; then it is ended.
_MOMENT_S = 0.4
_ENDING_S = 0.5
# Our own settings, which would reach an edge-classify that the command starts, and secrets of this service.
_OUR_PREFIX = "EDGE_CLASSIFY_"
_NOT_PASSED_ON = ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
# Words that only a shell understands.
_FOR_A_SHELL = ("|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1")
_WHY_NOT_STARTED = {
    errno.ENOENT: "its first line (#!) names a program that is not here, or ends as on Windows (fix: dos2unix)",
    errno.ENOEXEC: "it is no program, and has no first line such as #!/bin/sh",
    errno.EACCES: "it may not be executed: chmod +x",
    errno.E2BIG: "the label is too long for a command",
}
_SHOWN_LETTERS = 200


@dataclass
class _Waiting:
    """A change that waits for its turn, and how many of the same model it has replaced."""

    event: dict[str, Any]
    skipped: int = 0


class CommandHook:
    """Runs a command at each change of state: see docs/hooks.md. A context manager.

        with CommandHook("/usr/local/bin/ring --once", live=True) as hook:
            for result in classify_frames(open_source(0), classifier, Decision(classifier.labels)):
                hook.append(result)

    command: split into words as a shell does, but not given to one; or the words.
    shell: give `command` to /bin/sh.
    time_limit: in seconds; what runs longer is ended.
    live: while the command runs, a newer change of the same model replaces the one that waits, so the last state always
        arrives. Otherwise each change waits its turn.
    destinations: of the command's run; programs of your own leave it out.

    Raises UsageError for a command that cannot be understood, DataError for one that cannot be found.
    """

    gone = False

    def __init__(
        self,
        command: str | Sequence[str],
        *,
        shell: bool = False,
        time_limit: float = _TIME_LIMIT_S,
        live: bool = False,
        destinations: Destinations | None = None,
    ) -> None:
        self._words = find_command(command, shell=shell)
        self._name = f"hook {_shown(command if isinstance(command, str) else shlex.join(command))}"
        self._time_limit = time_limit
        self._environment = _passed_on(os.environ)
        self._warnings = RareWarnings()
        self._lock = threading.Lock()
        self._waiting: dict[str, _Waiting] = {}
        self._stop = threading.Event()
        self._rested_at = 0.0
        self._counts = {"changes skipped while the hook ran": 0, "hooks failed": 0, "changes not given to the hook": 0}
        self._queue: BoundedQueue[_Waiting]
        if destinations is None:
            self._queue = BoundedQueue(self._take, self._name, live=live)
        else:
            self._queue = destinations.queue(self._take, self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Let the last changes have their turn; soon end what runs if `live`, or after an error."""
        try:
            self._queue.drain(_MOMENT_S if self._queue.live or error is not None else None)
        finally:
            self._stop.set()
            self._queue.drain(_ENDING_S)
            self._queue.close()

    def append(self, result: Result) -> None:
        event = result.event()
        if event is None:
            return
        waiting = _Waiting(event)
        with self._lock:
            before = self._waiting.get(result.model)
            if before is not None and self._queue.live:
                before.event, before.skipped = event, before.skipped + 1
                self._counts["changes skipped while the hook ran"] += 1
                return
            self._waiting[result.model] = waiting
        self._queue.put(waiting)

    def counts(self) -> dict[str, int]:
        """What the summary reports, if it is not 0."""
        counts = dict(self._counts)
        counts["changes not given to the hook"] += self._queue.dropped
        return counts

    def _take(self, waiting: _Waiting) -> None:
        if self._queue.live:
            self._stop.wait(self._rested_at - time.monotonic())
        with self._lock:
            event, skipped = waiting.event, waiting.skipped
            if self._waiting.get(event["model"]) is waiting:
                del self._waiting[event["model"]]
        if self._stop.is_set():
            self._counts["changes not given to the hook"] += 1
            return
        self._run(event, skipped)
        self._rested_at = time.monotonic() + _REST_S

    def _run(self, event: Mapping[str, Any], skipped: int) -> None:
        from ..system.child_process import run_child  # here, in the queue's own thread: subprocess takes 10 ms

        environment: dict[str, str | bytes] = {**self._environment, **_describe(event, skipped)}
        text = json.dumps(event, ensure_ascii=False) + "\n"
        try:
            ending = run_child(
                self._words, environment, text.encode("utf-8", "backslashreplace"), self._time_limit, self._stop
            )
        except OSError as error:
            self._fail(error.errno, _why_not_started(error))
            return
        if problem := self._explain(ending):
            self._fail((ending.ended_for, ending.exit_code), problem)

    def _fail(self, kind: object, problem: str) -> None:
        self._counts["hooks failed"] += 1
        self._warnings.warn(kind, f"{self._name}: {problem}")

    def _explain(self, ending: Ending) -> str | None:
        """What went wrong, in one line."""
        said = f": {_shown(ending.last_line)}" if ending.last_line else ""
        if ending.ended_for == "time":
            return (
                f"was still running after {self._time_limit:g} s and was ended; --on-change-timeout gives it more{said}"
            )
        if ending.ended_for == "stop":
            return f"was ended with edge-classify{said}"
        if ending.exit_code > 0:
            return f"exit code {ending.exit_code}{said}"
        if ending.exit_code < 0:
            return f"ended by {_signal_name(-ending.exit_code)}{said}"
        return None


def find_command(command: str | Sequence[str], *, shell: bool) -> list[str]:
    """The words to start, the first of them the path of a program. Raises UsageError or DataError, in one line."""
    if not command or (isinstance(command, str) and not command.strip()):
        raise UsageError("--on-change: expected a command, found nothing")
    if any("\0" in word for word in command):
        raise UsageError("--on-change: a command holds no NUL")
    if shell:
        return ["/bin/sh", "-c", command if isinstance(command, str) else shlex.join(command)]
    try:
        words = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as error:
        raise UsageError(f"--on-change {command}: {error}") from None
    shown = _shown(words[0])
    # `sh -c` has a shell of its own.
    wanted = [word for word in words if word in _FOR_A_SHELL or ("$EVENT_" in word and "-c" not in words)]
    if wanted:
        raise UsageError(f"--on-change: {_shown(wanted[0])!r} needs a shell: add --on-change-shell")
    found = shutil.which(words[0])
    if found is not None:
        return [str(Path(found).absolute()), *words[1:]]
    path = Path(words[0])
    if "/" not in words[0]:
        raise DataError(f"--on-change {shown}: there is no such program: install it, or give its full path")
    if path.is_dir():
        raise DataError(f"--on-change {shown}: this is a folder: give the path of a program")
    if not path.exists():
        raise DataError(f"--on-change {shown}: there is no such file: give the full path of a program")
    raise DataError(f"--on-change {shown}: it may not be executed: chmod +x {shlex.quote(words[0])}")


def _passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What a command inherits of our environment."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(_OUR_PREFIX) and name not in _NOT_PASSED_ON
    }


def _describe(event: Mapping[str, Any], skipped: int) -> dict[str, bytes]:
    """The event in the command's environment: EVENT_STATE and so on; what is null is empty."""
    values = {**event, "skipped": skipped}
    return {f"EVENT_{name.upper()}": _as_bytes("" if value is None else str(value)) for name, value in values.items()}


def _as_bytes(text: str) -> bytes:
    """A label may hold anything, an environment neither NUL nor half a character."""
    try:
        return os.fsencode(text.replace("\0", "?"))
    except UnicodeEncodeError:
        return text.replace("\0", "?").encode("utf-8", "backslashreplace")


def _why_not_started(error: OSError) -> str:
    why = _WHY_NOT_STARTED.get(error.errno or 0) or error.strerror or str(error)
    return f"could not be started: {why}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _shown(text: str) -> str:
    """In one line of a terminal: without control characters, and not longer than a message should be."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in text[: _SHOWN_LETTERS + 1])
    return printable if len(printable) <= _SHOWN_LETTERS else f"{printable[:_SHOWN_LETTERS]}…"


def add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--on-change",
        metavar="COMMAND",
        help="run COMMAND at each change of state",
    )
    only_in_help_all(
        group.add_argument("--on-change-shell", action="store_true", help="give COMMAND to /bin/sh, for | > && and $")
    )
    only_in_help_all(
        group.add_argument(
            "--on-change-timeout",
            type=duration,
            metavar="T",
            help="end COMMAND if it runs longer than T, such as 30s or 2m (default: 10s)",
        )
    )


def check(options: argparse.Namespace, *, stream: bool) -> None:
    if options.on_change is None:
        return
    if not stream:
        raise UsageError("--on-change needs a camera or a video; still pictures have no state that could change")
    find_command(options.on_change, shell=options.on_change_shell)


def open_output(options: argparse.Namespace, destinations: Destinations) -> CommandHook | None:
    if options.on_change is None:
        return None
    return CommandHook(
        options.on_change,
        shell=options.on_change_shell,
        time_limit=_TIME_LIMIT_S if options.on_change_timeout is None else options.on_change_timeout,
        destinations=destinations,
    )
