"""Which folders hold what: the classes, a split of the user's own, and what is neither."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...collect.folders import LABELLED, UNLABELLED
from ...errors import DataError
from ...images.folder import Kind, find_pictures, list_folder
from ...images.formats import HEAD_BYTES, describe_other, picture_format
from ...model.labels import UNKNOWN
from ...recognize import recognize
from ...system.counted import counted
from ...system.nearest import or_nearest_path

# What a photo is used for. Nothing is ever chosen on a photo that is held out: figures are reported on those.
TRAINING = "training"
VALIDATION = "validation"
HELD_OUT = "held_out"

TEST = "test"
_SPLIT_WORDS = {
    "train": TRAINING,
    "training": TRAINING,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
# Names that are certainly meant so: train, Training, val2017, test_set, trainset, ...
_SPLIT_NAME = re.compile(rf"({'|'.join(_SPLIT_WORDS)})(?:[ _-]?(?:sets?|data|images|split))?[ _-]?\d*")
# With these in a name, alone or among other words, it may be meant so.
_DOUBTFUL_WORDS = frozenset({*_SPLIT_WORDS, "trn", "tst", "dev", "eval", "evaluation", "holdout"})
# What labelling services and tools put beside the photos. A class only if there are pictures in it.
_EXPORT_FOLDERS = frozenset({"labels", "label", "annotations", "annotation", "imagesets", "meta", "metadata", "docs"})
_EXPECTED = ": expected one in which each class has a folder of photos"
_RUN_FILES = ("run.json", "started.json", "photo_check.json", "manifest.json")


@dataclass(frozen=True)
class Layout:
    """The folders of photos.

    labels: the classes' names, sorted, in Unicode's composed form (NFC).
    parts: what the photos of each folder of classes are used for, the training part first.
    folders: for each of those folders, the folder of each class by its label, and of UNKNOWN, if it holds negatives.
    left_out: how many of each kind of file or folder are left out beside the classes.
    notes: what is assumed, one line each.
    """

    labels: tuple[str, ...]
    parts: Mapping[Path, str]
    folders: Mapping[Path, Mapping[str, Path]]
    left_out: Counter[Kind]
    notes: tuple[str, ...]


def read_layout(root: Path, *, with_unknown: bool) -> Layout:
    """Find the classes and the split in the folder `root`; see `find_photos`. No photo is opened.

    Raises DataError if there is none, or if it is not clear what is meant.
    """
    _check_folder(root)
    left_out: Counter[Kind] = Counter()
    notes: list[str] = []
    parts = _find_parts(root, left_out)
    folders = {folder: _class_folders(folder, with_unknown, left_out, notes) for folder in parts}
    labels = _common_labels(folders, with_unknown=with_unknown)
    if len(parts) == 1:
        _check_for_doubtful_split(root, folders[root])
        notes += _splits_inside_classes(folders[root])
    if len(labels) < 2:
        folder, classes = next(iter(folders.items()))
        raise DataError(_too_few_classes(folder, {label: classes[label] for label in labels}))
    return Layout(labels, parts, folders, left_out, tuple(notes))


def part_of(word: str) -> str:
    """The part of a split that a word means: TRAINING, VALIDATION, "test"; "" if none."""
    match = _SPLIT_NAME.fullmatch(word.strip().casefold())
    return _SPLIT_WORDS[match[1]] if match else ""


def check_label(name: str, where: str, remedy: str) -> str:
    """The class's label, of its name: in Unicode's composed form (NFC). Raises DataError, which names `where`."""
    label = unicodedata.normalize("NFC", name)
    if not label or label != label.strip() or len(label.splitlines()) > 1:
        raise DataError(f"{where}: a class name cannot start or end with a space or contain a line break: {remedy}")
    return label


def check_differ(labels: Iterable[str], where: str) -> None:
    """Raise DataError, which names `where`, if two labels are the same but for case and the number of spaces."""
    known: dict[str, str] = {}
    for label in labels:
        same = known.setdefault(" ".join(label.casefold().split()), label)
        if same != label:
            raise DataError(
                f'{where}: the classes "{same}" and "{label}" differ only in case or spaces: join or rename them'
            )


def check_one_class(label: str, folder: Path, known: Iterable[str]) -> None:
    """Raise DataError if a folder given for one class seems to hold folders of several. known: classes that there are.

    Pictures of nothing, those of `unknown`, may lie in folders of any other names.
    """
    contents = list_folder(folder)
    others = {UNKNOWN, *known} - {label}
    inside = [path for path in contents.folders if unicodedata.normalize("NFC", path.name) in others]
    if not inside and label != UNKNOWN and not contents.pictures and len(contents.folders) > 1:
        inside = contents.folders
    if inside:
        more = " and more" if len(inside) > 3 else ""
        raise DataError(
            f"{label}={folder}: has the folders {_names(inside[:3])}{more}: is each a class? Add each by itself, as "
            f"{inside[0].name}={inside[0]}; if all show {label}, put the photos directly into one folder"
        )


def _check_folder(root: Path) -> None:
    if root.is_dir():
        if recognize(root) == "run folder":
            raise DataError(f"{root}: a run folder, which is what edge-train writes: give the folder of photos")
        if (root / UNLABELLED).is_dir() and (root / LABELLED).is_dir():
            raise DataError(
                f"{root}: holds what edge-classify --collect keeps, some of it without a class: give {root / LABELLED}"
            )
        return
    if not root.exists():
        raise DataError(f"{root}: no such folder{or_nearest_path(root, _EXPECTED)}")
    with root.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if picture_format(head):
        raise DataError(f"{root}: one picture: give the folder that holds a folder of photos per class")
    what = describe_other(head) or "a file, not a folder"
    raise DataError(f"{root}: {what}, and give the folder that holds a folder of photos per class")


def _find_parts(root: Path, left_out: Counter[Kind]) -> dict[Path, str]:
    """The folders that hold class folders, each with the part its photos belong to; the training part first."""
    contents = list_folder(root)
    found: dict[str, list[Path]] = defaultdict(list)
    others = []
    for folder in contents.folders:
        match = _SPLIT_NAME.fullmatch(folder.name.casefold())
        if match:
            found[_SPLIT_WORDS[match[1]]].append(folder)
        else:
            others.append(folder)
    if TRAINING not in found or len(found) < 2:
        return {root: TRAINING}
    for same in found.values():
        if len(same) > 1:
            raise DataError(
                f"{root}: {same[0].name}/ and {same[1].name}/ are the same part of a split: keep one of them"
            )
    used = [folder for (folder,) in found.values()]
    for folder in used:
        inside = list_folder(folder)
        if not inside.folders and inside.pictures:
            training = found[TRAINING][0]
            hint = "if they are classes, rename them"
            if folder != training and list_folder(training).folders:
                hint = f"to leave {folder.name}/ out, give {training}"
            raise DataError(
                f"{folder}: {counted(len(inside.pictures), 'picture')}, but no class folders: {_names(used)} are taken "
                f"for a split, so each must hold a folder per class; {hint}"
            )
    left_out.update(contents.left_out)
    _count_loose(contents.pictures, f" directly in {root}", left_out)
    for folder in others:
        left_out["folder", f" beside {used[0].name}/ ({folder.name})"] += 1
    parts = {found[TRAINING][0]: TRAINING}
    if TEST in found and VALIDATION in found:
        parts[found[VALIDATION][0]] = VALIDATION
    parts[found[TEST if TEST in found else VALIDATION][0]] = HELD_OUT
    return parts


def _class_folders(folder: Path, with_unknown: bool, left_out: Counter[Kind], notes: list[str]) -> dict[str, Path]:
    """The class folders directly in `folder`, by label. Raises DataError for names that cannot be labels."""
    contents = list_folder(folder)
    left_out.update(contents.left_out)
    classes: dict[str, Path] = {}
    for path in contents.folders:
        if path.name.casefold() in _EXPORT_FOLDERS and not find_pictures(path).pictures:
            left_out["folder", f" without pictures ({path.name})"] += 1
            continue
        if _is_made_by_us(path):
            left_out["folder", f" that edge-train or edge-convert wrote ({path.name})"] += 1
            continue
        label = _label(path)
        if with_unknown and label.casefold() == UNKNOWN:
            if label != UNKNOWN:
                notes.append(f"{path}: taken for {UNKNOWN}/: pictures of none of the classes")
            label = UNKNOWN
        if label in classes:
            raise DataError(f"{folder}: two folders of one name, {classes[label].name!a} and {path.name!a}: join them")
        classes[label] = path
    if not classes.keys() - ({UNKNOWN} if with_unknown else set()):
        raise DataError(_no_classes(folder, contents.pictures))
    _count_loose(contents.pictures, f" in no class folder (directly in {folder})", left_out)
    check_differ(classes, str(folder))
    return classes


def _label(path: Path) -> str:
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path}: a class name that is not UTF-8: rename the folder") from None
    return check_label(path.name, str(path), "rename the folder")


def _common_labels(folders: Mapping[Path, Mapping[str, Path]], *, with_unknown: bool) -> tuple[str, ...]:
    """The labels, which must be those of each part; UNKNOWN is none if it holds negatives."""
    negatives = {UNKNOWN} if with_unknown else set()
    (first, classes), *others = folders.items()
    labels = set(classes) - negatives
    for folder, classes in others:
        odd = sorted(labels ^ (set(classes) - negatives))
        check_differ(odd, f"{first} and {folder}")
        if odd:
            raise DataError(f"{odd[0]}: a class in only one of {first} and {folder}: both must have the same classes")
    return tuple(sorted(labels))


def _check_for_doubtful_split(root: Path, classes: Mapping[str, Path]) -> None:
    """Ask, by refusing, if folders that are taken for classes are more likely parts of a split."""
    doubtful = [path for path in classes.values() if _DOUBTFUL_WORDS & set(re.split(r"[\W\d_]+", path.name.casefold()))]
    nested = [path for path in doubtful if _holds_folders_only(path)]
    if not nested and len(doubtful) < len(classes):
        return
    if not doubtful or (len(doubtful) == 1 and not nested):
        return
    names = _names(nested or doubtful)
    if len(doubtful) == 1:
        raise DataError(
            f"{root}: is {names} a class, or a part of a split? For a class, put its photos directly into it; to train "
            f"on it alone, give {nested[0]}; for a split, call the folders train and validation or test"
        )
    raise DataError(
        f"{root}: are {names} classes, or parts of a split? For a split, call them train, validation and test, with a "
        "folder per class in each; for classes, rename them and put their photos directly into them"
    )


def _holds_folders_only(folder: Path) -> bool:
    contents = list_folder(folder)
    return bool(contents.folders) and not contents.pictures


def _splits_inside_classes(classes: Mapping[str, Path]) -> list[str]:
    for path in classes.values():
        inside = [folder for folder in list_folder(path).folders if _SPLIT_NAME.fullmatch(folder.name.casefold())]
        if len(inside) > 1:
            return [
                f"{_names(inside)} inside {path} are not used as a split: all photos of a class are taken together "
                f"(for a split: train/{path.name}/ and validation/{path.name}/)"
            ]
    return []


def _no_classes(folder: Path, pictures: Sequence[Path]) -> str:
    if pictures:
        return (
            f"{folder}: {counted(len(pictures), 'picture')}, but no class folders: put the photos of each class in "
            "a folder named after it (lists such as train.csv are not read)"
        )
    if recognize(folder) == "model folder":
        return f"{folder}: a folder of model files, which edge-convert writes: give the folder of photos"
    return f"{folder}: no class folders: put the photos of each class in a folder named after it"


def _too_few_classes(folder: Path, classes: Mapping[str, Path]) -> str:
    ((label, path),) = classes.items()
    if label.casefold() == "images":
        return (
            f"{folder}: its only folder is {label}/, as in exports for object detection, where no folder tells a "
            "photo's class: export it for classification, with a folder per class"
        )
    inside = list_folder(path)
    hint = f"add another folder, or give {path}" if len(inside.folders) > 1 else "add another folder"
    return f"{folder}: expected at least two classes, found one ({label}): {hint}"


def _is_made_by_us(folder: Path) -> bool:
    """Whether it is a run, a folder of model files, or a folder of these (runs/)."""
    try:
        return any((place / name).is_file() for place in (folder, *list_folder(folder).folders) for name in _RUN_FILES)
    except PermissionError:  # a folder in it that may not be entered, as no run is
        return False


def _count_loose(pictures: Sequence[Path], where: str, left_out: Counter[Kind]) -> None:
    if pictures:
        left_out["picture", where] += len(pictures)


def _names(folders: Iterable[Path]) -> str:
    *first, last = [f"{folder.name}/" for folder in sorted(folders)]
    return f"{', '.join(first)} and {last}" if first else last
