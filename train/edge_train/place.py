"""Where a photo's bytes are, if it is no file of its own in a folder: inside a shard, or behind an address.

A file of this machine is opened as such. Any other address goes through fsspec, which is imported only then.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edge_classify.errors import UsageError, first_line
from edge_classify.system.packages import install_command

_SCHEME = "://"
# Photos of one shard that lie near each other are read in one request of at most so many bytes.
_MAX_SPAN_BYTES = 64_000_000
# What stores say of an object that changes with it, beside its size.
_STATE = ("ETag", "etag", "mtime", "LastModified", "updated", "blob_id")
# A request that fails otherwise than by a missing object is made again, so often, after so many seconds each.
_ATTEMPTS = 3
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """The bytes of one photo, and what else is known from them.

    url: a file's path, or an address that fsspec opens. offset, size: of the bytes in it; a size of −1: to its end.
    burst: as `Record.burst` says. taken: when, as EXIF says, in a text that sorts; each "" if the photo does not say.
    """

    url: str
    offset: int = 0
    size: int = -1
    burst: str = ""
    taken: str = ""

    def read_bytes(self) -> bytes:
        """Raises OSError, or UsageError if a package is missing."""
        return _read(self.url, self.offset, self.size)

    def __str__(self) -> str:
        return self.url if self.size < 0 else f"{self.url}, byte {self.offset}"


def is_remote(url: str) -> bool:
    """Whether it is an address, and not a path."""
    return _SCHEME in url


def read_near(places: Sequence[Place]) -> dict[Place, bytes]:
    """The bytes of places that lie near each other in one file, read at once; {} if they do not.

    Raises OSError.
    """
    if len({place.url for place in places}) != 1 or any(place.size < 0 for place in places):
        return {}
    first = min(place.offset for place in places)
    last = max(place.offset + place.size for place in places)
    if last - first > min(_MAX_SPAN_BYTES, 2 * sum(place.size for place in places) + 4096 * len(places)):
        return {}
    span = _read(places[0].url, first, last - first)
    return {place: span[place.offset - first : place.offset - first + place.size] for place in places}


@contextmanager
def open_stream(url: str) -> Iterator[IO[bytes]]:
    """A file or address, to be read from its beginning to its end. Raises OSError, of its address, or UsageError."""
    if not is_remote(url):
        with Path(url).open("rb") as file:
            yield file
        return
    with _told_as_os_error(url):
        system, path = _file_system(url)
        with system.open(path, "rb") as file:
            yield file


def state_of(url: str) -> str:
    """A text that changes with the file: its size and time, or whatever its store says; "" if that is only the size.

    Raises OSError, UsageError.
    """
    if not is_remote(url):
        status = Path(url).stat()
        return f"{status.st_size} {status.st_mtime_ns}"
    with _told_as_os_error(url):
        system, path = _file_system(url)
        info = system.info(path)
        known = [str(info[name]) for name in _STATE if info.get(name)]
        return " ".join([str(info.get("size", "")), *known]) if known else ""


def _read(url: str, offset: int, size: int) -> bytes:
    if not is_remote(url):
        with Path(url).open("rb") as file:
            file.seek(offset)
            return file.read(size)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _read_remote(url, offset, size)
        except OSError as error:
            if attempt == _ATTEMPTS or error.errno == errno.ENOENT:
                raise
            time.sleep(_PAUSE_S * attempt)
    raise AssertionError("unreachable")


def _read_remote(url: str, offset: int, size: int) -> bytes:
    with _told_as_os_error(url):
        system, path = _file_system(url)
        if size < 0:
            return bytes(system.cat_file(path))
        data = bytes(system.cat_file(path, start=offset, end=offset + size))
        # A web server that knows no ranges sends the whole file.
        return data if len(data) <= size else data[offset : offset + size]


def _file_system(url: str) -> tuple[Any, str]:
    scheme = url.partition(_SCHEME)[0]
    try:
        import fsspec
    except ImportError:
        raise UsageError(f"{url}: to read from {scheme}, run: {install_command('fsspec', 'aiohttp')}") from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise UsageError(f"{url}: to read from {scheme}, a package is missing: {first_line(error)}") from None
    except ValueError as error:
        raise UsageError(f"{url}: {first_line(error)}: give a path, or an address that fsspec opens") from None
    return system, path


@contextmanager
def _told_as_os_error(url: str) -> Iterator[None]:
    """Stores raise errors of their own kinds; each is an OSError with the address and a reason."""
    try:
        yield
    except (UsageError, GeneratorExit):
        raise
    except FileNotFoundError as error:
        raise OSError(errno.ENOENT, "no such file or object", url) from error
    except Exception as error:
        number = getattr(error, "errno", None) or errno.EIO
        raise OSError(number, first_line(error) or type(error).__name__, url) from error
