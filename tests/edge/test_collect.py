"""Collecting photos on the device: which are kept, what is said in them, and that none is ever half there."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import Command, classify_here
from edge_classify import Classifier, read_photo
from edge_classify.collect.burst import Bursts
from edge_classify.collect.class_folder import class_folder
from edge_classify.collect.likeness import Likeness, describe_by, pack, thumbnail, unpack
from edge_classify.collect.limits import Limits
from edge_classify.collect.quality import hint
from edge_classify.collect.record import Record, decode_record, read_record
from edge_classify.collect.store import Store
from edge_classify.errors import UsageError
from edge_classify.images.jpeg_comment import read_comment, with_comment
from edge_classify.model.features import ending_at_features
from edge_classify.model.interpreter import BUILTIN_MODEL
from edge_classify.sources import demo

ROOMY = Limits(free_bytes=0)


def write_video(path: Path, numbers: list[int], each: int) -> Path:
    """Frames of the demo, each for a while, a little noisy as a camera's are."""
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    for number in numbers:
        for _ in range(each):
            noise = rng.integers(-4, 5, (480, 640, 1))
            writer.write(np.clip(demo.draw(number).image + noise, 0, 255).astype(np.uint8))
    writer.release()
    return path


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "unlabelled").glob("*"))


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)


def test_one_photo_is_kept_of_each_scene_and_says_what_the_model_made_of_it(command: Command, tmp_path: Path) -> None:
    video = write_video(tmp_path / "desk.avi", [50, 100, 155], 20)
    words = ("edge-classify", video, "--fast", "--json", "--collect", tmp_path / "photos", "--collect-free-mb", 0)
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert f"keeping photos of what the camera sees in {tmp_path / 'photos'}" in done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    files = kept(tmp_path / "photos")
    records = [read_record(path) for path in files]
    states = {result["state"] for result in results}
    # The empty desk between two digits is unknown; what each digit is kept for is that the state changes to it.
    assert 2 <= len(files) <= 4
    assert {record.reason for record in records} <= {"sample", "unknown", "change", "flip", "uncertain"}
    assert {record.state for record in records} <= states
    assert all(record.model == "builtin" and len(record.sha256) == 64 for record in records)
    # What is saved is the picture that was classified, and it looks as it did.
    assert all(read_photo(path).shape == (480, 640, 3) for path in files)
    describe = describe_by(Classifier())
    for path, record in zip(files, records, strict=True):
        assert float(describe(read_photo(path)) @ record.description()) > 0.99
    # The same again brings nothing new, also after one was labelled.
    folder = tmp_path / "photos" / "labelled" / "cup"
    folder.mkdir(parents=True)
    files[0].rename(folder / files[0].name)
    assert command(*words).returncode == 0
    assert kept(tmp_path / "photos") == files[1:]


