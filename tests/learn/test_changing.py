"""edge-teach --add, --remove, --rename: the classes of a file changed when the photos it was made from are gone."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import ROOT, draw_photo, write_photos
from edge_classify import ClassChanges, Classifier, DataError, change_classes, teach
from edge_classify.learn.memory import read_memory
from edge_classify.learn.photos.photo_set import NEGATIVE
from edge_classify.learn.teaching.base import open_base
from edge_classify.learn.teaching.command import main
from edge_classify.learn.teaching.head_reading import read_head
from edge_classify.model.interpreter import BUILTIN_MODEL
from edge_classify.model.model_file import read_flatbuffer, read_model_file

DRAWN = ROOT / "tests" / "models" / "drawn"
# The two whose weights are stored in other ways than they are computed with.
PRECISIONS = ("float16", "int8")


def drawn_model(precision: str) -> Path:
    return DRAWN / f"mobilenet_v2_1.0_96_{precision}.tflite"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), 12)


@pytest.fixture(scope="module", params=PRECISIONS)
def two_classes(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that knows cross and disc, of each precision."""
    return make_two_classes(request.param, photos, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def base(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_two_classes("int8", photos, tmp_path_factory.mktemp("base"))


def make_two_classes(precision: str, photos: Path, folder: Path) -> Path:
    for label in ("cross", "disc"):
        shutil.copytree(photos / label, folder / "photos" / label)
    teach(drawn_model(precision), folder / "photos", folder / "two.tflite")
    shutil.rmtree(folder / "photos")
    return folder / "two.tflite"


def answers(model: Path, kind: str, count: int = 20) -> list[str]:
    """What it says of new photos of one kind."""
    classifier, rng = Classifier(model), np.random.default_rng(99)
    return [classifier.classify(draw_photo(kind, rng)).label for _ in range(count)]


def contract_of(model: Path) -> dict[str, Any]:
    with zipfile.ZipFile(model) as parts:
        return dict(json.loads(parts.read("edge.json")))


def test_an_added_class_is_known_and_the_others_stay(two_classes: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "three.tflite"
    before = {kind: answers(two_classes, kind) for kind in ("cross", "disc", "stripes")}
    assert before["stripes"].count("unknown") >= 10
    changed = change_classes(two_classes, output, ClassChanges(add={"stripes": photos / "stripes"}))
    assert changed.labels == ("cross", "disc", "stripes")
    assert Classifier(output).labels == ("cross", "disc", "stripes", "unknown")
    for kind in ("cross", "disc"):
        assert answers(output, kind).count(kind) >= before[kind].count(kind) - 1
    assert answers(output, "stripes").count("stripes") >= 17

    old, new = (read_head(read_flatbuffer(path)) for path in (two_classes, output))
    assert new.kernel[:, :2] == pytest.approx(
        old.kernel, abs=0.02 * float(np.abs(old.kernel).max())
    )  # rounded anew in int8
    contract = contract_of(output)
    assert contract["decision"]["vote_weight"] == contract_of(two_classes)["decision"]["vote_weight"]
    assert contract["evaluation"]["per_class"].keys() == {"stripes"}  # nothing is claimed of photos that are gone
    assert "accuracy" not in contract["evaluation"]
    assert contract["memory"]["trained_on"] == [12, 12, 12]
    assert len(contract["provenance"]["taught"]["added"]["stripes"]) == 12


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_head_of_a_file_of_before_the_votes_is_read(precision: str) -> None:
    base = open_base(drawn_model(precision))
    head, backbone, rng = read_head(base.model), base.backbone(), np.random.default_rng(3)
    for kind in ("cross", "disc", "stripes"):
        picture = cv2.resize(draw_photo(kind, rng), base.classifier.input_size)
        shares = base.classifier.infer(picture).outputs[:-1]
        expected = head.probabilities(backbone(picture[..., ::-1])[None])[0]
        # Whole numbers in the head's product, and probabilities of 256 steps.
        assert shares / shares.sum() == pytest.approx(expected, abs=0.05)


def test_a_class_that_was_added_can_get_more_photos_and_be_removed(base: Path, photos: Path, tmp_path: Path) -> None:
    few, more = tmp_path / "few", tmp_path / "more"
    for folder, numbers in ((few, range(7)), (more, range(6, 12))):
        folder.mkdir()
        for number in numbers:
            shutil.copy(photos / "stripes" / f"{number}.png", folder)
    three, grown, two = (tmp_path / f"{name}.tflite" for name in ("three", "grown", "two"))
    change_classes(base, three, ClassChanges(add={"stripes": few}))
    changed = change_classes(three, grown, ClassChanges(add={"stripes": more}))
    assert "1 of the photos is remembered already, and left out" in changed.notes
    assert contract_of(grown)["memory"]["trained_on"] == [12, 12, 12]
    assert answers(grown, "stripes").count("stripes") >= answers(three, "stripes").count("stripes")

    change_classes(grown, two, ClassChanges(remove=["cross"]))
    assert Classifier(two).labels == ("disc", "stripes", "unknown")
    assert "cross" not in json.dumps(contract_of(two)["test_card"]["labels"])
    assert answers(two, "stripes").count("stripes") >= 17
    assert answers(two, "disc").count("disc") >= 17


def test_pictures_can_be_added_to_what_is_unknown(base: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "wary.tflite"
    changed = change_classes(base, output, ClassChanges(add={"unknown": photos / "stripes"}))
    assert Classifier(output).labels == ("cross", "disc", "unknown")
    assert answers(output, "stripes").count("unknown") >= 19
    (told,) = (note for note in changed.notes if note.startswith("unknown: "))
    figures = re.fullmatch(
        r"unknown: 12 pictures added, of which 12 are called unknown now, and (\d+) before; "
        r"of 24 remembered photos of the classes (\d+) now, and (\d+) before",
        told,
    )
    assert figures is not None, told
    assert max(map(int, figures.groups()[1:])) <= 2
    memory = read_memory(read_model_file(output))
    assert memory is not None
    assert (memory.labels == NEGATIVE).sum() == 12


def test_a_new_name_changes_names_and_nothing_else(base: Path, tmp_path: Path) -> None:
    output = tmp_path / "renamed.tflite"
    change_classes(base, output, ClassChanges(rename={"cross": "disc", "disc": "ring"}))
    assert Classifier(output).labels == ("disc", "ring", "unknown")
    assert read_flatbuffer(output) == read_flatbuffer(base)
    assert contract_of(output)["evaluation"]["per_class"].keys() == {"disc", "ring"}
    assert contract_of(output)["provenance"]["taught"]["renamed"] == {"cross": "disc", "disc": "ring"}
    memories = [read_memory(read_model_file(path)) for path in (base, output)]
    np.testing.assert_equal(*(vars(memory) for memory in memories))


def test_a_file_without_memory_can_be_renamed_and_nothing_more(base: Path, photos: Path, tmp_path: Path) -> None:
    forgetful, renamed = tmp_path / "forgetful.tflite", tmp_path / "renamed.tflite"
    change_classes(base, forgetful, ClassChanges(), memory=False)
    with zipfile.ZipFile(forgetful) as parts:
        assert "memory.npy" not in parts.namelist()
    assert read_flatbuffer(forgetful) == read_flatbuffer(base)
    change_classes(forgetful, renamed, ClassChanges(rename={"disc": "ring"}))
    for changes in (ClassChanges(add={"stripes": photos / "stripes"}), ClassChanges(remove=["disc"])):
        with pytest.raises(DataError, match=r"remembers none of its photos, .* edge-teach .* PHOTOS -o FILE"):
            change_classes(forgetful, tmp_path / "x.tflite", changes)
    assert not (tmp_path / "x.tflite").exists()


@pytest.mark.parametrize("arguments", [(), ("--add", "stripes=stripes")])
def test_no_memory_leaves_no_features_in_the_file(
    arguments: tuple[str, ...], base: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    output = tmp_path / "forgetful.tflite"
    words = arguments or (str(photos),)
    assert main([str(base), *words, "-o", str(output), "--no-memory"]) == 0
    with zipfile.ZipFile(output) as parts:
        assert "memory.npy" not in parts.namelist()
    assert "memory" not in contract_of(output)


def test_names_and_order_of_the_photos_change_no_byte(base: Path, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for number, path in enumerate(sorted((photos / "stripes").iterdir(), reverse=True)):
        shutil.copy(path, other / f"{number:04}.png")
    files = []
    for number, folder in enumerate((photos / "stripes", other)):
        (tmp_path / str(number)).mkdir()
        files.append(tmp_path / str(number) / "same.tflite")
        change_classes(base, files[-1], ClassChanges(add={"stripes": folder}))
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (ClassChanges(remove=["key"]), "has no class key: it has cross, disc"),
        (ClassChanges(rename={"key": "lock"}), "has no class key: it has cross, disc"),
        (ClassChanges(rename={"cross": "disc"}), "two classes would be called disc"),
        (ClassChanges(rename={"cross": "unknown"}), "take another name"),
        (ClassChanges(remove=["cross"]), "leaves disc alone"),
        (ClassChanges(add={"stripes": Path("nowhere")}), "nowhere: no such folder"),
        (ClassChanges(add={"stripes": Path("empty")}), "no pictures in this folder"),
        (ClassChanges(add={"things": Path()}), "has the folders cross/ and disc/: is each a class"),
        (ClassChanges(add={"things": Path("kinds")}), "has the folders one/ and two/: is each a class"),
        (ClassChanges(add={"unknown": Path()}), "has the folders cross/ and disc/: is each a class"),
        (ClassChanges(add={"disc": Path("disc")}), "x.tflite is not written, .* remembers all of these photos already"),
        (ClassChanges(add={"stripes": Path("four")}), "expected at least 5 different photos"),
        (ClassChanges(add={"stripes": Path("cross")}), "is remembered as cross: the same photo in two classes"),
        (ClassChanges(add={"stripes": Path("stripes"), "bars": Path("stripes")}), "the same photo in two classes"),
    ],
)
def test_what_cannot_be_done_is_refused(
    changes: ClassChanges, reason: str, base: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "four").mkdir()
    for number in range(4):
        shutil.copy(photos / "stripes" / f"{number}.png", tmp_path / "four")
    for kind in ("one", "two"):
        shutil.copytree(photos / "stripes", tmp_path / "kinds" / kind)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=reason):
        change_classes(base, tmp_path / "x.tflite", changes)
    assert not (tmp_path / "x.tflite").exists()


def test_a_file_of_an_older_version_is_refused_with_what_to_do(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="teach all classes anew, from photos of all"):
        change_classes(BUILTIN_MODEL, tmp_path / "x.tflite", ClassChanges(add={"stripes": photos / "stripes"}))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("photos", "--add", "a=b"), "give either"),
        ((), "expected PHOTOS"),
        (("--add", "photos/cup"), "expected two names with = between them"),
        (("--rename", "a=b", "--rename", "a=c"), "--rename a=… is given twice"),
        (("--remove", "a", "--keep", "0.9"), "--keep is for PHOTOS"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_read(
    words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["nowhere.tflite", *words, "-o", "x.tflite"])
    assert reason in capsys.readouterr().err


def test_classes_that_can_hardly_be_told_apart_are_named(base: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for number in range(12):
        (tmp_path / "ring").mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "ring" / f"{number}.png"), draw_photo("disc", rng))
    changed = change_classes(base, tmp_path / "x.tflite", ClassChanges(add={"ring": tmp_path / "ring"}))
    assert any("ring can hardly be told from disc" in note for note in changed.notes), changed.notes
