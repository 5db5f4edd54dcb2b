"""What was computed from photos, kept between runs by the photos' content. It may be deleted at any time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from edge_classify.errors import DataError
from edge_classify.system.machine import cache_folder as cache_folder

# Another run may be writing meanwhile.
_LOCK_TIMEOUT_S = 120
# To be raised when `decode_photo` gives other pixels: the facts of photos are then read again.
_VERSION = 1
# `looks` holds the facts of each photo (`photo_facts.PhotoFacts`), under the name that existing caches have.
_TABLES = (
    "CREATE TABLE IF NOT EXISTS features (key TEXT PRIMARY KEY, vector BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS looks (sha256 TEXT PRIMARY KEY, look BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS feature_models (key TEXT PRIMARY KEY, size TEXT NOT NULL, model BLOB NOT NULL)",
)
_OTHER_FOLDER = "allow writing there, or set XDG_CACHE_HOME to a folder that can be written to"


@contextmanager
def open_cache() -> Iterator[sqlite3.Connection]:
    """The cache's database. Several runs may use it at once: what is written is whole, or not there.

    Raises DataError if it cannot be read or written (a full disk).
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot cache features ({error.strerror}): {_OTHER_FOLDER}") from error
    try:
        with closing(sqlite3.connect(folder / "features.sqlite", timeout=_LOCK_TIMEOUT_S)) as database:
            if database.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
                _upgrade(database)
            yield database
    except sqlite3.Error as error:
        raise DataError(f"{folder}: cannot cache features ({error}): {_remedy(error)}") from error


_Ask = Callable[[str, str], tuple[Any, ...] | None]
_elsewhere: list[_Ask] = []


def ask_elsewhere(ask: _Ask) -> None:
    """From now on `fetch` asks for what this machine's cache lacks, by query and key: a node of a cluster does."""
    _elsewhere[:] = [ask]


def fetch(database: sqlite3.Connection, query: str, key: str) -> tuple[Any, ...]:
    """The row of a key that must be there. Raises DataError if it is not: somebody deleted the cache meanwhile."""
    row: tuple[Any, ...] | None = database.execute(query, (key,)).fetchone()
    for ask in _elsewhere if row is None else ():
        row = ask(query, key)
    if row is None:
        raise DataError(f"{cache_folder()}: was emptied or deleted during this run: run this again")
    return row


def _upgrade(database: sqlite3.Connection) -> None:
    """Make what a new cache, or one of an earlier version, lacks.

    Of several runs that find it so the first does it, with the others locked out: the last would delete what the first
    has read meanwhile.
    """
    with database:
        database.execute("BEGIN IMMEDIATE")
        if database.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
            for table in _TABLES:
                database.execute(table)
            database.execute("DELETE FROM looks")
            database.execute(f"PRAGMA user_version = {_VERSION}")


def _remedy(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind
    if code == sqlite3.SQLITE_BUSY:
        return f"another run has been writing to it for {_LOCK_TIMEOUT_S} s: wait until it has ended"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return "delete this folder, which is made anew"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _OTHER_FOLDER
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return "free some space on its disk, and run this again"
    return "run this again, and if that does not help delete this folder, which is made anew"
