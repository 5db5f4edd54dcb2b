"""What the models of one run are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from ..options import path_behind_equals


class NamedFile(NamedTuple):
    """A model file, and what results call the model."""

    name: str
    path: Path

    def __str__(self) -> str:
        """As --model takes it, and as short as possible."""
        return str(self.path) if self.name == self.path.stem else f"{self.name}={self.path}"


def name_models(arguments: Sequence[str]) -> list[NamedFile]:
    """The files of FILE or NAME=FILE; FILE alone is named by its file name without the suffix.

    Raises UsageError if two have the same name, or if there is nothing before or after the "=".
    """
    files = [_named_file(argument) for argument in arguments]
    for name in (file.name for file in files):
        same = [file.path for file in files if file.name == name]
        if len(same) > 1:
            raise UsageError(
                f"{len(same)} models would be called {name} ({', '.join(map(str, same))}): name each: "
                + " ".join(f"--model {new}={path}" for new, path in zip(_suggestions(same), same, strict=True))
            )
    return files


def _named_file(argument: str) -> NamedFile:
    found = re.fullmatch(r"([^/=]*)=(.*)", argument, re.DOTALL)
    if found is None or Path(argument).exists():
        return NamedFile(Path(argument).stem, Path(argument))
    name, file = found[1].strip(), found[2]
    if not name or not name.isprintable() or not file:
        raise UsageError(f"--model {argument}: expected FILE or NAME=FILE")
    return NamedFile(name, path_behind_equals(file))


def _suggestions(paths: Sequence[Path]) -> list[str]:
    """Names for files that are called the same: their folders', if those differ."""
    folders = [path.absolute().parent.name for path in paths]
    if len({*folders, ""}) == len(folders) + 1 and not any("=" in folder for folder in folders):
        return folders
    return [f"NAME{number}" for number in range(1, len(paths) + 1)]
