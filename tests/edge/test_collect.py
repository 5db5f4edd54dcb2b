"""Collecting photos on the device: which are kept, what is said in them, and that none is ever half there."""

from __future__ import annotations

import errno
import json
import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from conftest import Command, classify_here, write_photos
from edge_classify import Classifier, read_photo, teach
from edge_classify.collect.burst import Bursts
from edge_classify.collect.class_folder import class_folder
from edge_classify.collect.labelling import Labelling
from edge_classify.collect.likeness import Likeness, describe_by, pack, thumbnail, unpack
from edge_classify.collect.limits import Limits
from edge_classify.collect.quality import hint
from edge_classify.collect.record import Record, decode_record, read_record
from edge_classify.collect.store import Store
from edge_classify.collect.taking import Taking
from edge_classify.errors import UsageError
from edge_classify.images.jpeg_comment import read_comment, with_comment
from edge_classify.model.features import ending_at_features, name_backbone
from edge_classify.model.interpreter import BUILTIN_MODEL
from edge_classify.outputs.collect import Collect
from edge_classify.outputs.destinations import Destinations
from edge_classify.outputs.run import Run
from edge_classify.pipeline.decision import Decision
from edge_classify.pipeline.loop import Model, classify_frames
from edge_classify.pipeline.models import Models
from edge_classify.sources import demo
from edge_classify.sources.frame import Frame
from edge_classify.system.checksum import file_sha256

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
        assert record.features_by == describe.by
        assert float(describe(read_photo(path)) @ record.description()) > 0.99
    # The same again brings nothing new, also after one was labelled.
    folder = tmp_path / "photos" / "labelled" / "cup"
    folder.mkdir(parents=True)
    files[0].rename(folder / files[0].name)
    assert command(*words).returncode == 0
    assert kept(tmp_path / "photos") == files[1:]


def test_what_a_model_has_kept_is_not_kept_again_after_it_was_taught(
    command: Command, int8_model: Path, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "desk.avi", [50, 100, 155], 5)
    taught = tmp_path / "taught.tflite"
    teach(int8_model, write_photos(tmp_path / "drawn", 6), taught)

    def collect(model: Path) -> list[Path]:
        words = ("--model", model, "--collect", tmp_path / "photos", "--collect-free-mb", 0)
        done = command("edge-classify", video, "--fast", *words)
        assert done.returncode == 0, done.stderr
        return kept(tmp_path / "photos")

    files = collect(int8_model)
    assert files
    assert collect(taught) == files
    assert read_record(files[0]).sha256 == file_sha256(int8_model)
    (group,) = [group for group in Labelling(tmp_path / "photos").groups() if group[0].name == files[0].name]
    assert group[0].record.features_by == name_backbone(taught.read_bytes())
    # Another backbone sees otherwise.
    assert len(collect(BUILTIN_MODEL)) > len(files)


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
        (
            ("--camera", "demo", "--collect-mb-per-day", 20),
            2,
            "--collect-mb-per-day is for --collect FOLDER: give that too",
        ),
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
    # Collecting begins after the first results: on a busy machine 40 frames later.
    words = ("--collect", tmp_path, "--collect-free-mb", 1e9)
    done = command("edge-classify", "--camera", "demo", "--count", 200, *words)
    assert done.returncode == 0, done.stderr
    assert "less would be left free than --collect-free-mb" in done.stderr
    assert "photos not kept: " in done.stdout
    assert "200 frames" in done.stdout
    # A video is not live: a full disk ends it, as it does for --events.
    done = command("edge-classify", video, "--fast", *words)
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


