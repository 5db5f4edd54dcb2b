"""The choice for a time budget, made once for a device and its model files, then cached."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from ..model.threads import thread_counts
from ..system.atomic_write import write_atomic
from ..system.cores import usable_cores
from ..system.counted import counted
from ..system.machine import System, cache_folder
from .candidates import Candidate, list_models, model_sha256, read_candidates
from .choice import Choice, choose
from .environment import describe, identity
from .metric import Metric
from .result import ChoiceRecord, Environment, timestamp
from .rule import comparable, describe_figure, explain, is_more_accurate
from .turns import Length, Turn, take_turn

log = logging.getLogger(__name__)

# Of the rule and the records: a choice that was cached under another is made again.
_VERSION = 4


def find_choice(
    names: Sequence[str | Path],
    metric: Metric,
    budget_ms: float,
    num_threads: int | Literal["auto"],
    length: Length,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[ChoiceRecord, Choice]:
    """Measure as much as is needed, choose, and cache the choice for this device and these files.

    num_threads: of all files, or "auto": of each the fewest that are nearly as fast as the best.
    report: called with a line of text about each file before it is measured. Raises what `choose`, `comparable` and
    `read_candidates` raise.
    """
    everything = read_candidates(names, unusable=[])
    candidates = comparable(everything)
    environment = describe(System())
    counts = _thread_counts(num_threads)
    started = monotonic()
    reported: set[Candidate] = set()

    def measure(candidate: Candidate) -> Turn:
        if candidate not in reported:
            report(f"{candidate.name} ({describe_figure(candidate)})")
            reported.add(candidate)
        return take_turn(candidate.path, counts, length)

    choice = choose(candidates, metric, budget_ms, measure)
    record = _record(choice, metric, budget_ms, environment, monotonic() - started)
    digests = sorted({candidate.sha256 for candidate in everything})
    _store(_cache_file(_VERSION, identity(environment), digests, metric, budget_ms, counts), record)
    return record, choice


def chosen_model(
    names: Sequence[str | Path],
    metric: Metric,
    budget_ms: float,
    num_threads: int | Literal["auto"],
    report: Callable[[str], None],
) -> tuple[Path, int]:
    """The cached choice for this device and these files, wherever they are now, and its number of threads.

    Measured if there is none.

    report: called with lines of text while measuring, and with one that says what was chosen and why. Raises what
        `find_choice` raises.
    """
    paths = _by_sha256(list_models(names))
    counts = _thread_counts(num_threads)
    cached = _load(_cache_file(_VERSION, identity(describe(System())), sorted(paths), metric, budget_ms, counts))
    chosen = paths.get(cached.get("sha256", ""))
    if chosen is not None:
        report(f"taking {cached['reason']}, chosen at an earlier start")
        return chosen, cached["num_threads"]
    report(
        f"choosing from {counted(len(paths), 'model file')} for a {metric} of at most {budget_ms:g} ms "
        "(once for this device)"
    )
    record, choice = find_choice(
        names, metric, budget_ms, num_threads, Length(), lambda line: report(f"  measuring {line}")
    )
    report(summary(record))
    return choice.candidate.path, record["num_threads"]


def _thread_counts(num_threads: int | Literal["auto"]) -> list[int]:
    return thread_counts(usable_cores()) if isinstance(num_threads, str) else [num_threads]


def summary(record: ChoiceRecord) -> str:
    """The choice in lines of text: the file, why, and what was measured."""
    margin, budget = record["margin_ms"], record["budget_ms"]
    lines = [
        f"{record['model']}: {100 * (record['accuracy'] or 0):.1f}% of {record['photos']} held-out photos correct, "
        f"{record['metric']} {record['value_ms']:.2f} ms, "
        f"{margin:.2f} ms ({100 * margin / budget:.0f}%) below the budget of {budget:g} ms, "
        f"{record['threads']}",
        f"take {record['reason']}",
    ]
    if record["too_slow"]:
        lines.append(record["too_slow"])
    measured = len(record["measured"])
    lines.append(
        f"measured {measured} of {counted(measured + len(record['not_measured']), 'file')} in {record['seconds']:.0f} s"
    )
    return "\n".join(lines)


def _too_slow(choice: Choice) -> str:
    """The fastest file that is measurably more accurate but does not fit, in one line; "" if there is none."""
    files = [
        (measured.value_ms, file.name)
        for file, measured in choice.measured.items()
        if not measured.fits and is_more_accurate(file, choice.candidate)
    ]
    if not files:
        return ""
    value_ms, name = min(files)
    return f"too slow for it: {name}, measurably more accurate, takes {value_ms:.2f} ms"


def _record(choice: Choice, metric: Metric, budget_ms: float, environment: Environment, seconds: float) -> ChoiceRecord:
    candidate = choice.candidate
    value_ms = choice.measured[candidate].value_ms
    threads = choice.measured[candidate].threads
    return {
        "model": str(candidate.path),
        "sha256": candidate.sha256,
        "accuracy": candidate.accuracy,
        "photos": candidate.photos,
        "validation_accuracy": candidate.validation.accuracy if candidate.validation else None,
        "reason": explain(
            candidate, choice.best, len(choice.rivals), f" within {budget_ms:g} ms", f"{metric} {value_ms:.2f} ms"
        ),
        "too_slow": _too_slow(choice),
        "metric": str(metric),
        "num_threads": threads.count,
        "threads": str(threads),
        "budget_ms": budget_ms,
        "value_ms": round(value_ms, 4),
        "margin_ms": round(budget_ms - value_ms, 4),
        "measured": [
            {
                "name": file.name,
                "accuracy": file.accuracy,
                "validation_accuracy": file.validation.accuracy if file.validation else None,
                "value_ms": round(measured.value_ms, 4),
                "num_threads": measured.threads.count,
                "turns": measured.turns,
                "fits": measured.fits,
            }
            for file, measured in choice.measured.items()
        ],
        "not_measured": [file.name for file in choice.skipped],
        "seconds": round(seconds, 1),
        "time": timestamp(),
        "environment": environment,
    }


def _by_sha256(paths: Sequence[Path]) -> dict[str, Path]:
    """The files by their SHA-256, without reading those that have not changed: on a Pi's card that takes seconds."""
    # With the time of the inode's change: no program can set that one back.
    states = [
        (str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for path in paths
        if path.exists() and (status := path.stat())
    ]
    cache_file = _cache_file(states)
    digests: list[str] = _load(cache_file).get("sha256", [])
    if len(digests) != len(paths):
        digests = [model_sha256(path) for path in paths]
        _store(cache_file, {"sha256": digests})
    return dict(zip(digests, paths, strict=True))


def _cache_file(*key: object) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "choices" / f"{digest[:32]}.json"


def _load(path: Path) -> dict[str, Any]:
    """What is cached there; empty if there is nothing that can be read."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _store(path: Path, content: object) -> None:
    try:
        write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        log.warning("cannot cache this, so it will be measured again next time: %s: %s", path, error.strerror)
