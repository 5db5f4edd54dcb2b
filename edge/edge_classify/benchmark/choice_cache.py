"""The choice for a time budget, made once for a device and its model files, and remembered."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from ..errors import UsageError
from ..system.atomic_write import write_atomic
from ..system.machine import System, cache_folder
from .candidates import Candidate, digest, list_models, read_candidates
from .choice import Choice, choose, comparable
from .environment import describe, identity
from .statistics import Metric
from .turns import Length, Turn, take_turn

log = logging.getLogger(__name__)


def find_choice(
    names: Sequence[str | Path],
    metric: Metric,
    budget: float,
    threads: int,
    length: Length,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, Any], Choice]:
    """Measure as much as is needed, choose, and remember it for this device and these files.

    tell: called with a line about each file that is measured. Returns the choice also as JSON has it.
    Raises UsageError, and what `choose` and `read_candidates` raise.
    """
    if not budget > 0:
        raise UsageError(f"the budget is {budget:g} ms: it must be above 0")
    everything = read_candidates(names)
    candidates = comparable(everything)
    environment = describe(System())
    began = monotonic()
    told: set[Candidate] = set()

    def measure(candidate: Candidate) -> Turn:
        if candidate not in told:
            tell(f"{candidate.name} ({100 * (candidate.accuracy or 0):.1f} % right)")
        told.add(candidate)
        return take_turn(candidate.path, [threads], length)

    choice = choose(candidates, metric, budget, threads, measure)
    record = _record(choice, metric, budget, threads, environment, monotonic() - began)
    digests = sorted({one.sha256 for one in everything})
    _remember(_place(identity(environment), digests, metric, budget, threads), record)
    return record, choice


def chosen_model(
    names: Sequence[str | Path], metric: Metric, budget: float, threads: int, tell: Callable[[str], None]
) -> Path:
    """The choice that is remembered for this device and these files, wherever they lie; else measured now."""
    paths = _by_digest(list_models(names))
    place = _place(identity(describe(System())), sorted(paths), metric, budget, threads)
    chosen = paths.get(_recall(place).get("sha256", ""))
    if chosen is not None:
        return chosen
    tell(f"choosing among {len(paths)} model files for {metric} of {budget:g} ms, once for this device")
    record, choice = find_choice(names, metric, budget, threads, Length(), lambda line: tell(f"  measuring {line}"))
    tell(in_words(record))
    return choice.candidate.path


def _by_digest(paths: Sequence[Path]) -> dict[str, Path]:
    """The files by their sha256; those that nobody has touched since are not read: a Pi's card takes seconds."""
    # The time of change, too: unlike that of modification no program can set it back.
    touched = [
        (str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for path in paths
        if path.exists() and (status := path.stat())
    ]
    place = _place(touched)
    digests: list[str] = _recall(place).get("sha256", [])
    if len(digests) != len(paths):
        digests = [digest(path) for path in paths]
        _remember(place, {"sha256": digests})
    return dict(zip(digests, paths, strict=True))


def in_words(record: dict[str, Any]) -> str:
    """The choice as lines for a person."""
    margin, budget = record["margin_ms"], record["budget_ms"]
    lines = [
        f"{record['model']}: {100 * record['accuracy']:.1f} % right, {record['metric']} {record['value_ms']:.2f} ms, "
        f"{margin:.2f} ms ({100 * margin / budget:.0f} %) within the budget of {budget:g} ms"
    ]
    above = [one for one in record["measured"] if not one["fits"] and one["accuracy"] > record["accuracy"]]
    if above:
        nearest = min(above, key=lambda one: float(one["value_ms"]))
        more = 100 * (nearest["accuracy"] - record["accuracy"])
        lines.append(
            f"the next more accurate, {nearest['model']} ({more:+.1f} points), takes {nearest['value_ms']:.2f} ms"
        )
    measured, skipped = len(record["measured"]), len(record["not_measured"])
    lines.append(f"measured {measured} of {measured + skipped} files in {record['seconds']:.0f} s")
    return "\n".join(lines)


def _record(
    choice: Choice, metric: Metric, budget: float, threads: int, environment: dict[str, Any], seconds: float
) -> dict[str, Any]:
    candidate, value = choice.candidate, choice.measured[choice.candidate].value
    return {
        "model": str(candidate.path),
        "sha256": candidate.sha256,
        "accuracy": candidate.accuracy,
        "metric": str(metric),
        "num_threads": threads,
        "budget_ms": budget,
        "value_ms": round(value, 4),
        "margin_ms": round(budget - value, 4),
        "measured": [
            {
                "model": one.name,
                "accuracy": one.accuracy,
                "value_ms": round(times.value, 4),
                "turns": times.turns,
                "fits": times.fits,
            }
            for one, times in choice.measured.items()
        ],
        "not_measured": [one.name for one in choice.skipped],
        "seconds": round(seconds, 1),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment,
    }


def _place(*about: object) -> Path:
    """Where is remembered what is known about these."""
    told = json.dumps(about, sort_keys=True)
    return cache_folder() / "choices" / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"


def _recall(place: Path) -> dict[str, Any]:
    """What is remembered there; empty where there is nothing, or nothing that can be read."""
    try:
        record = json.loads(place.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _remember(place: Path, record: dict[str, Any]) -> None:
    try:
        write_atomic(place, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        log.warning("this is not remembered: %s: %s", place, error.strerror)