def test_a_day_before_a_still_scene_leaves_few_photos(tmp_path: Path) -> None:
    """From the light of noon to that of the night, and warmer in the evening, every quarter of an hour."""
    classifier, clock, rng = Classifier(), Clock(), np.random.default_rng(0)
    scene, start = demo.draw(50).image, clock.now
    model = Model("desk", classifier)

    def day() -> Iterator[Frame]:
        for number, second in enumerate(range(0, 86400, 900)):
            sun = max(0.0, float(np.sin((second / 86400 - 0.25) * 2 * np.pi)))
            colours = (0.15 + 0.85 * sun) * np.array([0.85 + 0.15 * sun, 1.0, 1.1 - 0.1 * sun])
            image = np.clip(scene * colours + rng.integers(-5, 6, scene.shape), 0, 255).astype(np.uint8)
            yield Frame(image, number, float(second), "camera")

    with ExitStack() as stack:
        source = SimpleNamespace(live=False, stream=True)
        destinations = Destinations(stack, Run(source, Models([model])))
        collect = stack.enter_context(Collect(tmp_path, ROOMY, destinations, clock))
        for result in classify_frames(day(), classifier, Decision(classifier.labels)):
            clock.now = start + result.frame.captured_at
            collect.append(result._replace(captured_time=clock.now, finished_at=result.frame.captured_at, model="desk"))
            destinations.drain()  # what the clock says is when it was taken
    assert clock.now - start > 85_000
    assert 1 <= len(kept(tmp_path)) <= 5
    today = json.loads((tmp_path / "today.json").read_text())
    assert today["photos"] <= 5
    assert sum(path.stat().st_size for path in kept(tmp_path)) <= today["bytes"] <= 20_000_000


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


def test_a_clock_that_jumps_keeps_days_apart_and_removes_nothing_too_soon(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path, Limits(photos_per_day=2, days=30, free_bytes=0), clock)

    def add(seconds: float) -> bool:
        clock.now += seconds
        return store.add(noise(0), Record(clock.now, "flip", "")) is not None

    assert [add(0), add(-3600), add(60)] == [True, True, False]
    assert [add(10 * 86400), add(60), add(60)] == [True, True, False]
    clock.now = 0.0  # as a device without a battery starts, until it has asked for the time
    assert store.remove_old() == 0
    assert [add(1), add(1), add(1)] == [True, True, False]
    assert len(store.unlabelled()) == 6


def test_putting_back_overwrites_no_photo_that_was_taken_meanwhile(tmp_path: Path) -> None:
    clock = Clock()
    store, labelling = Store(tmp_path, ROOMY, clock), Labelling(tmp_path)
    first = store.add(noise(0), Record(clock.now, "flip", ""))
    content = first.read_bytes()
    done = labelling.label([first.name, first.name], "cup")
    assert done.missing == ()
    second = store.add(noise(1), Record(clock.now, "flip", ""))  # the clock was set back
    assert second == first
    labelling.undo(done.number)
    assert {path.read_bytes() for path in store.unlabelled()} == {content, second.read_bytes()}
    assert len(store.unlabelled()) == 2


def test_a_disk_that_fills_up_in_the_middle_of_labelling_moves_nothing_and_loses_no_undo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, labelling = Store(tmp_path, ROOMY), Labelling(tmp_path)
    names = [store.add(noise(number), Record(1000.0 + number, "flip", "")).name for number in range(4)]
    done = labelling.label(names[:2], "cup")
    full, rename = tmp_path / "labelled" / "cup", Path.rename

    def fill_up(path: Path, target: Path) -> Path:
        if {path.name, target.name} & {names[1], names[3]} and (target.parent == full or path.parent == full):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fill_up)
        with pytest.raises(OSError, match="No space"):
            labelling.label(names[2:], "cup")
        assert [path.name for path in store.unlabelled()] == names[2:]
        with pytest.raises(OSError, match="No space"):
            labelling.undo(done.number)
        assert {path.name for path in full.iterdir()} == set(names[:2])
    labelling.undo(done.number)
    assert [path.name for path in store.unlabelled()] == names


SMALL_DISK = """
import sys
from pathlib import Path
import numpy as np
from edge_classify.collect.labelling import Labelling
from edge_classify.collect.limits import Limits
from edge_classify.collect.record import Record
from edge_classify.collect.store import Store

root = Path(sys.argv[1]) / "photos"
store, labelling = Store(root, Limits(free_bytes=0)), Labelling(root)
rng = np.random.default_rng(0)
try:
    for number in range(1000):
        store.add(rng.integers(0, 256, (240, 320, 3), np.uint8), Record(1000.0 + number, "flip", ""))
except OSError as error:
    print(error.strerror)
names = [path.name for path in store.unlabelled()]
moved = []
try:
    for number, name in enumerate(names):
        moved += labelling.label([name], f"class {number}").moves
except OSError as error:
    print(error.strerror)
paths = [*root.rglob("*.jpg")]
assert sorted(path.name for path in paths) == names
assert [path for path in paths if path.read_bytes()[-2:].hex() != "ffd9"] == []
assert len(moved) == len(list(root.glob("labelled/*/*.jpg")))
print(len(names), len(moved))
"""


