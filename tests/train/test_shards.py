"""Shards and tables in place of a folder: the same photos, split and heads; and what can be wrong with them."""

from __future__ import annotations

import csv
import json
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

import cv2
import fsspec
import numpy as np
import pytest

from conftest import TRAINING, Command, write_photos
from edge_classify import DataError, UsageError
from edge_classify.images.crop import Crop
from edge_classify.learn.photos.photo_set import Photo, PhotoSet
from edge_train.cache import open_cache
from edge_train.place import state_of
from edge_train.settings import Settings
from edge_train.shards.finding import find_listed_photos
from edge_train.shards.making import make_shards
from edge_train.shards.source import PhotoSource, parse_photos
from edge_train.training import sort_photos
from edge_train.workers import in_processes

SIZE = 300_000


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A split of the user's own, negatives, a copy, a name with two dots; the folder run's order is by these."""
    root = write_photos(tmp_path / "photos" / "train", 5).parent
    write_photos(root / "val", 3, seed=1)
    write_photos(root / "Test", 3, seed=2)
    (root / "train" / "unknown").mkdir()
    (root / "train" / "disc" / "0.png").rename(root / "train" / "disc" / "a.b.PNG")
    (root / "train" / "unknown" / "copy.png").write_bytes((root / "val" / "disc" / "1.png").read_bytes())
    return root


def sort(source: Path | PhotoSource) -> PhotoSet:
    with open_cache() as database:
        return sort_photos(database, source, Settings())[0]


def find(text: object, max_bad: float = 1) -> PhotoSet:
    with open_cache() as database:
        return find_listed_photos(database, PhotoSource(str(text), max_bad), in_processes, with_unknown=True)


def facts(photo: Photo) -> tuple[object, ...]:
    return photo.path, photo.label, photo.sha256, photo.part, photo.fold


def shards_of(root: Path, folder: Path) -> list[Path]:
    make_shards(root, folder, SIZE)
    return sorted(folder.glob("*.tar"))


def write_table(path: Path, rows: list[tuple[object, ...]], header: tuple[str, ...] = ("uri", "label")) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_shards_and_tables_are_split_as_the_folder_is(photos: Path, tmp_path: Path) -> None:
    from pyarrow import parquet, table

    folder = sort(photos)
    shards = shards_of(photos, tmp_path / "shards")
    assert len(shards) > 3
    rows = [
        (path.relative_to(photos), path.parent.name, path.parts[len(photos.parts)])
        for path in sorted(photos.rglob("*.*"), reverse=True)
    ]
    write_table(photos / "photos.csv", rows, ("Path", "label", "split"))
    columns = [list(map(str, column)) for column in zip(*rows, strict=True)]
    parquet.write_table(table(dict(zip(("uri", "label", "split"), columns, strict=True))), photos / "photos.parquet")
    for source in (f"{tmp_path}/shards/shards-{{0000..{len(shards) - 1:04d}}}.tar", f"{tmp_path}/shards"):
        assert list(map(facts, sort(parse_photos(source)).photos)) == list(map(facts, folder.photos))
    for name in ("photos.csv", "photos.parquet"):
        found = sort(parse_photos(str(photos / name)))
        assert list(map(facts, found.photos)) == list(map(facts, folder.photos))
        assert (found.labels, found.given_split, found.held_out_name) == (folder.labels, True, "Test/")


def test_photos_that_do_not_fit_into_one_block_are_all_looked_at(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards_of(photos, tmp_path / "shards")
    part = Settings(crop=Crop(0.25, 0, 0.5, 1))
    with open_cache() as database:
        folder, _ = sort_photos(database, photos, part)
        database.execute("DELETE FROM looks")
        monkeypatch.setattr("edge_train.progress._BLOCK", 7)
        found, _ = sort_photos(database, parse_photos(f"{tmp_path}/shards"), part)
        again, _ = sort_photos(database, photos, part)
    assert list(map(facts, found.photos)) == list(map(facts, again.photos)) == list(map(facts, folder.photos))
    assert found.fingerprint == folder.fingerprint


def test_shards_are_the_same_from_the_same_photos(photos: Path, tmp_path: Path) -> None:
    first = shards_of(photos, tmp_path / "a")
    moved = photos.rename(tmp_path / "moved")
    for path in moved.rglob("*.png"):
        path.touch()
    second = shards_of(moved, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert (tmp_path / "a" / "index.json").read_bytes() == (tmp_path / "b" / "index.json").read_bytes()
    (tmp_path / "moved" / "train" / "disc" / "1.png").unlink()
    (tmp_path / "b" / "shards-0099.tar").write_bytes(b"")
    shards_of(moved, tmp_path / "b")  # makes them anew; none of the earlier ones stays
    assert sum(shard["photos"] for shard in json.loads((tmp_path / "b" / "index.json").read_text())["shards"]) == 33
    assert not (tmp_path / "b" / "shards-0099.tar").exists()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="files that are no shards"):
        shards_of(moved, tmp_path / "b")


def test_what_is_wrong_is_named_and_only_so_much_is_let_pass(photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "disc" / "2.png").write_bytes(b"no picture")
    first, second, *others, last = shards_of(photos, tmp_path / "shards")
    text = f"{tmp_path}/shards/shards-{{0000..{len(others) + 2:04d}}}.tar"
    index = json.loads((tmp_path / "shards" / "index.json").read_text())["shards"]
    assert sum("train/disc/2.png: not a readable picture" in line for line in find(text, 5).skipped) == 1

    content = second.read_bytes()
    second.write_bytes(content[: len(content) // 2])
    last.unlink()
    found = find(text, 60)
    assert any(
        line.startswith(f"{second}: cut off or damaged after") and f"photos of {index[1]['photos']}" in line
        for line in found.skipped
    )
    assert f"{last}: No such file or directory" in found.skipped
    with pytest.raises(
        DataError,
        match=rf"nothing can be read of 1 of {len(index)} shards: in all, \d+ of 34 photos .*"
        r"cannot be read, and --max-bad allows 1%: .*cut off",
    ):
        find(text)
    # Cut off between two photos, with nothing to tell but the end of the file that is missing.
    (tmp_path / "shards" / "index.json").unlink()
    with tarfile.open(fileobj=BytesIO(content)) as tar:
        second.write_bytes(content[: tar.getmembers()[3].offset])
    assert any("cut off or damaged after 1 photo" in line for line in find(text, 60).skipped)
    assert not any("shards-0000" in line and "png" not in line for line in find(text, 60).skipped)
    assert first.exists()


def test_a_photo_that_changed_is_looked_at_anew(photos: Path) -> None:
    table = write_table(photos / "list.csv", [(path, path.parent.name) for path in photos.rglob("train/*/*.png")])
    before = find(table)
    changed = Path(before.photos[0].place.url)  # type: ignore[union-attr]
    changed.write_bytes((photos / "val" / "disc" / "0.png").read_bytes())
    assert {photo.sha256 for photo in find(table).photos} != {photo.sha256 for photo in before.photos}


def test_kaggles_lists_name_photos_in_a_flat_folder(tmp_path: Path) -> None:
    rows = []
    (tmp_path / "images").mkdir()
    for path in sorted(write_photos(tmp_path / "by class", 4).rglob("*.png")):
        name = f"{path.parent.name}{path.stem}"
        path.rename(tmp_path / "images" / f"{name}.png")
        rows.append((name, path.parent.name))
    found = find(write_table(tmp_path / "train.csv", rows, ("image_id", "label")))
    assert found.labels == ("cross", "disc", "stripes")
    assert [photo.path.as_posix() for photo in found.photos][:2] == ["images/cross0.png", "images/cross1.png"]
    with pytest.raises(DataError, match=r"no column of classes among image_id, color: call it label"):
        find(write_table(tmp_path / "other.csv", rows, ("image_id", "color")))
    with pytest.raises(DataError, match=r"row 3 has 3 values, its header 2"):
        find(write_table(tmp_path / "long.csv", [rows[0], (*rows[1], "x")]))
    with pytest.raises(DataError, match=r"1 of 13 photos .* --max-bad allows 1%: .*gone.png: No such file"):
        find(write_table(tmp_path / "gone.csv", [*rows, ("gone.png", "disc")]))


def test_tar_files_of_others_are_read(tmp_path: Path) -> None:
    """WebDataset's with class numbers or names, and a folder of classes that was packed by tar."""
    picture = cv2.imencode(".jpg", np.full((40, 40, 3), 90, np.uint8))[1].tobytes()

    def write(name: str, files: dict[str, bytes]) -> str:
        with tarfile.open(tmp_path / name, "w") as tar:
            for path, content in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                tar.addfile(info, BytesIO(content))
        return str(tmp_path / name)

    numbered = write("a.tar", {"x/1.jpg": picture, "x/1.cls": b"7", "x/2.cls": b"3", "x/2.jpg": picture})
    assert [photo.label for photo in find(numbered).photos] == [0, 1]
    assert find(numbered).labels == ("3", "7")
    packed = write("b.tar", {"cat/1.jpg": picture, "cat/notes.txt": b"", "dog/1.jpg": picture + b"\0"})
    assert find(packed).labels == ("cat", "dog")
    with pytest.raises(DataError, match="of no class"):
        find(write("c.tar", {"1.jpg": picture, "2.jpg": picture}))


