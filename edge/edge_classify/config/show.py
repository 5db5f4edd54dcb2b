"""What --show-config prints: every setting as TOML, with where its value comes from. It can be saved as a file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .schema import SCHEMA_FILE
from .secrets import without_secret
from .settings import Setting, beside
from .toml_file import Given


def as_toml(known: Sequence[Setting], found: Mapping[str, Given]) -> tuple[str, list[Setting]]:
    """The text, and the settings whose secrets are masked in it. What keeps its default is a comment."""
    lines = [f"#:schema {SCHEMA_FILE.as_uri()}"]
    masked = []
    for table in dict.fromkeys(setting.table for setting in known):
        lines += ["", f"[{table}]"]
        for setting in known:
            if setting.table != table:
                continue
            given = found.get(setting.dest)
            if given is None:
                lines.append(_default(setting))
                continue
            value = _value(setting, given)
            shown = _masked(value)
            if shown != value:
                masked.append(setting)
            lines.append(f"{setting.key} = {_toml(shown)}  # {given.origin}")
    return "\n".join(lines) + "\n", masked


def _default(setting: Setting) -> str:
    default = setting.action.default
    if default is not None and not isinstance(default, list):
        return f"# {setting.key} = {_toml(default)}  # default"
    told = re.search(r"\(default: (.*?)\)$", setting.action.help or "")
    return f"# {setting.key} =  # " + (f"default: {told[1]}" if told else "not set")


def _value(setting: Setting, given: Given) -> Any:
    if not any(given.words):
        return bool(given.words) if setting.is_flag or given.words else []
    here = Path.cwd()  # a path in a file is relative to the file's folder
    words = [_typed(setting, beside(setting, word, here)) for words in given.words for word in words]
    return words if setting.repeatable and len(words) != 1 else words[-1]


def _typed(setting: Setting, word: str) -> Any:
    """A number as a number, where the file may have one."""
    schema = setting.json_schema()
    types = schema.get("type", "integer" if isinstance(schema.get("enum", [""])[0], int) else "string")
    if re.fullmatch(r"0|-?[1-9]\d*", word) and {"integer", "number"} & {
        *([types] if isinstance(types, str) else types)
    }:
        return int(word)
    if "number" in types and re.fullmatch(r"-?(0|[1-9]\d*)\.\d+", word):
        return float(word)
    return word


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return without_secret(value) if isinstance(value, str) else value


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, tuple):  # an address, which is text in a file
        value = str(value)
    # A basic string of TOML is one of JSON, but for this character.
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")