def test_a_full_disk_leaves_whole_photos_and_no_label_half_given(tmp_path: Path) -> None:
    mount = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size=2m,nr_inodes=40 tmpfs {tmp_path} && exec "$@"']
    if subprocess.run([*mount, "sh", "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    words = [*mount, "sh", sys.executable, "-c", SMALL_DISK, tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    *why, counts = done.stdout.splitlines()
    assert why == ["less would be left free than --collect-free-mb", "No space left on device"]
    kept, labelled = map(int, counts.split())
    assert kept > labelled > 0


def test_a_folder_that_is_cleared_away_meanwhile_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "photos", ROOMY)
    store.add(noise(0), Record(1.0, "flip", ""))
    shutil.rmtree(tmp_path / "photos")
    assert store.add(noise(1), Record(2.0, "flip", "")) is not None
    assert len(store.unlabelled()) == 1


KILLED = """
import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from edge_classify.collect.labelling import Labelling
from edge_classify.collect.limits import Limits
from edge_classify.collect.record import Record
from edge_classify.collect.store import Store
from edge_classify.collect.taking import Taking

root, kills = Path(sys.argv[1]), int(sys.argv[2])
roomy = {"photos_per_day": 10**9, "bytes_per_day": 10**15, "free_bytes": 0}


def work(life):
    store, small = Store(root, Limits(photos=10**6, **roomy)), Store(root / "small", Limits(photos=20, **roomy))
    taking, labelling = Taking(root / "labelled" / "taken"), Labelling(root)
    rng = np.random.default_rng(life)
    log = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in itertools.count():
        image, record = rng.integers(0, 256, (120, 160, 3), np.uint8), Record(life * 1e4 + number, "flip", "")
        os.write(log, f"kept {store.add(image, record).name}\\n".encode())
        small.add(image, record)
        os.write(log, f"taken {taking.add(image).path.name}\\n".encode())
        waiting = [path.name for path in store.unlabelled()[-3:]]
        if number % 3 == 2:
            labelling.label(waiting, "cup")
            os.write(log, "".join(f"cup {name}\\n" for name in waiting).encode())


for life in itertools.count():
    if life >= kills and "cup" in (root / "log").read_text():  # not so on a very slow machine
        break
    child = os.fork()
    if not child:
        work(life)
    time.sleep(random.uniform(0.02, 0.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_power_that_fails_at_any_moment_leaves_whole_photos_and_every_label(tmp_path: Path, kills: int) -> None:
    subprocess.run([sys.executable, "-c", KILLED, tmp_path, str(kills)], check=True, timeout=280)
    cups, taken = tmp_path / "labelled" / "cup", tmp_path / "labelled" / "taken"
    store, small = Store(tmp_path, ROOMY), Store(tmp_path / "small", ROOMY)
    Taking(taken)
    halves = [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert halves == []
    for path in tmp_path.rglob("*.jpg"):
        assert read_photo(path).shape == (120, 160, 3)
        assert read_record(path) is not None
    folders = {
        "kept": {path.name for path in [*store.unlabelled(), *cups.iterdir()]},
        "taken": {path.name for path in taken.iterdir()},
        "cup": {path.name for path in cups.iterdir()},
    }
    said = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [line for line in said if line[1] not in folders[line[0]]] == []
    assert {what for what, _ in said} == set(folders)
    assert 0 < len(small.unlabelled()) <= 20


def test_photos_taken_one_right_after_another_are_of_one_burst() -> None:
    bursts = Bursts()
    names = [bursts.at(when) for when in (100, 100.5, 102.4, 105, 106, 108, 110, 112, 114, 116.5, 90)]
    assert len(set(names[:3])) == 1
    assert names[3] != names[2]
    assert len(set(names[3:8])) == 1
    assert len({names[3], names[9], names[10]}) == 3  # after too long a pause, and after the clock has jumped


def test_what_is_known_of_a_photo_travels_in_it_and_nothing_else_is_taken_for_it(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", noise(0))[1].tobytes()
    scores, crop = {"cup": 0.5, "☕/+#": 0.25}, (0, 0, 1, 0.5)
    record = Record(1.5, "flip", "now", "cup", scores, "door", "ab" * 32, crop, "AAAA", "cd")
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
