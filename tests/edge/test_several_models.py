"""Several models on one source: each answers for every frame, as it would alone, and is told apart by its name."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import Command, classify_here, write_photos
from edge_classify import Classifier
from edge_classify.model.classifier import Classification, Inference
from edge_classify.model.interpreter import BUILTIN_MODEL
from edge_classify.sources import demo

ROOT = Path(__file__).parent.parent
THIRD_PARTY = ROOT / "models" / "colors" / "float32_probabilities.tflite"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads the demo's digits."""
    return shutil.copy(BUILTIN_MODEL, tmp_path_factory.mktemp("digits") / "digits.tflite")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo as a file, of which no frame is dropped: a digit, the desk, another digit."""
    path = tmp_path_factory.mktemp("video") / "digits.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    for number in (50, 100, 155):
        for _ in range(12):
            writer.write(demo.draw(number).image)
    writer.release()
    return path


def parsed(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_model_answers_every_frame_as_it_does_alone(
    command: Command, video: Path, digits: Path, int8_model: Path, tmp_path: Path
) -> None:
    def answers(*models: object) -> tuple[list[dict], list[dict]]:
        events = tmp_path / f"{len(models)}_{Path(str(models[-1])).stem}.jsonl"
        words = [word for model in models for word in ("--model", model)]
        done = command(
            *("edge-classify", video, "--fast", "--json", "--smoothing", 0, "--count", 30, "--events", events, *words)
        )
        assert done.returncode == 0, done.stderr
        results, changes = parsed(done.stdout), parsed(events.read_text())
        for record in (*results, *changes):
            record.pop("timing_ms", None)
        return results, changes

    together, events = answers(digits, f"shapes={int8_model}")
    assert [(result["frame"], result["model"]) for result in together[:4]] == [
        (0, "digits"), (0, "shapes"), (1, "digits"), (1, "shapes")
    ]  # fmt: skip
    assert all(one["time"] == other["time"] for one, other in zip(together[::2], together[1::2], strict=True))
    for model, name in ((digits, "digits"), (f"shapes={int8_model}", "shapes")):
        alone, own_events = answers(model)
        assert len(alone) == 30
        for here, there in ((together, alone), (events, own_events)):
            found = [without_time(record) for record in here if record["model"] == name]
            assert found == [without_time(record) for record in there]
        assert [event["state"] for event in own_events] == [state for state, _ in groupby(r["state"] for r in alone)]
    assert len([event for event in events if event["model"] == "digits"]) > 1


def without_time(record: dict) -> dict:
    return {key: value for key, value in record.items() if key not in ("time", "previous_seconds")}


def test_pictures_have_a_line_and_the_summary_a_table_for_each_model(
    command: Command, digits: Path, int8_model: Path, tmp_path: Path
) -> None:
    write_photos(tmp_path, 2, ("disc", "cross"))
    done = command("edge-classify", tmp_path, "--model", digits, "--model", f"shapes={int8_model}", "--count", 3)
    assert done.returncode == 0, done.stderr
    assert f"model {digits}: 11 labels" in done.stderr
    assert f"model shapes={int8_model}: 4 labels" in done.stderr
    found = re.findall(r"(\w+/\d\.png): (digits|shapes): (\S+) ", done.stdout)
    assert [(picture, model) for picture, model, _ in found] == [
        (picture, model) for picture in ("cross/0.png", "cross/1.png", "disc/0.png") for model in ("digits", "shapes")
    ]
    _, of_digits, of_shapes, together = re.split(r"^model \w+$|^all models together$", done.stdout, flags=re.MULTILINE)
    assert "3 pictures: cross 2, disc 1" in of_shapes
    assert "3 pictures: " in of_digits

    def median(table: str, stage: str) -> float:
        return float(re.search(rf"^{stage} +(\S+)", table, re.MULTILINE)[1])

    for table in (of_digits, of_shapes, together):
        assert "3 frames, " in table
    # The second waits for the first, and the frame is done when the second is.
    assert median(of_shapes, "capture_age") >= median(of_digits, "preprocess") + median(of_digits, "inference")
    assert median(together, "total") == median(of_shapes, "total")
    assert median(together, "inference") > max(median(of_digits, "inference"), median(of_shapes, "inference"))


def test_a_stream_has_one_line_for_all_models_and_so_has_systemd(
    command: Command, digits: Path, int8_model: Path, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        words = ["--camera", "demo", "--count", 20, "--model", digits, "--model", f"shapes={int8_model}"]
        done = command("edge-classify", *words, env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert done.returncode == 0, done.stderr
        ready = listener.recv(4096).decode()
    line = r"^digits: (\d|unknown) \S.*  shapes: \w+ \S.* +\d+\.\d ms +\d+\.\d fps$"
    assert re.search(line, done.stdout, re.MULTILINE)
    assert re.search(r"^READY=1\nWATCHDOG=1\nSTATUS=digits: \w+, shapes: \w+, frame \d+$", ready)
    assert done.stdout.count("20 frames, ") == 3


def test_a_model_that_fails_is_left_out_aloud_and_the_others_go_on(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, video: Path, digits: Path
) -> None:
    pictures = iter(range(100))
    conclude = Classifier.conclude

    def fail_later(self: Classifier, inference: Inference) -> Classification:
        if self.model_file.path == THIRD_PARTY and next(pictures) >= 5:
            inference.outputs.fill(np.nan)
        return conclude(self, inference)

    monkeypatch.setattr(Classifier, "conclude", fail_later)
    for words in ((digits, THIRD_PARTY), (THIRD_PARTY, digits)):
        pictures = iter(range(100))
        models = [word for model in words for word in ("--model", model)]
        code = run_here(video, "--fast", "--json", "--count", 10, *models)
        said = capfd.readouterr()
        assert code == 4
        results = parsed(said.out)
        assert [r["frame"] for r in results if r["model"] == "digits"] == list(range(10))
        assert [r["frame"] for r in results if r["model"] == THIRD_PARTY.stem] == list(range(5))
        assert said.err.count(f"warning: {THIRD_PARTY}: its scores are not numbers") == 1
        assert f"{THIRD_PARTY.stem} is left out from now on, the others go on" in said.err
        assert said.err.count("10 frames, ") == 2  # of digits, and of all together
        assert said.err.splitlines()[-1].startswith(f"error: {THIRD_PARTY}: its scores are not numbers")
    pictures = iter(range(100))
    assert run_here(video, "--fast", "--json", "--model", THIRD_PARTY) == 4
    assert len(parsed(capfd.readouterr().out)) == 5


def run_here(*words: object) -> int:
    from edge_classify.cli import main

    return main([str(word) for word in words])


def test_the_name_that_a_refusal_proposes_is_taken(command: Command, int8_model: Path, tmp_path: Path) -> None:
    write_photos(tmp_path, 1, ("disc",))
    for name in ("door", "bin"):
        (tmp_path / name).mkdir()
        shutil.copy(int8_model, tmp_path / name / "m.tflite")
    one, other = tmp_path / "door" / "m.tflite", tmp_path / "bin" / "m.tflite"
    done = command("edge-classify", tmp_path / "disc", "--json", "--model", one, "--model", other)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: 2 models would be called m (")
    proposed = re.search(r"(--model door=\S+) (--model bin=\S+)$", done.stderr.strip())
    assert proposed is not None
    done = command("edge-classify", tmp_path / "disc", "--json", *" ".join(proposed.groups()).split())
    assert [result["model"] for result in parsed(done.stdout)] == ["door", "bin"]


def test_a_file_whose_name_has_an_equals_sign_is_a_file(command: Command, int8_model: Path, tmp_path: Path) -> None:
    write_photos(tmp_path, 1, ("disc",))
    shutil.copy(int8_model, tmp_path / "a=b.tflite")
    for model in ("a=b.tflite", tmp_path / "a=b.tflite"):
        done = command("edge-classify", "disc", "--json", "--model", model, cwd=tmp_path)
        assert parsed(done.stdout)[0]["model"] == "a=b"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "names.txt"], "--labels is for one --model, found 2: "),
        (["--input-range", "0..1"], "--input-range is for one --model, found 2: "),
        (["--input-size", "64x64"], "--input-size is for one --model, found 2: "),
        (["--models", "models", "--budget-ms", "5"], "use --models MODELS with --budget-ms MS, and without --model"),
        (["--model", "=c.tflite"], "--model =c.tflite: expected FILE or NAME=FILE"),
        (["--model", "c="], "--model c=: expected FILE or NAME=FILE"),
        (["--model", "other/b.tflite"], "2 models would be called b (b.tflite, other/b.tflite): name each: "),
        (["--camera", "1"], "--camera: expected one, found 2: start one edge-classify for each"),
    ],
)
def test_what_several_models_cannot_have_is_refused_before_one_is_read(
    capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, said = classify_here(capfd, "--camera", "demo", "--model", "a.tflite", "--model", "b.tflite", *arguments)
    assert code == 2
    (line,) = said.splitlines()
    assert line.startswith(f"error: {message}")


def test_model_files_without_their_option_are_recognized(
    capfd: pytest.CaptureFixture[str], digits: Path, int8_model: Path
) -> None:
    for words in (["demo", digits, int8_model], ["--model", digits, int8_model, "demo"]):
        code, said = classify_here(capfd, *words)
        assert code == 2
        assert f"did you mean edge-classify demo --model {digits} --model {int8_model}?" in said
    code, said = classify_here(capfd, "--model", digits, int8_model)
    assert f"did you mean edge-classify --model {digits} --model {int8_model}?" in said
    code, said = classify_here(capfd, digits, "rtsp://name:secret@host/stream")
    assert "secret" not in said
