"""What was computed from photos, kept between runs by the photos' content. It may be deleted at any time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from edge_classify.errors import DataError
from edge_classify.system.machine import cache_folder as cache_folder

# Another run may be writing meanwhile.
_LOCK_TIMEOUT_S = 120
# To be raised when `decode_photo` gives other pixels: the facts of photos are then read again.
_VERSION = 1
# `looks` holds the facts of each photo (`photo_facts.PhotoFacts`), under the name that existing caches have.
_TABLES = """
    CREATE TABLE IF NOT EXISTS features (key TEXT PRIMARY KEY, vector BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS looks (sha256 TEXT PRIMARY KEY, look BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS feature_models (key TEXT PRIMARY KEY, size TEXT NOT NULL, model BLOB NOT NULL);
"""


@contextmanager
def open_cache() -> Iterator[sqlite3.Connection]:
    """The cache's database. Two runs may use it at once: what is written is whole, or not there.

    Raises DataError if it cannot be read or written (a full disk).
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(folder / "features.sqlite", timeout=_LOCK_TIMEOUT_S)) as database:
            database.executescript(_TABLES)
            if database.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
                with database:
                    database.execute("DELETE FROM looks")
                    database.execute(f"PRAGMA user_version = {_VERSION}")
            yield database
    except sqlite3.Error as error:
        raise DataError(f"{folder}: cannot cache features ({error}): free some space, or delete this folder") from error
