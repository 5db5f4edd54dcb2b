"""The choice for a time budget, made once for a device and its model files, and remembered."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir
from time import monotonic
from typing import Any

from ..errors import UsageError
from ..system import System
from .choice import Choice, choose, comparable
from .environment import describe, identity
from .figures import Metric
from .model_set import Candidate, digest, list_models, read_candidates
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
    digests = [one.sha256 for one in everything]
    _remember(_place(identity(environment), digests, metric, budget, threads), record)
    return record, choice


def chosen_model(
    names: Sequence[str | Path], metric: Metric, budget: float, threads: int, tell: Callable[[str], None]
) -> Path:
    """The choice that is remembered for this device and these files, wherever they lie; else measured now."""
    paths = {digest(path): path for path in list_models(names)}
    place = _place(identity(describe(System())), list(paths), metric, budget, threads)
    try:
        return paths[json.loads(place.read_text("utf-8"))["sha256"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    tell(f"choosing among {len(paths)} model files for {metric} of {budget:g} ms, once for this device")
    record, choice = find_choice(names, metric, budget, threads, Length(), lambda line: tell(f"  measuring {line}"))
    tell(in_words(record))
    return choice.candidate.path


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


def _place(device: dict[str, Any], digests: Iterable[str], metric: Metric, budget: float, threads: int) -> Path:
    told = json.dumps([device, sorted(set(digests)), metric, budget, threads], sort_keys=True)
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a container's user without a home
        root = Path(gettempdir())
    return root / "edge-classify" / "choices" / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"


def _remember(place: Path, record: dict[str, Any]) -> None:
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
        partial.replace(place)
    except OSError as error:
        log.warning("the choice is not remembered: %s: %s", place, error.strerror)
