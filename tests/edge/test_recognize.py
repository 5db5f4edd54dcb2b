"""What a command says that was given another thing than it takes: what it is, and what was probably meant."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from conftest import classify_here, run_here, write_photos
from edge_classify.recognize import recognize
from edge_classify.system.cores import usable_cores


@pytest.fixture
def given(tmp_path: Path, small_models: Path, int8_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with one of each kind of thing."""
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", 2, ("cross", "disc"))
    write_photos(tmp_path / "split" / "train", 1, ("cross", "disc"))
    write_photos(tmp_path / "flat", 1, ("disc",))
    shutil.copytree(small_models, tmp_path / "models")
    (tmp_path / "one").mkdir()
    shutil.copy(int8_model, tmp_path / "one")
    shutil.copy(int8_model, tmp_path / "my.tflite")
    (tmp_path / "runs" / "cups").mkdir(parents=True)
    (tmp_path / "runs" / "cups" / "run.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.usefixtures("given")
def test_kinds() -> None:
    kinds = {name: recognize(name) for name in ("photos", "photos/disc", "split", "models", "my.tflite", "runs/cups")}
    assert kinds == {
        "photos": "photos",
        "photos/disc": "photos",
        "split": "photos",
        "models": "model folder",
        "my.tflite": "model file",
        "runs/cups": "run folder",
    }
    for folder in ("source/docs/pictures", "source/code", "source/tests"):
        Path(folder).mkdir(parents=True)
    for picture in ("source/logo.png", "source/docs/pictures/page.png"):
        shutil.copy("photos/disc/0.png", picture)
    assert recognize("source") is None
    assert recognize("empty") is recognize("gone") is recognize("photos/disc/0.png") is None


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["runs/cups"], 2, "runs/cups: a run folder, not .*: make model files from it with edge-convert runs/cups -o"),
        (["my.tflite"], 2, "my.tflite: a model file, not a camera or pictures: use .* --model my.tflite"),
        (["models"], 2, "models: a folder of model files, not of pictures: use .* --models models --budget"),
        (["my.tflite", "photos"], 2, "my.tflite is a model file: did you mean edge-classify photos --model my.tflite"),
        (["photos", "my.tflite"], 2, "my.tflite is a model file: did you mean edge-classify photos --model my.tflite"),
        (["a.jpg", "b.jpg"], 2, r"expected one SOURCE, found 2 \(a.jpg, b.jpg\): put pictures into one folder"),
        (["rtsp://me:secret@host/", "b.jpg"], 2, r"found 2 \(rtsp://\*\*\*@host/, b.jpg\)"),
        (["photos", "--model", "photos"], 4, "photos: a folder of photos, not a model file: .*: edge-train photos"),
        (["photos", "--model", "photos/disc"], 4, "photos/disc: a folder of photos, .*: edge-train /.*/.*"),
        (["photos", "--model", "split"], 4, "split: a folder of photos, not a model file: .*: edge-train split$"),
        (["photos", "--model", "flat"], 4, "flat: .*: edge-train PHOTOS, in which each class has a folder"),
        (["photos", "--model", "flat/disc"], 4, "flat/disc: .*: edge-train PHOTOS, in which each class has a folder"),
        (
            ["photos", "--model", "models"],
            4,
            "models: a folder of model files, .*: give one, as models/.*; edge-bench.* models",
        ),
        (["photos", "--model", "one"], 4, "one: a folder of model files, not one of them: give one/mobilenet_v2"),
        (["photos", "--crop", "auto"], 2, "--crop: auto is for edge-train only, .*: leave --crop out"),
        (["photos", "--model", "runs/cups"], 4, "runs/cups: a run folder, not a model file: .*edge-convert runs/cups"),
        (["photos", "--model", "empty"], 4, "empty: a folder, not a model file: expected a .tflite file"),
    ],
)
def test_edge_classify_says_what_was_meant(
    capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    ended, said = classify_here(capfd, *arguments)
    assert ended == code
    assert said.count("\n") == 1
    assert re.search(message, said), said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "-o", "new"], "photos: a folder of photos, not a run folder: first edge-train photos, then"),
        (["my.tflite", "-o", "new"], "my.tflite: a model file, which is what edge-convert writes: give the run folder"),
        (["models", "-o", "new"], "models: a model folder, which is what edge-convert writes: give the run folder"),
        (["empty", "-o", "new"], "empty: no finished run here .run.json is missing.: give the folder that edge-train"),
        (["lost", "-o", "new"], "lost: no such run folder: make one with edge-train PHOTOS -o lost"),
        (["run/cup", "-o", "new"], "run/cup: no such run folder: did you mean runs/cups[?]"),
        (["runs/cups", "-o", "photos"], "photos: a folder of photos, which model files do not belong in: give another"),
        (["runs/cups", "-o", "runs/cups"], "runs/cups: a run folder, which model files do not belong in: give another"),
    ],
)
def test_edge_convert_says_what_was_meant(
    capfd: pytest.CaptureFixture[str], given: Path, arguments: list[str], message: str
) -> None:
    from edge_convert.cli import main

    ended, said = run_here(main, capfd, *arguments)
    assert ended == 6
    assert re.search(message, said), said
    assert not (given / "new").exists()


@pytest.mark.usefixtures("given")
def test_the_first_line_names_the_model(command) -> None:
    own = command("edge-classify", "photos", "--model", "my.tflite")
    at_once = f"{usable_cores()} pictures at a time, 1 thread each" if usable_cores() > 1 else "1 thread"
    first = own.stderr.splitlines()[0]
    assert first == f"model my.tflite: 4 labels (cross, disc, stripes, unknown); {at_once}"
    demo = command("edge-classify", "demo", "--count", 1)
    first = demo.stderr.splitlines()[0]
    assert first.startswith("model: the built-in one, which reads handwritten digits")
    assert re.search(r"; \d threads? \(auto: an inference takes \d+\.\d ms with 1(, \d+\.\d with \d)*\)$", first)
    given = command("edge-classify", "demo", "--count", 1, "--num-threads", 2)
    assert given.stderr.splitlines()[0].endswith("; 2 threads")
    meant = command("edge-classify", "photos/disc")
    assert meant.stderr == (
        "warning: the model is the built-in one, which reads handwritten digits; "
        "to classify photos of anything else, give your own with --model FILE\n"
    )
