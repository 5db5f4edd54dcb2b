"""Measuring in turns: each turn of a model file is a new process, and files alternate, so drift affects all alike."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from ..errors import EdgeClassifyError
from ..system.child_python import isolated_python


@dataclass(frozen=True)
class Length:
    """How long a block is: this many frames, or this many seconds (but at least ten frames).

    warmup: uncounted frames before it; None: until frames no longer get faster.
    """

    frames: int | None = None
    seconds: float = 0.15
    warmup: int | None = None


@dataclass(frozen=True)
class Block:
    """Consecutive frames with one number of threads.

    frames: milliseconds of (preprocess, inference, postprocess), float64, shape (n, 3).
    """

    threads: int
    frames: np.ndarray


@dataclass(frozen=True)
class Turn:
    """What one process measured.

    blocks: one for each number of threads. start_ms: from the start of the process to its first label.
    peak_memory: in bytes, with the first number of threads alone; 0 if the machine does not reveal it.
    operators: as `interpreter.running_operators`. assumptions: as `Classifier.assumptions`.
    """

    blocks: tuple[Block, ...]
    start_ms: float
    peak_memory: int
    operators: list[str] | None
    assumptions: tuple[str, ...] = ()


class PlannedTurn(NamedTuple):
    path: Path
    threads: list[int]
    length: Length


@dataclass(frozen=True)
class ThirdParty:
    """What the files of others may not say themselves, as `Classifier` takes it; labels: a file's path."""

    labels: str | None = None
    input_range: str | None = None
    input_size: tuple[int, int] | None = None


_NOTHING = ThirdParty()


def plan_rounds(paths: Sequence[Path], threads: Sequence[int], rounds: int, length: Length) -> list[list[PlannedTurn]]:
    """In each round one turn of every file, in a different order, and starting with a different number of threads.

    length: its frames are divided among the rounds; rounds that would have none are left out.
    The same arguments always give the same plan.
    """
    shuffle = random.Random(0).shuffle
    planned = []
    for number, round_length in enumerate(_divide(length, rounds)):
        order = list(paths)
        shuffle(order)
        first = number % len(threads)
        rotated = [*threads[first:], *threads[:first]]
        planned.append([PlannedTurn(path, rotated, round_length) for path in order])
    return planned


def take_turn(path: Path, threads: Sequence[int], length: Length, third_party: ThirdParty = _NOTHING) -> Turn:
    """Measure a model file in a new process. Raises EdgeClassifyError, with the exit code that the process met."""
    started = monotonic()
    *blocks, facts = _run_process(path, threads, length, third_party, slices=1)
    return Turn(
        blocks=tuple(_block(line) for line in blocks),
        start_ms=(facts["first_label_at"] - started) * 1e3,
        peak_memory=facts["peak_memory"],
        operators=facts["operators"],
        assumptions=tuple(facts["assumptions"]),
    )


def take_slices(
    path: Path, threads: int, seconds: float, slices: int, third_party: ThirdParty = _NOTHING
) -> Iterator[Block]:
    """Run one process without a pause; yields a block as soon as each slice of `seconds` is over."""
    with closing(_run_process(path, [threads], Length(seconds=seconds), third_party, slices)) as lines:
        for line in lines:
            if "frames" in line:
                yield _block(line)


def _divide(length: Length, rounds: int) -> list[Length]:
    if length.frames is None:
        return [length] * rounds
    frames, remainder = divmod(length.frames, rounds)
    counts = [frames + (number < remainder) for number in range(rounds)]
    return [replace(length, frames=count) for count in counts if count]


def _run_process(
    path: Path, threads: Sequence[int], length: Length, third_party: ThirdParty, slices: int
) -> Generator[dict[str, Any]]:
    """The lines that `process` writes, as it writes them: blocks, then facts."""
    task = {
        "model": str(path),
        "threads": list(threads),
        "slices": slices,
        "frames": length.frames,
        "seconds": length.seconds,
        "warmup": length.warmup,
        "third_party": asdict(third_party),
    }
    words = [*isolated_python(f"{__package__}.process"), json.dumps(task)]
    with (
        TemporaryFile() as errors,
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        try:
            for text in process.stdout:
                line = json.loads(text)
                if "error" in line:
                    raise _error(line)
                yield line
            if code := process.wait():
                errors.seek(0)
                last_line = errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
                reason = f"killed by signal {-code}; out of memory?" if code < 0 else last_line
                raise EdgeClassifyError(f"{path}: the process that measured it failed ({reason})")
        finally:
            process.kill()
            # Popen itself does not wait for it after Ctrl-C.
            process.wait()


def _block(line: dict[str, Any]) -> Block:
    return Block(line["threads"], np.array(line["frames"], float).reshape(-1, 3))


def _error(line: dict[str, Any]) -> EdgeClassifyError:
    error = EdgeClassifyError(line["error"])
    error.exit_code = line["exit_code"]
    return error