def test_a_part_that_only_the_command_line_names_is_what_is_kept(command: Command, tmp_path: Path) -> None:
    video = write_video(tmp_path / "desk.avi", [50], 5)
    done = command(
        *("edge-classify", video, "--fast", "--rotate", 90, "--crop", "0,0,0.5,0.5"),
        *("--collect", tmp_path / "photos", "--collect-free-mb", 0),
    )
    assert done.returncode == 0, done.stderr
    (path,) = kept(tmp_path / "photos")
    assert read_photo(path).shape == (320, 240, 3)
    assert read_record(path).crop is None  # the part is all of the photo now


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("photo.jpg", "--collect", "kept"), 2, "--collect needs a camera or a video"),
        (("--camera", "demo", "--collect", "photo.jpg"), 6, "expected a folder, found a file"),
        (("--camera", "demo", "--collect", "kept", "--collect-photos", 0), 2, "expected a whole number, 1 or more"),
    ],
)
def test_what_cannot_work_is_refused_before_the_camera_is_opened(
    words: tuple[object, ...],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("photo.jpg", noise(0))
    found, error = classify_here(capfd, *words)
    assert found == code
    assert said in error
    assert not Path("kept").exists()


def test_a_folder_that_cannot_be_written_loses_photos_and_no_frame(command: Command, tmp_path: Path) -> None:
    video = write_video(tmp_path / "desk.avi", [50, 100], 5)
    done = command("edge-classify", "--camera", "demo", "--count", 40, "--collect", tmp_path, "--collect-free-mb", 1e9)
    assert done.returncode == 0, done.stderr
    assert "less would be left free than --collect-free-mb" in done.stderr
    assert "photos not kept: " in done.stdout
    assert "40 frames" in done.stdout
    # A video is not live: a full disk ends it, as it does for --events.
    done = command("edge-classify", video, "--fast", "--collect", tmp_path, "--collect-free-mb", 1e9)
    assert done.returncode == 6
    assert "less would be left free" in done.stderr


def test_the_features_of_a_model_file_are_those_that_its_head_is_given(small_models: Path) -> None:
    picture = demo.draw(50).image
    for path in [BUILTIN_MODEL, *sorted(small_models.glob("*.tflite"))]:
        classifier = Classifier(path)
        before = classifier.classify(picture).scores
        features = classifier.twin(ending_at_features(path.read_bytes())).infer(picture).outputs
        assert features.shape == ((1280 if path == BUILTIN_MODEL else 64),)
        assert features.min() == 0  # after a ReLU6
        assert 0 < features.max() <= 6
        assert np.array_equal(classifier.classify(picture).scores, before)
    with pytest.raises(ValueError, match="points outside"):
        ending_at_features(b"TFL3" * 4)


def test_likeness_survives_being_written_down() -> None:
    rng = np.random.default_rng(0)
    values = np.maximum(rng.normal(size=1280), 0).astype(np.float32)
    values /= np.linalg.norm(values)
    assert float(unpack(pack(values)) @ values) > 0.9999
    seen = Likeness([unpack(pack(values))])
    assert not seen.is_new(values)
    assert seen.is_new(np.roll(values, 1))


def test_a_still_scene_in_changing_light_is_one_scene() -> None:
    seen = Likeness()
    picture = demo.draw(50).image
    count = 0
    for light in np.linspace(0.4, 1.0, 50):
        frame = np.clip(picture * light + np.random.default_rng(int(light * 1e6)).normal(0, 3, picture.shape), 0, 255)
        description = thumbnail(frame.astype(np.uint8))
        if seen.is_new(description):
            seen.remember(description)
            count += 1
    assert count == 1


class Clock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_store_keeps_to_its_limits_and_gives_up_the_least_useful(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path, Limits(photos=3, photos_per_day=6, free_bytes=0), clock)

    def add(reason: str) -> bool:
        clock.now += 1
        return store.add(noise(int(clock.now)), Record(clock.now, reason, "")) is not None

    assert all(add(reason) for reason in ("uncertain", "sample", "change"))
    labelled = tmp_path / "labelled" / "cup" / store.unlabelled()[0].name
    labelled.parent.mkdir(parents=True)
    shutil.copy(store.unlabelled()[0], labelled)
    assert add("unknown")  # for the sample
    assert [read_record(path).reason for path in store.unlabelled()] == ["uncertain", "change", "unknown"]
    assert add("unknown")  # for the change
    assert add("sample")  # as wanted as any new one; for the oldest of the unknown ones
    assert [read_record(path).reason for path in store.unlabelled()] == ["uncertain", "unknown", "sample"]
    assert not add("uncertain")  # the seventh of the day
    # Another run the same day starts where this one has stopped.
    assert (
        Store(tmp_path, Limits(photos_per_day=6, free_bytes=0), clock).add(noise(1), Record(clock.now, "flip", ""))
        is None
    )
    clock.now += 86400
    assert add("uncertain")
    assert labelled.exists()


def test_bytes_are_limited_too(tmp_path: Path) -> None:
    clock = Clock()
    size = len(Store(tmp_path / "one", ROOMY, clock).add(noise(0), Record(clock.now, "flip", "")).read_bytes())
    store = Store(tmp_path / "some", Limits(total_bytes=3 * size, bytes_per_day=5 * size + 99, free_bytes=0), clock)
    added = [store.add(noise(0), Record(clock.now + number, "flip", "")) for number in range(8)]
    assert [path is not None for path in added] == [True] * 5 + [False] * 3
    assert len(store.unlabelled()) == 3


def test_photos_that_nobody_labels_go_after_so_many_days(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path, Limits(days=2, free_bytes=0), clock)
    for day in range(5):
        store.add(noise(day), Record(clock.now + day * 86400, "flip", ""))
    clock.now += 4.5 * 86400
    assert store.remove_old() == 3
    assert len(store.unlabelled()) == 2


def test_a_clock_that_jumps_back_overwrites_nothing(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path, ROOMY, clock)
    paths = {store.add(noise(number), Record(clock.now, "flip", "")) for number in range(5)}
    assert len(paths) == 5
    assert [read_record(path).reason for path in store.unlabelled()] == ["flip"] * 5


def test_a_folder_that_is_cleared_away_meanwhile_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "photos", ROOMY)
    store.add(noise(0), Record(1.0, "flip", ""))
    shutil.rmtree(tmp_path / "photos")
    assert store.add(noise(1), Record(2.0, "flip", "")) is not None
    assert len(store.unlabelled()) == 1


