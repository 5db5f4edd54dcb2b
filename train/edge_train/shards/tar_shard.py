"""Shards: WebDataset tar files, read from beginning to end, and written so that the same photos give the same bytes.

The files of a photo follow one another and have one key, which is their name up to its first dot: KEY.jpg, the picture;
KEY.cls, the class's number, or its name; KEY.json, {"label", "path", "split"}, of which each may be missing. Without
both, the class is the name of the folder that the picture is in.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any

from edge_classify.errors import DataError
from edge_classify.images.formats import PICTURE_SUFFIXES
from edge_classify.model.labels import UNKNOWN
from edge_classify.system.counted import counted

from ..place import Place, open_stream, state_of
from .survey import Survey

# A larger file in a shard is no photo.
_MAX_PHOTO_BYTES = 256_000_000
_BLOCK = tarfile.BLOCKSIZE
_TEXTS = (".cls", ".json")


@dataclass(frozen=True)
class Shard:
    """One tar file.

    photos, sha256: as the index says; −1 and "" without one. labels: whose numbers `.cls` files have.
    """

    url: str
    photos: int = -1
    sha256: str = ""
    labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.url

    def state(self) -> str:
        try:
            state = state_of(self.url)
        except OSError:
            return ""
        return f"{state} {self.photos} {self.sha256} {self.labels}" if state else ""

    def survey(self) -> Survey:
        found = Survey()
        try:
            with open_stream(self.url) as stream:
                read = _Counted(stream)
                cut_off = self._read(read, found)
        except OSError as error:
            found.bad.append(f"{self.url}: {error.strerror or error}")
            found.lost = max(self.photos - len(found.photos), 1) if self.photos >= 0 else -1
            return found
        missing = self.photos - len(found.photos) - found.lost
        if cut_off or (self.photos >= 0 and missing > 0):
            found.bad.append(
                f"{self.url}: cut off or damaged after {counted(len(found.photos), 'photo')}{self._of_how_many()}"
            )
            found.lost += max(missing, 1)
        elif self.sha256 and read.sha256.hexdigest() != self.sha256:
            found.add_bad(f"{self.url}: not the file that its index.json describes (another checksum)")
        return found

    def _of_how_many(self) -> str:
        return f" of {self.photos}" if self.photos >= 0 else ""

    def _read(self, stream: _Counted, found: Survey) -> bool:
        """Add all photos to `found`; returns whether the file ends too early, or holds something else."""
        end = 0
        try:
            with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
                for group in _groups(tar):
                    self._add(group, found)
                    end = max(end, group.end)
            stream.drain()
        except (tarfile.TarError, EOFError):
            return True
        # A whole tar file ends with two blocks of zeros, and is filled up to a multiple of 20.
        return not end + _BLOCK <= stream.count <= end + 2 * tarfile.RECORDSIZE

    def _add(self, group: _Group, found: Survey) -> None:
        if group.picture is None:
            return
        name, offset, data = group.picture
        about = _read_json(group.texts.get(".json", b""))
        path = str(about.get("path") or name)
        label = self._label(about, group.texts.get(".cls", b""), name)
        if not label:
            found.add_bad(f'{self.url}: {name}: of no class (no .cls, no "label" in .json, no folder)')
        else:
            found.add(path, label, str(about.get("split") or ""), data, Place(self.url, offset, len(data)))

    def _label(self, about: dict[str, Any], cls: bytes, name: str) -> str:
        if isinstance(about.get("label"), str):
            return str(about["label"])
        text = cls.decode("utf-8", "replace").strip()
        if not text:
            return PurePosixPath(name).parent.name
        try:
            number = int(text)
        except ValueError:
            return text
        if number < 0:
            return UNKNOWN
        return self.labels[number] if number < len(self.labels) else text


def read_photos(url: str) -> Iterator[Place]:
    """Where the photos in a shard are, read from its beginning only as far as wanted. Raises DataError."""
    try:
        with open_stream(url) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for group in _groups(tar):
                if group.picture is not None:
                    yield Place(url, group.picture[1], len(group.picture[2]))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DataError(f"{url}: {getattr(error, 'strerror', None) or error or 'cut off'}") from error


@dataclass
class _Group:
    """The files of one key. picture: name, offset and bytes. end: of the last of them, in the tar file."""

    key: str
    picture: tuple[str, int, bytes] | None = None
    texts: dict[str, bytes] = field(default_factory=dict)
    end: int = 0


def _groups(tar: tarfile.TarFile) -> Iterator[_Group]:
    group = _Group("")
    for member in tar:
        if not member.isfile():
            continue
        path = PurePosixPath(member.name)
        key = str(path.with_name(path.name.partition(".")[0] or path.name))
        if key != group.key:
            yield group
            group = _Group(key)
        group.end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
        suffix = path.suffix.lower()
        if (suffix not in PICTURE_SUFFIXES and suffix not in _TEXTS) or member.size > _MAX_PHOTO_BYTES:
            continue
        file = tar.extractfile(member)
        data = b"" if file is None else file.read()
        if len(data) < member.size:
            raise EOFError
        if suffix in _TEXTS:
            group.texts[suffix] = data
        else:
            group.picture = member.name, member.offset_data, data
    yield group


def _read_json(data: bytes) -> dict[str, Any]:
    try:
        about = json.loads(data) if data else {}
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


class _Counted:
    """A stream whose bytes are counted and hashed as they are read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.count = 0
        self.sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        self.sha256.update(data)
        return data

    def drain(self) -> None:
        while self.read(1 << 20):
            pass


class ShardWriter:
    """Writes one shard to a file: equal photos give equal bytes, whoever writes them, and when."""

    def __init__(self, file: IO[bytes]) -> None:
        self._hashed = _Hashed(file)
        self._tar = tarfile.open(fileobj=self._hashed, mode="w|", format=tarfile.USTAR_FORMAT)  # type: ignore[call-overload] # noqa: SIM115
        self.photos = 0

    def add(self, key: str, suffix: str, data: bytes, number: int, about: dict[str, str]) -> None:
        """number: of the class, −1 for a negative. about: for KEY.json."""
        texts = json.dumps(about, sort_keys=True).encode()
        for ending, content in ((suffix, data), (".cls", str(number).encode()), (".json", texts)):
            info = tarfile.TarInfo(key + ending)
            info.size = len(content)
            self._tar.addfile(info, io.BytesIO(content))
        self.photos += 1

    def close(self) -> tuple[int, str]:
        """The file's size in bytes, and its SHA-256."""
        self._tar.close()
        return self._hashed.count, self._hashed.sha256.hexdigest()


class _Hashed:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.count += len(data)
        self.sha256.update(data)
        return self._file.write(data)
