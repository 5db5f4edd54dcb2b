"""What a path really holds, so that an error can say what was given and what was meant."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Literal

from .images.formats import FORMATS_BY_SUFFIX

Kind = Literal["model file", "run folder", "model folder", "photos"]

_RUN_INDEX = "run.json"
# A disk full of files must not hold up an error message.
_MAX_ENTRIES = 2000
_MAX_FOLDERS = 50


def recognize(path: str | Path) -> Kind | None:
    """What this project would call it; None for anything else, or if it cannot be read.

    "photos" are pictures in this folder, or up to two folders below it, as in photos/train/cup; but not a few pictures
    somewhere among folders of other things.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            return "model file" if path.is_file() and _is_model(path) else None
        if (path / _RUN_INDEX).is_file():
            return "run folder"
        names = _names(path)
        photos = _holds_photos(path, 2)
        if photos and any(map(_is_picture, names)):
            return "photos"
        if any(name.endswith(".tflite") for name in names):
            return "model folder"
        if photos:
            return "photos"
    except OSError:
        pass
    return None


def models_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tflite"))


def how_to_train(folder: Path) -> str:
    """The command that trains on these photos, or what is needed before it can."""
    parts = _folders(folder, _names(folder))
    if sum(_holds_photos(part, 1) for part in parts) > 1 or any(_count_classes(part) > 1 for part in parts):
        return f"edge-train {folder}"
    # One class of several, if nothing else is beside it: a home folder with some folders of photos is not meant.
    parent = folder.resolve().parent
    if not parts and _holds_photos(parent, 1) and _count_classes(parent) > 1:
        return f"edge-train {parent}"
    return "edge-train PHOTOS, in which each class has a folder of its own"


def why_no_model_file(path: Path) -> str:
    """For an error about a folder where a model file belongs: what it is, and what to do."""
    kind = recognize(path)
    if kind == "run folder":
        return f"{path}: a run folder, not a model file: make model files from it with edge-convert {path} -o models"
    if kind == "model folder":
        return f"{path}: a folder of model files, not one of them: {_which_file(path)}"
    if kind == "photos":
        return f"{path}: a folder of photos, not a model file: first train on photos: {how_to_train(path)}"
    return f"{path}: a folder, not a model file: expected a .tflite file such as edge-convert writes"


def why_no_source(path: Path) -> str | None:
    """For an error about a path where a camera or pictures belong; None if it may be a source."""
    kind = recognize(path)
    if kind == "model file":
        return f"{path}: a model file, not a camera or pictures: use edge-classify SOURCE --model {path}"
    if kind == "model folder":
        return f"{path}: a folder of model files, not of pictures: use edge-classify SOURCE {_how_to_use(path)}"
    if kind == "run folder":
        return (
            f"{path}: a run folder, not a folder of pictures: make model files from it with "
            f"edge-convert {path} -o models, then use edge-classify SOURCE --model FILE"
        )
    return None


def _which_file(folder: Path) -> str:
    """What to give in place of a folder of model files, whatever the command."""
    models = models_in(folder)
    if len(models) == 1:
        return f"give {models[0]}"
    return f"give one, as {models[0]}; edge-benchmark {folder} says which is best here"


def _how_to_use(folder: Path) -> str:
    """The option for a folder of model files: which of several is best here has to be measured."""
    models = models_in(folder)
    if len(models) == 1:
        return f"--model {models[0]}"
    return f"--models {folder} --budget-ms 30, which measures them and takes the best, or --model with one of its files"


def _folders(folder: Path, names: list[str]) -> list[Path]:
    inside = (folder / name for name in sorted(names) if not name.startswith("."))
    return list(islice((path for path in inside if path.is_dir()), _MAX_FOLDERS))


def _holds_photos(folder: Path, depth: int) -> bool:
    """Whether most of its pictures and folders together are pictures, or folders that hold some up to `depth` below."""
    try:
        names = _names(folder)
    except OSError:
        return False
    pictures, folders = sum(map(_is_picture, names)), _folders(folder, names)
    good = pictures + sum(_holds_photos(inside, depth - 1) for inside in folders if depth > 0)
    return 2 * good > pictures + len(folders)


def _count_classes(root: Path) -> int:
    """How many of its folders hold pictures themselves."""
    try:
        return sum(any(map(_is_picture, _names(inside))) for inside in _folders(root, _names(root)))
    except OSError:
        return 0


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, _MAX_ENTRIES)]


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in FORMATS_BY_SUFFIX


def _is_model(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"TFL3"
