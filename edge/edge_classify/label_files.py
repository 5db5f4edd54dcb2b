"""Label files of third-party models, in every common form."""

from __future__ import annotations

import csv
import json
import re
from ast import literal_eval
from collections.abc import Mapping
from typing import Any

# A number, something between, and a name: "3 cat", "3: cat", "3,cat", "3<tab>cat".
_NUMBERED = re.compile(r"\s*(\d{1,9})\s*[\s:,;]\s*(\S.*)")
# The headings of CSV columns, the better one first.
_NAME_COLUMNS = ("display_name", "name", "label", "class_name", "label_name", "class", "category", "title")
_ID_COLUMNS = ("id", "index", "class_id", "label_id", "class_index", "idx", "number")
# A label map of TensorFlow's object detection: item { id: 1 name: 'cat' display_name: "Cat" }.
_PBTXT_ITEM = re.compile(r"\bitem\s*\{([^{}]*)\}")
_PBTXT_ID = re.compile(r"\bid\s*:\s*(\d{1,9})")
_PBTXT_NAME = r"\b{field}\s*:\s*(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"

_HINT = "expected one label per line, in the order of the outputs"


class LabelFileError(ValueError):
    """What is wrong with a label file, and what to do."""


def parse_label_file(data: bytes) -> tuple[str, ...]:
    """Labels in output order from a third-party label file in any common form.

    These are: one label per line, with or without its number in front ("3 cat", "3: cat", "3,cat", in any order; from 0
    or from 1); CSV with headings; a JSON list, or object of numbers and names either way round (a Python one, too);
    TensorFlow's label map (.pbtxt). UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises LabelFileError, which names the form and says what is wrong with it.
    """
    text = _decode(data)
    if not text:
        raise LabelFileError(f"the file is empty: {_HINT}")
    for read in (_from_json, _from_pbtxt, _from_csv, _from_numbered_lines):
        labels = read(text)
        if labels is not None:
            return labels
    return tuple(line.strip() for line in text.splitlines())


