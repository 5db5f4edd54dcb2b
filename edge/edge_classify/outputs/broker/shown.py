"""What Home Assistant is shown for each label: some words are not a state there, but say that there is none."""

from __future__ import annotations

from collections.abc import Sequence

from ...model.labels import UNKNOWN

# Words of its own, in the letters' case that it compares them by, and more for people's sake.
_RESERVED = {"", "unknown", "unavailable", "none"}
# It takes 255 characters, and nobody reads them.
_MAX_STATE = 100


def shown_labels(labels: Sequence[str]) -> dict[str, str]:
    """What each label, and `unknown`, is shown as: at most 100 printable characters, different from all others."""
    labels = list(dict.fromkeys((*labels, UNKNOWN)))
    shown = {UNKNOWN: _unlike("not_recognised", {*labels}) if "none" in labels else "none"}
    taken = {*shown.values(), *(label for label in labels if _is_plain(label))}
    for label in labels:
        if label == UNKNOWN:
            continue
        shown[label] = label if _is_plain(label) else _unlike(_readable(label), taken)
        taken.add(shown[label])
    return {label: shown[label] for label in labels}


def _is_plain(label: str) -> bool:
    # "none" itself is a state like any other.
    return (label == "none" or label.lower() not in _RESERVED) and len(label) <= _MAX_STATE and label.isprintable()


def _readable(label: str) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in label).strip()
    if text.lower() in _RESERVED:
        return f"class {text}".strip()
    return text if len(text) <= _MAX_STATE else text[: _MAX_STATE - 1] + "…"


def _unlike(text: str, taken: set[str]) -> str:
    found, number = text, 1
    while found in taken:
        number += 1
        end = f" ({number})"
        found = text[: _MAX_STATE - len(end)] + end
    return found
