"""Label files in every form that models come with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_classify import DataError
from edge_classify.labels import read_labels

FORMS = {
    "plain": "cat\ndog\nred fox\n\n",
    "Windows": "cat\r\ndog\r\nred fox\r\n",
    "byte order mark": "\ufeffcat\ndog\nred fox",
    "Teachable Machine": "0 cat\n1 dog\n2 red fox\n",
    "Coral": "2  red fox\n0  cat\n1  dog\n",
    "colons": "2: red fox\n0: cat\n1: dog\n",
    "commas": "1,dog\n0,cat\n2,red fox\n",
    "from 1": "3 red fox\n1 cat\n2 dog\n",
    "YAML": "names:\n  0: cat\n  1: dog\n  2: 'red fox'\n",
    "CSV": "id,name\n2,red fox\n1,dog\n0,cat\n",
    "CSV with mids": 'index,mid,display_name\n0,/m/a,cat\n1,/m/b,dog\n2,/m/c,"red fox"\n',
    "CSV with class numbers": "class;name\n1;dog\n0;cat\n2;red fox\n",
    "pbtxt": "item {\n  id: 2\n  name: 'dog'\n}\nitem { id: 1 name: \"cat\" }\n"
    "item {\n  name: '/m/c'\n  id: 3\n  display_name: \"red fox\"\n}\n",
    "JSON list": '["cat", "dog", "red fox"]',
    "JSON numbers": '{"1": "dog", "0": "cat", "2": "red fox"}',
    "JSON of ImageNet": '{"0": ["n01", "cat"], "1": ["n02", "dog"], "2": ["n03", "red fox"]}',
    "Keras": '{"dog": 1, "cat": 0, "red fox": 2}',
    "JSON objects": '[{"id": 1, "name": "dog"}, {"id": 0, "name": "cat"}, {"id": 2, "name": "red fox"}]',
    "Python": "{0: 'cat',\n 1: 'dog',\n 2: 'red fox'}",
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_come_in_the_order_of_the_outputs(form: str, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(FORMS[form].encode())
    assert read_labels(path) == ("cat", "dog", "red fox")
    path.write_bytes(FORMS[form].removeprefix("\ufeff").encode("utf-16"))
    assert read_labels(path) == ("cat", "dog", "red fox")


@pytest.mark.parametrize(
    "labels",
    [
        ["1 euro", "2 euro"],
        ["1 euro", "2 euro", "50 cent", "20 cent"],
        ["7-up", "3 musketeers", "pepsi"],
        ["tench, Tinca tinca", "goldfish, Carassius auratus"],
        ["[background]", "[cat]"],
        ["0", "1", "2"],
        ["2 cups"],
        ["1st", "2nd"],
    ],
)
def test_what_belongs_to_a_name_stays(labels: list[str], tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(labels))
    assert read_labels(path) == tuple(labels)
    path.write_text(json.dumps(["0 cup", "1 plate"]))
    assert read_labels(path) == ("0 cup", "1 plate")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"\xffcat", "not UTF-8 text"),
        (b"TFL3\0\0\0", "not a text file"),
        (b"0 cat\n1 dog\n3 fox", "lines with numbers in front, but number 2 is missing"),
        (b"0 cat\n1 dog\n1 fox", "lines with numbers in front, but number 1 is there twice"),
        (b"cat\n0 dog\n1 fox", "line 1 has none"),
        (b"id,mid\n0,/m/a", "CSV with the columns id, mid, none of them a name"),
        (b"id,name\nzero,cat", "CSV whose column 'id' has other things than numbers"),
        (b"item { name: 'cat' }", r"TensorFlow's label map \(pbtxt\), but an item has no id or no name"),
        (b'{"labels": {"cat": 0}}', "JSON, but neither a list of labels nor numbers with labels"),
        (b'[{"name": "cat"}]', "JSON list of objects, but not each has an id and a name"),
        (b'{"cat": 0, "dog"}', "it looks like JSON and cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"labels.txt: labels cannot be read: .*{problem}"):
        read_labels(path)