def _decode(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise LabelFileError(f"not UTF-8 text: {_HINT}, saved as UTF-8") from None
    if "\0" in text:
        raise LabelFileError(f"not a text file: {_HINT}")
    return text.rstrip()


def _from_json(text: str) -> tuple[str, ...] | None:
    text = text.strip()
    if (text[0], text[-1]) not in (("[", "]"), ("{", "}")):
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        try:
            content = literal_eval(text)  # a Python dictionary, as widely copied for ImageNet
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            if text[0] == "[" and "\n" in text:
                return None  # lines such as [background]
            raise LabelFileError(f"it looks like JSON and cannot be read as such: {_HINT}") from None
    if isinstance(content, list | tuple) and content:
        if all(isinstance(item, str) for item in content):
            return tuple(content)
        if all(isinstance(item, dict) for item in content):
            return _in_order("JSON list of objects", [_from_object(item) for item in content])
    if isinstance(content, dict) and content:
        if all(isinstance(value, int) for value in content.values()):  # Keras' class_indices
            return _in_order("JSON object", [(value, str(name)) for name, value in content.items()])
        if all(str(key).isdecimal() for key in content):
            return _in_order("JSON object", [(int(key), _name(value)) for key, value in content.items()])
    raise LabelFileError(f"JSON, but neither a list of labels nor numbers with labels: {_HINT}")


def _from_object(item: Mapping[Any, Any]) -> tuple[int, str]:
    fields = {str(key).lower(): value for key, value in item.items()}
    name = next((fields[column] for column in _NAME_COLUMNS if column in fields), None)
    number = next((fields[column] for column in _ID_COLUMNS if column in fields), None)
    if not isinstance(number, int) or name is None:
        raise LabelFileError(f"JSON list of objects, but not each has an id and a name: {_HINT}")
    return number, _name(name)


def _name(value: object) -> str:
    """The last part of a list: ImageNet's index has ["n01440764", "tench"]."""
    while isinstance(value, list | tuple) and value:
        value = value[-1]
    if not isinstance(value, str):
        raise LabelFileError(f"JSON, but {value!r} is not a label: {_HINT}")
    return value


def _from_pbtxt(text: str) -> tuple[str, ...] | None:
    items = _PBTXT_ITEM.findall(text)
    if not items:
        return None
    found = []
    for item in items:
        number = _PBTXT_ID.search(item)
        fields = (re.search(_PBTXT_NAME.format(field=field), item) for field in ("display_name", "name"))
        name = next((field[1] for field in fields if field), None)
        if number is None or name is None:
            raise LabelFileError(f"TensorFlow's label map (pbtxt), but an item has no id or no name: {_HINT}")
        found.append((int(number[1]), re.sub(r"\\(.)", r"\1", name[1:-1])))
    return _in_order("TensorFlow's label map (pbtxt)", found)


def _from_csv(text: str) -> tuple[str, ...] | None:
    """None if the first line is not headings that are known."""
    lines = text.splitlines()
    delimiter = max(",;\t", key=lines[0].count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return None
    headings = [cell.lower() for cell in rows[0]]
    known = [heading for heading in headings if heading in _NAME_COLUMNS or heading in _ID_COLUMNS]
    if len(headings) < 2 or not known or any(len(row) != len(headings) for row in rows):
        return None
    names = [heading for heading in _NAME_COLUMNS if heading in headings]
    ids = [heading for heading in _ID_COLUMNS if heading in headings]
    # "class,name" and "label,name" have the number under the word for the name.
    ids += [name for name in names[1:] if all(row[headings.index(name)].isdecimal() for row in rows[1:])]
    names = [name for name in names if name not in ids]
    if len(rows) < 2 or not names:
        raise LabelFileError(f"CSV with the columns {', '.join(rows[0])}, none of them a name: {_HINT}")
    column = headings.index(names[0])
    labels = [row[column] for row in rows[1:]]
    if not ids:
        return tuple(labels)
    numbers = [row[headings.index(ids[0])] for row in rows[1:]]
    if not all(number.isdecimal() for number in numbers):
        raise LabelFileError(f"CSV whose column {ids[0]!r} has other things than numbers: {_HINT}")
    return _in_order("CSV", list(zip(map(int, numbers), labels, strict=True)))


def _from_numbered_lines(text: str) -> tuple[str, ...] | None:
    """None if the numbers in front, if any, belong to the names."""
    lines = [line for line in text.splitlines() if line.strip()]
    if lines[0].strip() == "names:":  # YAML
        del lines[0]
    matches = [_NUMBERED.fullmatch(line.rstrip()) for line in lines]
    found = [(int(match[1]), _unquoted(match[2])) for match in matches if match]
    numbers = [number for number, _ in found]
    without = [number for number, match in enumerate(matches, 1) if not match]
    if len(without) == 1 and len(lines) > 2 and sorted(numbers) in (_count(0, len(found)), _count(1, len(found))):
        raise LabelFileError(f"lines with numbers in front, but line {without[0]} has none: number all, or none")
    if without or not found:
        return None
    if len({name for _, name in found}) < len(found) and sorted(numbers) != _count(0, len(found)):
        return None  # 1 euro, 2 euro, 50 cent, 20 cent
    if len({name for _, name in found}) == 1 < len(found):
        return None  # 1 euro, 2 euro
    if len(found) == 1 and numbers[0] > 1:
        return None
    if min(numbers) > 1 and len(set(numbers)) < len(numbers):
        return None
    return _in_order("lines with numbers in front", found)


def _unquoted(name: str) -> str:
    quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "\"'"
    return name[1:-1] if quoted else name


def _count(start: int, length: int) -> list[int]:
    return list(range(start, start + length))


def _in_order(form: str, found: list[tuple[int, str]]) -> tuple[str, ...]:
    """The names by their numbers, which must be 0, 1, 2… or 1, 2, 3…"""
    ordered = sorted(found)
    numbers = [number for number, _ in ordered]
    start = min(numbers[0], 1)
    for expected, number in enumerate(numbers, start):
        if number < expected:
            raise LabelFileError(f"{form}, but number {number} is there twice: {_HINT}")
        if number > expected:
            raise LabelFileError(
                f"{form}, but number {expected} is missing: number them from 0 without a gap, or, if the numbers "
                'belong to the names, write a JSON list: ["1 euro", "2 euro"]'
            )
    return tuple(name for _, name in ordered)