class _Ranges(SimpleHTTPRequestHandler):
    """A file server that knows ranges, as stores do."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        data = path.read_bytes()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(part)

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Ranges, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_shards_and_tables_come_from_a_web_server(photos: Path, tmp_path: Path, web: str) -> None:
    folder = sort(photos)
    shards = shards_of(photos, tmp_path / "shards")
    found = sort(parse_photos(f"{web}/shards/shards-{{0000..{len(shards) - 1:04d}}}.tar"))
    assert list(map(facts, found.photos)) == list(map(facts, folder.photos))
    (one, *_) = found.photos
    assert (one.read(Path()) == folder.photos[0].read(photos)).all()
    rows = [(path.relative_to(tmp_path), path.parent.name) for path in photos.rglob("train/*/*.png")]
    table = write_table(tmp_path / "photos.csv", [*rows, ("photos/gone.png", "disc")])
    assert find(f"{web}/{table.name}", 10).skipped == (f"{web}/photos/gone.png: no such file or object",)


@dataclass(frozen=True)
class Store:
    """address: what its files' names follow. put: of a name and content. remove: of a name."""

    address: str
    put: Callable[[str, bytes], object]
    remove: Callable[[str], object]


def need(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is missing → make test-stores")


@contextmanager
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    need("moto.server", "s3fs")
    import boto3  # type: ignore[import-not-found]
    from moto.server import ThreadedMotoServer  # type: ignore[import-not-found]

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield Store(
        "s3://bucket",
        lambda name, data: client.put_object(Bucket="bucket", Key=name, Body=data),
        lambda name: client.delete_object(Bucket="bucket", Key=name),
    )
    server.stop()


@contextmanager
def gs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    # Else gcsfs asks over gRPC, which the emulator does not know, what kind of bucket it is; read at its import.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    need("gcp_storage_emulator", "gcsfs")
    from fsspec.config import conf
    from gcp_storage_emulator.server import create_server  # type: ignore[import-not-found]

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    # For processes that are started.
    monkeypatch.setenv("FSSPEC_GS_TOKEN", "anon")
    monkeypatch.setitem(conf, "gs", {"token": "anon"})

    def ask(method: str, path: str, data: bytes | None = None) -> None:
        with urlopen(Request(f"http://127.0.0.1:{port}/{path}", data, method=method)):
            pass

    yield Store(
        "gs://bucket",
        lambda name, data: ask("POST", f"upload/storage/v1/b/bucket/o?uploadType=media&name={quote(name, '')}", data),
        lambda name: ask("DELETE", f"storage/v1/b/bucket/o/{quote(name, '')}"),
    )
    server.stop()


@pytest.fixture(params=[s3, gs], ids=["s3", "gs"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of this machine's."""
    with request.param(monkeypatch) as found:
        yield found


@pytest.mark.nightly
def test_photos_of_a_store_are_those_of_the_folder(photos: Path, tmp_path: Path, store: Store) -> None:
    shards = shards_of(photos, tmp_path / "shards")
    for path in (tmp_path / "shards").iterdir():
        store.put(f"shards/{path.name}", path.read_bytes())
    address = f"{store.address}/shards/shards-{{0000..{len(shards) - 1:04d}}}.tar"
    folder, found = sort(photos), sort(parse_photos(address))
    assert list(map(facts, found.photos)) == list(map(facts, folder.photos))
    assert (found.photos[0].read(Path()) == folder.photos[0].read(photos)).all()
    last = f"{store.address}/shards/{shards[-1].name}"
    # A process of its own would know nothing of the store.
    forget = fsspec.get_filesystem_class(store.address.partition(":")[0]).clear_instance_cache
    before = state_of(last)
    assert before
    store.put(f"shards/{shards[-1].name}", shards[-1].read_bytes()[::-1])  # of the same size
    forget()
    assert state_of(last) not in ("", before)
    store.remove(f"shards/{shards[-1].name}")
    forget()
    assert f"{last}: no such file or object" in find(address, 60).skipped

    paths = sorted(photos.rglob("train/*/*.png"))
    rows = [(f"photos/{path.name} {path.parent.name}.png", path.parent.name) for path in paths]
    for path, (name, _) in zip(paths, rows, strict=True):
        store.put(name, path.read_bytes())
    store.put("photos.csv", write_table(tmp_path / "photos.csv", rows).read_bytes())
    assert len(find(f"{store.address}/photos.csv").photos) == len(paths)


def test_of_very_many_photos_copies_stay_on_one_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than can each be compared with every other."""
    root, rng = tmp_path / "photos", np.random.default_rng(0)
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for number in range(30):
            picture = cv2.resize(rng.integers(0, 255, (9, 9, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
            assert cv2.imwrite(str(root / label / f"{number}.png"), picture)
            assert cv2.imwrite(str(root / label / f"{number} small.jpg"), cv2.resize(picture, (80, 60)))
    few = sort(root)
    monkeypatch.setattr("edge_classify.learn.photos.near_duplicates._MAX_COMPARED", 10)
    many = sort(root)
    assert list(map(facts, many.photos)) == list(map(facts, few.photos))
    sides = {photo.path.as_posix(): (photo.part, photo.fold) for photo in many.photos}
    assert all(sides[name] == sides[name.replace(".png", " small.jpg")] for name in sides if name.endswith(".png"))


def test_what_would_have_to_be_listed_or_installed_is_refused() -> None:
    with pytest.raises(UsageError, match=r"takes hours .*: give a table .*, or shards"):
        parse_photos("s3://bucket/photos")
    with pytest.raises(UsageError, match=r"to read from abfs, a package is missing: .*adlfs"):
        find("abfs://bucket/shards-{0..1}.tar")
    assert PhotoSource("s3://bucket/cats-{0000..0009}.tar").name == "cats"


@pytest.mark.slow
def test_heads_from_shards_are_those_from_the_folder(
    warm_cache: Callable[[Path], Path], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm_cache(tmp_path / "cache")
    photos = write_photos(tmp_path / "photos", 40)
    shards_of(photos, tmp_path / "shards")
    planned = command("edge-train", tmp_path / "shards", "--plan", *TRAINING)
    assert "plan for 120 photos and 1 cell, by" in planned.stdout, planned.stderr
    runs = {}
    for name, source in (("of the folder", photos), ("of shards", tmp_path / "shards")):
        done = command("edge-train", source, "-o", tmp_path / name, *TRAINING)
        assert done.returncode == 0, done.stderr
        runs[name] = tmp_path / name
    for path in ("heads/0.35_96.npz", "started.json", "photo_check.json", "prepared/96_held_out.npy"):
        assert (runs["of the folder"] / path).read_bytes() == (runs["of shards"] / path).read_bytes(), path
    entries = [json.loads((run / "heads" / "0.35_96.json").read_text()) for run in runs.values()]
    assert {**entries[0], "seconds": 0} == {**entries[1], "seconds": 0}

    # Without a network there are no weights; time does not depend on them.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    planned = command("edge-train", photos, "--plan", "--alpha", 0.35, "--resolution", 96)
    assert "plan for 120 photos and 1 cell, by" in planned.stdout, planned.stderr
    assert "cannot download the weights" in planned.stderr
    assert "planning with random weights" in planned.stderr
