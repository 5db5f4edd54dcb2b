"""edge-teach: from a model file and photos to another model file, without TensorFlow."""

from __future__ import annotations

import itertools
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from conftest import ROOT, draw_photo, write_photos
from edge_classify import Classifier, DataError, ModelFileError, teach
from edge_classify.collect.photo_file import encode, write
from edge_classify.collect.record import Record
from edge_classify.learn.open_set import SHAPE_CONSTANTS
from edge_classify.learn.photos.photo_set import Photo
from edge_classify.learn.rows import Rows
from edge_classify.learn.teaching.advice import advise
from edge_classify.learn.teaching.base import Base, open_base
from edge_classify.learn.teaching.command import main
from edge_classify.learn.teaching.fitting import Fitted, fit
from edge_classify.learn.teaching.head_graph import write_head
from edge_classify.learn.teaching.lesson import Lesson, read_lesson
from edge_classify.learn.teaching.taught_file import make_file, write_file
from edge_classify.learn.votes import give_probabilities
from edge_classify.model.features import name_backbone
from edge_classify.model.model_file import read_model_file

MODELS = ROOT / "tests" / "models" / "drawn"
PRECISIONS = ("float32", "float16", "dynamic", "int8")
# The classes are not those that the base knows, and not in their order.
NAMES = {"stripes": "barred", "cross": "plus", "disc": "wheel"}


def model(precision: str) -> Path:
    return MODELS / f"mobilenet_v2_1.0_96_{precision}.tflite"


def write_classes(root: Path, each: int, seed: int = 0) -> Path:
    write_photos(root, each, seed=seed)
    for old, new in NAMES.items():
        (root / old).rename(root / new)
    return root


def lesson_of(base: Base, photos: Path, work: Path) -> Lesson:
    return read_lesson(base, photos, work, lambda _done, _total: None)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("classes"), 15)


class Taught(NamedTuple):
    base: Base
    lesson: Lesson
    fitted: Fitted
    path: Path