KILLED = """
import sys
from pathlib import Path
import numpy as np
from edge_classify.collect.limits import Limits
from edge_classify.collect.record import Record
from edge_classify.collect.store import Store

store = Store(Path(sys.argv[1]), Limits(photos=20, photos_per_day=10**6, bytes_per_day=10**12, free_bytes=0))
rng = np.random.default_rng()
print("begun", flush=True)
for number in range(10**6):
    store.add(rng.integers(0, 256, (240, 320, 3), np.uint8), Record(float(number), "flip", ""))
"""


def test_power_that_fails_at_any_moment_leaves_only_whole_photos(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(rng.uniform(0.02, 0.15))
            process.send_signal(signal.SIGKILL)
        store = Store(tmp_path, ROOMY)
        for path in store.unlabelled():
            assert read_photo(path).shape == (240, 320, 3)
            assert read_record(path) is not None
        assert [path for path in kept(tmp_path) if path.name.startswith(".")] == []
    assert 0 < len(store.unlabelled()) <= 20


def test_photos_taken_one_right_after_another_are_of_one_burst() -> None:
    bursts = Bursts()
    names = [bursts.at(when) for when in (100, 100.5, 102.4, 105, 106, 108, 110, 112, 114, 116.5, 90)]
    assert len(set(names[:3])) == 1
    assert names[3] != names[2]
    assert len(set(names[3:8])) == 1
    assert len({names[3], names[9], names[10]}) == 3  # after too long a pause, and after the clock has jumped


def test_what_is_known_of_a_photo_travels_in_it_and_nothing_else_is_taken_for_it(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", noise(0))[1].tobytes()
    record = Record(1.5, "flip", "now", "cup", {"cup": 0.5, "☕/+#": 0.25}, "door", "ab" * 32, (0, 0, 1, 0.5), "AAAA")
    marked = with_comment(jpeg, record.encode())
    assert np.array_equal(
        cv2.imdecode(np.frombuffer(marked, np.uint8), 1), cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)
    )
    assert decode_record(read_comment(marked)) == record
    (tmp_path / "photo.jpg").write_bytes(marked)
    assert read_record(tmp_path / "photo.jpg") == record
    assert read_record(tmp_path / "gone.jpg") is None
    for other in (
        b"",
        b"a comment",
        b"[1]",
        b"{}",
        b'{"edge-classify": 1}',
        b'{"edge-classify": 1, "time": 3}',
        b"\xff",
    ):
        assert decode_record(read_comment(with_comment(jpeg, other))) is None
    for cut in range(0, len(marked), 97):
        read_comment(marked[:cut])
    with pytest.raises(ValueError, match="a comment of 70000 bytes"):
        with_comment(jpeg, b" " * 70_000)


@pytest.mark.parametrize("label", ["", " ", "a/b", "..", ".hidden", "a\nb", "x" * 256, "☕" * 100, "a\\b", " cup"])
def test_a_label_that_no_folder_can_have_is_refused(label: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a class"):
        class_folder(tmp_path, label)


def test_labels_of_any_script_are_folders(tmp_path: Path) -> None:
    for label in ("cup", "☕", "Tür auf", "門", "unknown", "a+b #1"):
        assert class_folder(tmp_path, label) == tmp_path / label


def test_dark_and_blurred_photos_are_told() -> None:
    picture = demo.draw(50).image
    assert hint(picture) == ""
    assert hint(picture // 20) == "dark"
    assert hint(cv2.GaussianBlur(picture, (0, 0), 20)) == "blurred"


def test_photos_are_taken_on_purpose_by_the_clock(command: Command, tmp_path: Path) -> None:
    words = ("edge-classify", "collect", "cup", "-o", tmp_path, "--camera", "demo")
    done = command(*words, "--every", "0.2s", "--count", 3)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'cup'}: 3 photos taken, 3 in all" in done.stdout
    assert len(list((tmp_path / "cup").glob("*.jpg"))) == 3
    done = command(*words, "--every", "0.2s", "--count", 1, "--model", BUILTIN_MODEL)
    assert f"{tmp_path / 'cup'}: 1 photo taken, 4 in all" in done.stdout
    done = command(*words, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (2, "error: there is no keyboard to press a key on: give --every 1s\n")
    done = command("edge-classify", "collect", "a/b", "--every", "1s", "-o", tmp_path)
    assert done.returncode == 2


def test_photos_are_taken_while_the_space_bar_is_held(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = [Path(sys.executable).with_name("edge-classify"), "collect", "cup", "-o", tmp_path, "--camera", "demo"]
    with subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        while "hold the space bar" not in process.stderr.readline():
            pass
        wait_for(lambda: os.write(ours, b" ") and list(tmp_path.glob("cup/*.jpg")))
        os.write(ours, b"q")
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert "in all" in said


def wait_for(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, command) -> None:
    (tmp_path / "file").touch()
    done = command("edge-classify", "--camera", "demo", "--count", 1, "--collect", tmp_path / "file" / "photos")
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1].endswith("photos: cannot be made: Not a directory")
