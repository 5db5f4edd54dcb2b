"""A configuration file: its tables and keys are checked, and its values become the words of a command line."""

from __future__ import annotations

import argparse
import datetime
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError, first_line
from ..system.nearest import nearest
from .settings import Setting, beside, convert

# More than any configuration; /dev/zero has no end.
_MAX_BYTES = 2**20
_MAX_SHOWN = 60
# key = and something that begins as no string, array of strings or table does, but has a character of text.
_BARE_TEXT = re.compile(r"[^=#\"']+=\s*\[?\s*[^\s\"'\[\]{},#]*[a-zA-Z/:]")
_WORDS = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
}
_KINDS: list[tuple[type, str]] = [
    (bool, "boolean"),  # before int, which it is too
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "table"),
    (datetime.date, "date"),
    (datetime.time, "time"),
]


@dataclass(frozen=True)
class Given:
    """A value that a setting was given, and by whom.

    words: as on the command line: one list for each time that the option is given.
    """

    value: Any
    words: list[list[str]]
    origin: str


@dataclass(frozen=True)
class Contents:
    """What a file sets, by `dest`, and what is wrong with the rest of it, one line each."""

    values: dict[str, Given] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_file(path: str, known: Sequence[Setting], parser: argparse.ArgumentParser) -> Contents:
    """Read a configuration file. Raises UsageError if it cannot be read or is not TOML."""
    contents = Contents()
    tables = list(dict.fromkeys(setting.table for setting in known))
    for key, table in _parse(path).items():
        name = _printable(key)
        if name not in tables:
            contents.problems.append(f"{path}: {_unknown_at_top(name, table, tables, known)}")
        elif not isinstance(table, dict):
            contents.problems.append(f"{path}: {name}: expected a table: put [{name}] on a line above it")
        else:
            _read_table(path, name, table, known, parser, contents)
    return contents


def _parse(path: str) -> dict[str, Any]:
    import tomllib  # 5 ms that a start without a file does not need

    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such configuration file: edge-classify --show-config prints one to start from"
        ) from None
    except IsADirectoryError:
        raise UsageError(f"{path}: a folder, not a configuration file: name the TOML file in it") from None
    except PermissionError:
        raise UsageError(
            f"{path}: may not be read by this user: allow it with chmod a+r, and keep secrets in files of their own"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 (byte {error.start}): save it as UTF-8") from None
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{path}: larger than any configuration: name a TOML file")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{path}: arrays or tables are nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, and a number of thousands of digits
        message = first_line(error)
        raise UsageError(f"{path}: not TOML: {message}{_quotation_marks(text, message)}") from None


def _quotation_marks(text: str, message: str) -> str:
    """What to do if the line with the mistake has text without them."""
    place = re.search(r"at line (\d+)", message)
    lines = text.split("\n")
    line = lines[int(place[1]) - 1] if place and int(place[1]) <= len(lines) else ""
    return ": text needs quotation marks" if _BARE_TEXT.match(line) else ""


def _read_table(
    path: str,
    name: str,
    table: dict[str, Any],
    known: Sequence[Setting],
    parser: argparse.ArgumentParser,
    contents: Contents,
) -> None:
    keys = {setting.key: setting for setting in known if setting.table == name}
    for raw, value in table.items():
        key = _printable(raw)
        where = f"{path}: [{name}] {key}"
        if key not in keys:
            contents.problems.append(f"{path}: [{name}] has no key {key}{_nearest_key(key, name, known)}")
            continue
        try:
            contents.values[keys[key].dest] = _read_value(keys[key], value, path, parser)
        except (argparse.ArgumentError, TypeError) as error:
            message = error.message if isinstance(error, argparse.ArgumentError) else str(error)
            contents.problems.append(f"{where}: {message}")


def _read_value(setting: Setting, value: Any, path: str, parser: argparse.ArgumentParser) -> Given:
    """Raises TypeError for a wrong type, and argparse.ArgumentError for a wrong value."""
    if setting.is_flag or (setting.action.nargs == "?" and isinstance(value, bool)):
        if not isinstance(value, bool):
            raise _wrong_type(setting, value)
        return Given(setting.action.const if value else setting.action.default, [[]] if value else [], path)
    values = value if setting.repeatable and isinstance(value, list) else [value]
    words = [beside(setting, _word(setting, item), Path(path).absolute().parent) for item in values]
    if not words:
        return Given(setting.action.default, [], path)
    given = [[word] for word in words] if isinstance(setting.action, argparse._AppendAction) else [words]
    return Given(convert(setting, given, parser), given, path)


def _word(setting: Setting, value: Any) -> str:
    schema = setting.json_schema()
    kind = _kind(value)
    allowed = _types(schema)
    if kind not in allowed and not (kind == "integer" and "number" in allowed):
        raise _wrong_type(setting, value)
    if "\0" in str(value):
        raise TypeError("no value can have a null character")
    return str(value)


def _types(schema: dict[str, Any]) -> list[str]:
    if "enum" in schema:
        return list(dict.fromkeys(_kind(choice) for choice in schema["enum"]))
    types = schema["type"]
    return [types] if isinstance(types, str) else list(types)


def _wrong_type(setting: Setting, value: Any) -> TypeError:
    types = _types(setting.json_schema())
    expected = " or ".join(_WORDS[kind] for kind in types)
    if setting.repeatable:
        expected += ", or an array of them"
    if isinstance(value, str):
        shown = f'"{_printable(value)}"'
    elif isinstance(value, bool):
        shown = str(value).lower()
    else:
        shown = _printable(str(value)) if isinstance(value, int | float) else f"{_article(_kind(value))} {_kind(value)}"
    return TypeError(f"expected {expected}, found {shown}")


def _printable(text: str) -> str:
    """A word of the file in a message of one line."""
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _kind(value: object) -> str:
    return next(name for kind, name in _KINDS if isinstance(value, kind))


def _unknown_at_top(name: str, value: object, tables: Iterable[str], known: Sequence[Setting]) -> str:
    if isinstance(value, dict):
        found = nearest(name, tables)
        return f"there is no table [{name}]: " + (f"did you mean [{found}]?" if found else "remove it")
    owners = [setting for setting in known if setting.name == _with_dashes(name) or setting.key == _with_dashes(name)]
    if owners:
        return f"{name} stands in no table: put [{owners[0].table}] on a line above it, and {owners[0].key} = below"
    return f"{name} stands in no table: keys belong below one, such as [{next(iter(tables))}]"


def _nearest_key(key: str, table: str, known: Sequence[Setting]) -> str:
    """What was probably meant by a key that this table does not have."""
    for setting in known:
        if _with_dashes(key) in (setting.name, setting.key):
            return f": did you mean {setting.key}{'' if setting.table == table else f' in [{setting.table}]'}?"
    here = _or_nearest(key, [setting.key for setting in known if setting.table == table])
    if here:
        return here
    owners = {setting.name: setting for setting in known}
    found = nearest(key, owners)
    return f": did you mean {owners[found].key} in [{owners[found].table}]?" if found else ": remove it"


def _or_nearest(word: str, words: Iterable[str]) -> str:
    found = nearest(word, words)
    return f": did you mean {found}?" if found else ""


def _with_dashes(key: str) -> str:
    return re.sub("_", "-", key.lower())