@pytest.fixture(scope="module", params=PRECISIONS)
def taught(request: pytest.FixtureRequest, classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    folder = tmp_path_factory.mktemp("taught")
    base = open_base(model(request.param))
    lesson = lesson_of(base, classes, folder)
    fitted = fit(lesson)
    path = folder / "things.tflite"
    write_file(path, make_file(base, lesson, fitted, path.stem))
    return Taught(base, lesson, fitted, path)


def test_the_file_knows_the_new_classes_and_nothing_else(taught: Taught) -> None:
    classifier = Classifier(taught.path)
    assert classifier.labels == ("barred", "plus", "wheel", "unknown")
    rng = np.random.default_rng(7)
    answers = [(new, classifier.classify(draw_photo(old, rng)).label) for old, new in NAMES.items() for _ in range(20)]
    assert sum(truth == answer for truth, answer in answers) >= 50
    noise = rng.integers(0, 256, (20, 120, 160, 3), dtype=np.uint8)
    assert sum(classifier.classify(picture).label == "unknown" for picture in noise) >= 18


def test_the_file_has_the_backbone_of_its_base_and_of_no_other(taught: Taught) -> None:
    name = name_backbone(taught.base.model)
    assert name_backbone(taught.path.read_bytes()) == name
    # Dynamic files compute so small a network in float32.
    others = {name_backbone(model(precision).read_bytes()) for precision in ("float32", "float16", "int8")}
    assert len(others) == 3


def test_the_file_computes_what_was_fitted(taught: Taught) -> None:
    classifier, backbone = Classifier(taught.path), taught.base.backbone()
    calibration, open_set = taught.fitted.calibration, taught.fitted.open_set
    differences = []
    for picture in taught.lesson.calibration:
        row = backbone(picture)[None]
        expected = give_probabilities(calibration.head, calibration.vote_weight, open_set, row)[0]
        differences.append(float(np.abs(classifier.probabilities(picture[..., ::-1]) - expected).max()))
    # Whole numbers in the head's product, as in files of edge-convert, and a random backbone with little to tell.
    rounds = taught.base.precision in ("dynamic", "int8")
    assert max(differences) < (0.2 if rounds else 0.005)
    assert np.mean(differences) < (0.02 if rounds else 0.001)


def test_the_file_says_what_it_was_made_from(taught: Taught) -> None:
    contract = read_model_file(taught.path).contract
    parent = read_model_file(taught.base.path).contract
    assert contract is not None
    assert parent is not None
    assert contract["evaluation"]["held_out"] == "cross-validation"
    assert contract["evaluation"]["photos"] == 45
    assert contract["model"]["precision"] == taught.base.precision
    source = contract["provenance"]["taught"]
    assert source["parent"] == {"name": taught.base.path.name, "sha256": taught.base.sha256}
    assert {label: len(photos) for label, photos in source["photos"].items()} == dict.fromkeys(
        sorted(NAMES.values()), 15
    )
    assert contract["provenance"]["data_fingerprint"] != parent["provenance"]["data_fingerprint"]


def test_names_and_order_of_the_photos_change_no_byte(classes: Path, tmp_path: Path) -> None:
    for source in classes.iterdir():
        folder = tmp_path / "photos" / source.name
        folder.mkdir(parents=True)
        for number, photo in enumerate(sorted(source.iterdir(), reverse=True)):
            shutil.copy(photo, folder / f"IMG_{number:03}.png")
    made = []
    for folder, photos in enumerate((classes, tmp_path / "photos")):
        output = tmp_path / str(folder) / "things.tflite"
        output.parent.mkdir()
        teach(model("int8"), photos, output)
        made.append(output.read_bytes())
    assert made[0] == made[1]


def test_a_taught_file_can_be_taught_again(classes: Path, tmp_path: Path) -> None:
    teach(model("int8"), classes, tmp_path / "first.tflite")
    teach(tmp_path / "first.tflite", classes, tmp_path / "second.tflite")
    first, second = (Classifier(tmp_path / f"{name}.tflite") for name in ("first", "second"))
    picture = draw_photo("disc", np.random.default_rng(7))
    assert (first.probabilities(picture) == second.probabilities(picture)).all()


def test_pictures_in_unknown_are_learnt_as_none_of_the_classes(classes: Path, tmp_path: Path) -> None:
    photos = shutil.copytree(classes, tmp_path / "photos")
    (photos / "unknown").mkdir()
    rng = np.random.default_rng(3)
    for number in range(10):  # what else the camera sees: half of one class
        picture = draw_photo("disc", rng)
        picture[:, : picture.shape[1] // 2] = 0
        cv2.imwrite(str(photos / "unknown" / f"{number}.png"), picture)
    result = teach(model("float32"), photos, tmp_path / "things.tflite")
    assert Classifier(result.path).labels == ("barred", "plus", "wheel", "unknown")
    assert result.evaluation["strangers"]["unknown/"]["pictures"] == 10


def test_a_thousand_classes_fit_into_the_graph() -> None:
    base, rng = open_base(model("float32")), np.random.default_rng(0)
    graph, parts = base.graph()
    features = graph.shape(parts[0])[-1]
    shapes = {"kernel": (features, 1000), "bias": 1000, "basis": (96, features), "prototypes": (1000, 96)}
    head = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    head |= {"votes": np.eye(1000, dtype=np.float32), "shares": np.full(1000, 0.001, np.float32)}
    numbers = {"vote_weight": 2.0, "sharpness": np.ones(2), "threshold": np.zeros(2), **SHAPE_CONSTANTS}
    twin = base.classifier.twin(graph.pack(write_head(graph, parts, {**head, **numbers}, "float32")))
    outputs = twin.infer(draw_photo("disc", rng)).outputs
    assert outputs.shape == (1001,)
    assert outputs.sum() == pytest.approx(1, abs=1e-4)


def test_what_the_photos_lack_is_said(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 12)
    shutil.copytree(photos / "disc", photos / "wheel")  # two classes that show the same, in other photos
    rng = np.random.default_rng(5)
    for path in (photos / "wheel").iterdir():
        cv2.imwrite(str(path), draw_photo("disc", rng))
    shutil.copy(photos / "cross" / "0.png", photos / "cross" / "copy.png")
    blurred = cv2.GaussianBlur(draw_photo("cross", rng), (0, 0), 20)
    cv2.imwrite(str(photos / "cross" / "blurred.png"), blurred)
    notes = "\n".join(teach(model("int8"), photos, tmp_path / "things.tflite").notes)
    assert "1 exact copy of other photos, left out" in notes
    assert "1 photo is blurred, for instance cross/blurred.png" in notes
    assert "disc and wheel can hardly be told apart" in notes


@pytest.mark.parametrize("taught", ["int8"], indirect=True)
@pytest.mark.parametrize(("places", "named"), [(30, ["moss"]), (1, [])])
def test_more_photos_are_advised_of_the_class_that_they_help_and_no_other(
    taught: Taught, tmp_path: Path, places: int, named: list[str]
) -> None:
    """Mosses look like cups with a mark, which differs from place to place."""
    length = taught.lesson.blanks.shape[1]
    rows, rng, photos = Rows(tmp_path, (length,), np.float32), np.random.default_rng(0), []
    for label, number in itertools.product(range(3), range(90)):
        row = np.abs(rng.normal(0, 0.1, length))
        row[int(label == 1)] += 3
        if label == 2:
            row[2 + number % places] += 3
        rows.append(row)
        name = f"{label}{number:02}"
        photos.append(Photo(Path(name), label, name, fold=(number + number // places) % 5, group=name))
    lesson = replace(taught.lesson, labels=("cup", "key", "moss"), photos=tuple(photos), rows=rows, views=1)
    advised = [line for line in advise(lesson, fit(lesson)) if "would help" in line]
    assert [line.split(" would help")[0] for line in advised] == [f"more photos of {name}" for name in named]


def broken_photos(root: Path, kind: str) -> Path:
    """Photos that cannot be taught from."""
    write_photos(root, 3 if kind == "few" else 6)
    if kind == "one class":
        shutil.rmtree(root / "disc")
        shutil.rmtree(root / "cross")
    elif kind == "one class and unknown":
        shutil.rmtree(root / "disc")
        (root / "cross").rename(root / "unknown")
    elif kind == "two classes":
        shutil.copy(root / "disc" / "0.png", root / "cross" / "of disc.png")
    elif kind == "unreadable":
        for path in list((root / "disc").iterdir())[:3]:
            path.write_bytes(path.read_bytes()[:60])
    elif kind == "alike":
        for path in (root / "disc").iterdir():
            picture = cv2.imread(str(root / "disc" / "0.png"))
            cv2.imwrite(str(path), np.clip(picture.astype(int) + int(path.stem), 0, 255).astype(np.uint8))
    return root


def test_photos_of_one_burst_are_taught_from_and_said_to_be_such(tmp_path: Path) -> None:
    """Somebody holds the button on the page for eight seconds, for each class."""
    rng = np.random.default_rng(0)
    for kind in ("cross", "disc"):
        folder = tmp_path / "photos" / kind
        folder.mkdir(parents=True)
        for number in range(8):
            record = Record(1000.0 + number, "on purpose", kind)
            write(folder, encode(draw_photo(kind, rng), record), record)
    taught = teach(model("int8"), tmp_path / "photos", tmp_path / "things.tflite")
    assert taught.evaluation["photos"] == 16
    assert [note for note in taught.notes if note.startswith("cross: taken in 1 burst, so its figures are too good")]
    assert not [note for note in taught.notes if "nearly identical" in note]


def test_a_folder_of_collect_is_not_taken_for_classes(tmp_path: Path) -> None:
    for name in ("unlabelled", "labelled/cross", "labelled/disc"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(DataError, match=r"edge-classify --collect keeps.*: give .*/labelled"):
        teach(model("int8"), tmp_path, tmp_path / "things.tflite")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("few", "class cross: expected at least 5 different photos (20 are better), found 3"),
        ("alike", "class disc: expected at least 5 different photos (20 are better), found 1"),
        ("unreadable", "class disc: expected at least 5 different photos (20 are better), found 3"),
        ("one class", "expected at least two classes, found one (stripes)"),
        ("one class and unknown", "expected at least two classes, found one (stripes)"),
        ("two classes", "the same photo in two classes: remove the wrong one"),
    ],
)
def test_photos_that_cannot_be_taught_from_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, message: str
) -> None:
    output = tmp_path / "things.tflite"
    assert main([str(model("int8")), str(broken_photos(tmp_path / "photos", kind)), "-o", str(output)]) == 6
    assert message in capfd.readouterr().err.splitlines()[-1]
    assert not output.exists()


def broken_base(path: Path, kind: str) -> Path:
    """A file that cannot be taught."""
    data = bytearray(model("int8").read_bytes())
    if kind == "of others":
        data = bytearray((ROOT / "tests" / "models" / "colors" / "int8_logits.tflite").read_bytes())
    elif kind == "cut off":
        del data[len(data) // 2 :]
    elif kind == "one bit":
        data[5000] ^= 1
    elif kind == "no model":
        data = bytearray(b"no model at all")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("of others", "not made by edge-convert or edge-teach"),
        ("cut off", "damaged or cut off"),
        ("one bit", "damaged or cut off"),
        ("no model", "not a TFLite model"),
    ],
)
def test_bases_that_cannot_be_taught_are_refused(
    tmp_path: Path, classes: Path, capfd: pytest.CaptureFixture[str], kind: str, message: str
) -> None:
    base, output = broken_base(tmp_path / "base.tflite", kind), tmp_path / "things.tflite"
    assert main([str(base), str(classes), "-o", str(output)]) == 4
    assert message in capfd.readouterr().err
    assert not output.exists()


def test_nothing_that_is_there_is_overwritten_unasked(
    tmp_path: Path, classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, output = shutil.copy(model("int8"), tmp_path / "base.tflite"), tmp_path / "things.tflite"
    output.write_bytes(b"something of mine")
    before = Path(base).read_bytes()
    assert main([str(base), str(classes), "-o", str(output)]) == 6
    assert output.read_bytes() == b"something of mine"
    assert main([str(base), str(classes), "-o", str(base), "--replace"]) == 6
    assert Path(base).read_bytes() == before
    assert main([str(base), str(classes), "-o", str(output), "--replace"]) == 0
    assert f"next: edge-classify --model {output} --camera 0" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([str(classes), str(base), "-o", str(output), "--replace"])
    assert f"the model file comes before the photos: edge-teach {base} {classes} -o" in capsys.readouterr().err
    assert json.dumps(Classifier(output).labels) == '["barred", "plus", "wheel", "unknown"]'


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 20 kB."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_full_disk_leaves_the_file_of_before(taught: Taught, tmp_path: Path, full_disk: None) -> None:  # noqa: ARG001
    output = tmp_path / "things.tflite"
    output.write_bytes(b"the file of before")
    with pytest.raises(OSError, match="too large"):
        write_file(output, taught.path.read_bytes())
    assert [path.name for path in tmp_path.iterdir()] == ["things.tflite"]
    assert output.read_bytes() == b"the file of before"


# The first disk has no room for the features, the second none for the file.
@pytest.mark.parametrize(("kilobytes", "named"), [(72, "disk"), (120, "disk/things.tflite")])
def test_a_small_disk_that_fills_up_is_one_line(classes: Path, tmp_path: Path, kilobytes: int, named: str) -> None:
    base, folder = model("int8"), tmp_path / "disk"
    folder.mkdir()
    script = f"""
        mount -t tmpfs -o size={kilobytes}k tmpfs {folder} && cp {base} {folder}/things.tflite || exit 99
        "$@"
        echo code $? && ls -A {folder} && cmp {base} {folder}/things.tflite && echo as before
    """
    words = [sys.executable, "-m", "edge_classify.learn.teaching", base, classes, "-o", folder / "things.tflite"]
    inside = ["unshare", "--mount", "sh", "-c", script, "sh", *map(str, words), "--replace"]
    done = subprocess.run(inside, capture_output=True, text=True, timeout=120, check=False)
    if "code" not in done.stdout:
        pytest.skip("only root may mount a small disk")
    assert done.stdout.splitlines() == ["code 6", "things.tflite", "as before"]
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path / named}: the disk is full: ")


KILLED = """
import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

from edge_classify.learn.teaching.taught_file import write_file

output, kills = Path(sys.argv[1]), int(sys.argv[2])
contents = [Path(name).read_bytes() for name in sys.argv[3:]]
found = set()
while len(found) < 2 or kills > 0:
    kills -= 1
    child = os.fork()
    if not child:
        for content in itertools.cycle(contents):
            write_file(output, content)
    time.sleep(random.uniform(0.02, 0.3))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found.add(contents.index(output.read_bytes()))
"""


@pytest.mark.parametrize("taught", ["int8"], indirect=True)
@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_power_that_fails_at_any_moment_leaves_the_old_file_or_the_new_one(
    taught: Taught, tmp_path: Path, kills: int
) -> None:
    output = Path(shutil.copy(taught.base.path, tmp_path / "things.tflite"))
    sources = [str(path) for path in (taught.base.path, taught.path)]
    subprocess.run([sys.executable, "-c", KILLED, output, str(kills), *sources], check=True, timeout=280)
    # The last child's half is there at most: each removes what the one before it left.
    left = [path for path in tmp_path.iterdir() if path != output]
    assert len(left) <= 1
    Classifier(output)


def test_a_file_that_fails_its_self_test_is_not_put_in_place(taught: Taught, tmp_path: Path) -> None:
    output = tmp_path / "things.tflite"
    output.write_bytes(b"the file of before")
    content = bytearray(taught.path.read_bytes())
    content[8000] ^= 0xFF
    with pytest.raises(ModelFileError):
        write_file(output, bytes(content))
    assert [path.name for path in tmp_path.iterdir()] == ["things.tflite"]
    assert output.read_bytes() == b"the file of before"
