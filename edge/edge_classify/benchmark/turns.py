"""Measuring in turns: each turn of a model file is a new process, and files take turns, so drift hits all alike."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from typing import Any

import numpy as np

from ..errors import EdgeClassifyError


@dataclass(frozen=True)
class Block:
    """Frames in a row, with one number of threads.

    warmup, frames: milliseconds of (preprocess, inference, postprocess), a row a frame, shape (n, 3).
    """

    threads: int
    warmup: np.ndarray
    frames: np.ndarray


@dataclass(frozen=True)
class Turn:
    """What one process measured.

    start_ms: from its start to its first label.
    peak_memory: in bytes, with the first number of threads alone; 0 where there is no telling.
    init_ms: loading the model into the interpreter.
    operators: as `running_operators`.
    """

    blocks: tuple[Block, ...]
    start_ms: float
    peak_memory: int
    init_ms: float
    input_bytes: int
    signature: str
    operators: list[str] | None


@dataclass(frozen=True)
class Length:
    """How long a block is: so many frames, or so many seconds (and ten frames at least).

    warmup: how many frames go before it and do not count; None is until they no longer get faster.
    """

    frames: int | None = None
    seconds: float = 0.15
    warmup: int | None = None


def take_turn(path: Path, threads: Sequence[int], length: Length) -> Turn:
    """Measure a model file in a new process. Raises what that process could not do, as EdgeClassifyError."""
    began = monotonic()
    *blocks, facts = _lines(path, threads, length, 1)
    return Turn(
        tuple(_block(line) for line in blocks),
        (facts["first_label_at"] - began) * 1e3,
        *(facts[name] for name in ("peak_memory", "init_ms", "input_bytes", "signature", "operators")),
    )


def take_slices(path: Path, threads: int, seconds: float, slices: int) -> Iterator[Block]:
    """Run one process without a pause; a block comes whenever a slice of `seconds` is over."""
    with closing(_lines(path, [threads], Length(seconds=seconds), slices)) as lines:
        for line in lines:
            if "frames" in line:
                yield _block(line)


def take_turns(
    paths: Sequence[Path],
    threads: Sequence[int],
    rounds: int,
    length: Length,
    after: Callable[[int, int], None] = lambda *_: None,
) -> dict[Path, list[Turn]]:
    """`rounds` turns of each file: in every round all of them, in another order.

    length: its frames are those of all rounds together. after: called after each turn with its round and its place
    in the round.
    """
    turns: dict[Path, list[Turn]] = {path: [] for path in paths}
    # The same orders whenever the same files are measured.
    shuffle = random.Random(0).shuffle
    for number, block in enumerate(_shared(length, rounds)):
        order = list(paths)
        shuffle(order)
        first = number % len(threads)
        for place, path in enumerate(order):
            turns[path].append(take_turn(path, [*threads[first:], *threads[:first]], block))
            after(number, place)
    return turns


def _shared(length: Length, rounds: int) -> list[Length]:
    if length.frames is None:
        return [length] * rounds
    each, left = divmod(length.frames, rounds)
    counts = [each + (number < left) for number in range(rounds)]
    return [replace(length, frames=count) for count in counts if count]


def _lines(path: Path, threads: Sequence[int], length: Length, slices: int) -> Generator[dict[str, Any]]:
    order = {
        **{"model": str(path), "threads": list(threads), "slices": slices},
        **{"frames": length.frames, "seconds": length.seconds, "warmup": length.warmup},
    }
    # -P: a numpy.py in the user's folder is not ours.
    words = [sys.executable, "-P", "-m", f"{__package__}.process", json.dumps(order)]
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
                last = errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
                reason = f"it was ended by signal {-code}: is there too little memory?" if code < 0 else last
                raise EdgeClassifyError(f"{path}: the process that measured it failed ({reason})")
        finally:
            process.kill()
            # Popen itself does not wait for it after Ctrl-C.
            process.wait()


def _block(line: dict[str, Any]) -> Block:
    return Block(line["threads"], *(np.array(line[name], float).reshape(-1, 3) for name in ("warmup", "frames")))


def _error(line: dict[str, Any]) -> EdgeClassifyError:
    error = EdgeClassifyError(line["error"])
    error.exit_code = line["exit_code"]
    return error
