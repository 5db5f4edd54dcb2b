"""Which options may stand in a configuration file and in the environment, and what they are called there."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..options import VARIABLES

# Of no option: what errors print, and what edge-train and the tests read.
OTHER_VARIABLES = (
    "EDGE_CLASSIFY_TRACEBACK",
    "EDGE_CLASSIFY_WORKERS",
    "EDGE_CLASSIFY_BACKBONES",
    "EDGE_CLASSIFY_DATA",
)

_NO_TABLE = ("about this program", "options", "positional arguments")
_FILE = re.compile(r"\b(FILE|FOLDER|MODELS)\b")
# A PLACE is an address unless its name ends like this.
_FILE_AT_PLACE = ".prom"
# What may stand in place of a file: an address, host:port, a port, standard output.
_NO_FILE = re.compile(r"-|\d+|[a-z][a-z0-9+.-]*://.*|\[?[\w.:-]*\]?:\d+", re.DOTALL)


@dataclass(frozen=True)
class Setting:
    """An option that a file or the environment may set too.

    table: the heading of its options in --help, which is its table in the file.
    """

    table: str
    action: argparse.Action

    @property
    def option(self) -> str:
        return max(self.action.option_strings, key=len)

    @property
    def name(self) -> str:
        """The option's own name, such as mqtt-ca."""
        return self.option.removeprefix("--")

    @property
    def key(self) -> str:
        """Its key in the file: its name, without that of the table before it (`ca` in `[mqtt]`)."""
        return self.name.removeprefix(f"{self.table}-")

    @property
    def variable(self) -> str:
        return VARIABLES + self.name.upper().replace("-", "_")

    @property
    def dest(self) -> str:
        return self.action.dest

    @property
    def repeatable(self) -> bool:
        """Whether it may have several values. A source is parsed like that too, to refuse the second one by name."""
        appended = isinstance(self.action, argparse._AppendAction) and not self.names_source
        return appended or self.action.nargs in ("+", "*")

    @property
    def is_flag(self) -> bool:
        return self.action.nargs == 0

    @property
    def names_source(self) -> bool:
        return self.action.metavar == "SOURCE"

    @property
    def writes_file(self) -> bool:
        return getattr(self.action, "writes_file", False)

    @property
    def is_command(self) -> bool:
        return self.action.metavar == "COMMAND"

    def json_schema(self) -> dict[str, Any]:
        """What one value of it may be, as JSON Schema."""
        if self.is_flag:
            return {"type": "boolean"}
        if self.action.choices:
            return {"enum": list(self.action.choices)}
        if self.names_source:
            return {"type": ["string", "integer"]}
        found = getattr(self.action.type, "json_schema", None) or {"type": _plain_type(self.action.type)}
        if self.action.nargs == "?":  # it may be given without a value
            types = found["type"] if isinstance(found["type"], list) else [found["type"]]
            return {**found, "type": [*types, "boolean"]}
        return found


def _plain_type(parse: object) -> str:
    return "integer" if parse is int else "number" if parse is float else "string"


def settings(parser: argparse.ArgumentParser) -> list[Setting]:
    """Every option of this parser that is no command of its own, in the order of --help-all."""
    return [
        Setting(group.title, action)
        for group in parser._action_groups
        if group.title and group.title not in _NO_TABLE
        for action in group._group_actions
        if action.option_strings and not getattr(action, "only_on_command_line", False)
    ]


def convert(setting: Setting, values: Sequence[Sequence[str]], parser: argparse.ArgumentParser) -> Any:
    """What the option's own `type` makes of these words; a list of words for each time that it is given.

    Raises argparse.ArgumentError, as the command line would.
    """

    def parse(words: Sequence[str]) -> Any:
        # Not the override of our own parser, which takes note of the command line.
        return argparse.ArgumentParser._get_values(parser, setting.action, list(words))

    if isinstance(setting.action, argparse._AppendAction):
        return [parse(words) for words in values]
    if not values[-1] and setting.action.nargs in (0, "?"):
        return setting.action.const
    return parse(values[-1])


def is_local_camera(source: str) -> bool:
    """Whether a source is a camera of this machine."""
    return re.fullmatch(r"\d+|csi(:\d+)?|/dev/.*", source, re.DOTALL) is not None


def file_in(setting: Setting, word: str) -> str | None:
    """The path that a value of this setting names, without NAME= before it; None if it names none."""
    if setting.names_source:
        return None if is_local_camera(word) or re.fullmatch(r"demo|[a-z]+://.*", word, re.DOTALL) else word
    if setting.action.metavar == "PLACE":
        return word if word.endswith(_FILE_AT_PLACE) else None
    if not word or not _FILE.search(str(setting.action.metavar)) or _NO_FILE.fullmatch(word):
        return None
    return re.sub(r"^[^/=]*=", "", word) if setting.repeatable else word


def beside(setting: Setting, word: str, folder: Path) -> str:
    """The value with its path, if it names one, taken from this folder."""
    path = file_in(setting, word)
    return word if path is None else word.removesuffix(path) + str(folder / Path(path).expanduser())
