"""The cache that several runs share at once, and that may be deleted at any time."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import write_photos
from edge_classify.errors import DataError
from edge_classify.learn.photos.photo_set import Photo
from edge_train import cache
from edge_train.cache import open_cache
from edge_train.photo_facts import collect_facts, read_cached_facts


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "edge-classify"


def test_a_run_that_finds_an_old_cache_deletes_nothing_that_another_has_read_meanwhile(tmp_path: Path) -> None:
    photo = write_photos(tmp_path / "photos", 1, ("disc",)) / "disc" / "0.png"
    with open_cache() as database, open_cache() as late:
        assert collect_facts(database, photo.parent, [Photo(Path(photo.name), 0, "aa")]) == {}
        # The second run looked at the version before the first had raised it.
        cache._upgrade(late)
        (facts,) = read_cached_facts(database, ["aa"])
        assert (facts.width, facts.height) == (160, 120)


def test_facts_of_an_older_version_are_read_anew() -> None:
    with open_cache() as database, database:
        database.execute("INSERT INTO looks VALUES ('aa', x'00')")
        database.execute("INSERT INTO features VALUES ('bb', x'00')")
        database.execute("PRAGMA user_version = 0")
    with open_cache() as database:
        assert database.execute("SELECT count(*) FROM looks").fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM features").fetchone() == (1,)


def test_a_cache_deleted_during_a_run_is_one_line() -> None:
    with open_cache() as database, pytest.raises(DataError, match="was emptied or deleted during this run"):
        next(read_cached_facts(database, ["aa"]))


def use(*statements: str) -> None:
    with open_cache() as database, database:
        for statement in statements:
            database.execute(statement)


def test_each_kind_of_failure_has_its_own_remedy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_LOCK_TIMEOUT_S", 0)
    with open_cache() as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DataError, match="wait until it has ended"):
            use("SELECT * FROM looks")
        other.rollback()
    with pytest.raises(DataError, match="free some space"):  # SQLite's own full disk
        use("PRAGMA max_page_count = 1", "INSERT INTO features VALUES ('aa', zeroblob(100000))")
    (folder / "features.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match="delete this folder, which is made anew"):
        use("SELECT * FROM looks")
    (folder / "features.sqlite").unlink()
    (folder / "features.sqlite").mkdir()
    with pytest.raises(DataError, match="set XDG_CACHE_HOME to a folder that can be written to"):
        use("SELECT * FROM looks")
