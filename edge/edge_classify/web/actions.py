"""What the page can do besides looking, if it is allowed to: take photos, label them, and teach the model."""

from __future__ import annotations

import asyncio
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import cv2
from aiohttp import web

from ..collect.class_folder import class_folder
from ..collect.folders import LABELLED, make_private
from ..collect.labelling import Done, Labelling, Unlabelled
from ..errors import EdgeClassifyError, explain_os_error
from ..images.photo import read_photo
from .teaching import Teaching
from .view import STALLED_S

if TYPE_CHECKING:
    from ..collect.taking import Taking
    from ..pipeline.models import Models
    from .view import View

# Pixels across of a picture in the grid.
_SMALL = 240
_MAX_NAMES = 1000
_CHUNK_BYTES = 64 * 1024
_ATTACHMENT = 'attachment; filename="labelled.zip"'


class Actions:
    """Routes that change the folder `root` of `--collect`."""

    def __init__(
        self, root: Path, view: View, models: Models, say: Callable[[str], object], headers: Mapping[str, str]
    ) -> None:
        """say: takes a line for whoever has started the program. headers: of every answer."""
        self._teaching = Teaching(root, models, say)
        self._root = root
        self._headers = headers
        self._view = view
        self._labelling = Labelling(root)
        self._taking: dict[str, Taking] = {}
        # One change at a time: what is shown as done is done.
        self._lock = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/photos.json", self._photos),
            web.get("/photos/{name}", self._photo),
            web.get("/labelled.zip", self._zip),
            web.post("/label", self._label),
            web.post("/remove", self._remove),
            web.post("/undo", self._undo),
            web.post("/take", self._take),
            web.get("/teaching.json", self._teaching_state),
            web.post("/teach", partial(self._teach, partial(self._teaching.begin, add=False))),
            web.post("/teach/add", partial(self._teach, partial(self._teaching.begin, add=True))),
            web.post("/use", partial(self._teach, self._teaching.use)),
            web.post("/back", partial(self._teach, self._teaching.back)),
        ]

    async def _photos(self, _request: web.Request) -> web.Response:
        groups, counts = await asyncio.to_thread(lambda: (self._labelling.groups(), self._labelling.classes()))
        known = [label for label in self._view.labels() if label not in counts]
        return web.json_response(
            {
                "groups": [[_describe(photo) for photo in group] for group in groups],
                "classes": {**counts, **dict.fromkeys(known, 0)},
            }
        )

    async def _photo(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        try:
            data = await asyncio.to_thread(self._small, name)
        except EdgeClassifyError:
            data = await self._photo_just_moved(name)
        return web.Response(body=data, content_type="image/jpeg")

    async def _photo_just_moved(self, name: str) -> bytes:
        """A card may be labelled before its picture has come: the page then asks for a photo that has moved."""
        async with self._lock:
            try:
                return await asyncio.to_thread(self._small, name)
            except EdgeClassifyError:
                raise web.HTTPNotFound(reason="no such photo") from None

    def _small(self, name: str) -> bytes:
        """Raises EdgeClassifyError."""
        image = read_photo(self._labelling.picture(name))
        scale = min(1.0, _SMALL / image.shape[1])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return bytes(cv2.imencode(".jpg", small)[1].tobytes())

    async def _label(self, request: web.Request) -> web.Response:
        content = await _read(request)
        names, label = _names(content), _text(content, "label")
        return await self._carry_out(lambda: self._labelling.label(names, label))

    async def _remove(self, request: web.Request) -> web.Response:
        names = _names(await _read(request))
        return await self._carry_out(lambda: self._labelling.remove(names))

    async def _undo(self, request: web.Request) -> web.Response:
        number = _text(await _read(request), "number")
        return await self._carry_out(lambda: self._labelling.undo(number))

    async def _take(self, request: web.Request) -> web.Response:
        """The newest frame as a photo of a class."""
        label = _text(await _read(request), "label")
        image = self._view.newest_image()
        if image is None:
            raise web.HTTPServiceUnavailable(reason="there is no picture yet")
        async with self._lock:
            taking = await self._act(lambda: self._taking_of(label))
            taken = await self._act(lambda: taking.add(image))
        return web.json_response({"photos": taking.photos, "different": taking.different, "hint": taken.hint})

    def _taking_of(self, label: str) -> Taking:
        from ..collect.taking import Taking

        if label not in self._taking or not self._taking[label].folder.is_dir():  # or it was cleared away
            folder = class_folder(self._root / LABELLED, label)
            make_private(folder)
            self._taking[label] = Taking(folder)
        return self._taking[label]

    async def _teaching_state(self, _request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._teaching.state))

    async def _teach(self, action: Callable[[str], None], request: web.Request) -> web.Response:
        name = _text(await _read(request), "model")
        async with self._lock:
            await self._act(lambda: action(name))
        return await self._teaching_state(request)

    def stop(self) -> None:
        self._teaching.stop()

    async def _zip(self, request: web.Request) -> web.StreamResponse:
        """All labelled photos, from a file without a name on the same disk: memory has no room for them."""
        with await self._act(lambda: _zip(self._root / LABELLED)) as file:
            response = web.StreamResponse(headers={**self._headers, "Content-Disposition": _ATTACHMENT})
            response.content_type = "application/zip"
            await response.prepare(request)
            with suppress(ConnectionError, TimeoutError):
                while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                    await asyncio.wait_for(response.write(chunk), STALLED_S)
                await response.write_eof()
                return response
            if request.transport is not None:
                request.transport.abort()  # so that nobody takes what came for the whole
            return response

    async def _carry_out(self, action: Callable[[], Done]) -> web.Response:
        async with self._lock:
            done = await self._act(action)
        return web.json_response(
            {"number": done.number, "moved": [move.before.name for move in done.moves], "missing": list(done.missing)}
        )

    async def _act(self, action: Callable[[], Any]) -> Any:
        try:
            return await asyncio.to_thread(action)
        except EdgeClassifyError as error:
            raise _refused(str(error)) from None
        except OSError as error:
            raise web.HTTPInsufficientStorage(reason=_line(explain_os_error(error))) from None


def _describe(photo: Unlabelled) -> dict[str, Any]:
    record = photo.record
    if record is None:
        return {"name": photo.name}
    return {"name": photo.name, "reason": record.reason, "time": record.time, "scores": record.scores or {}}


def _zip(folder: Path) -> IO[bytes]:
    """The photos are compressed already."""
    make_private(folder.parent)  # somebody may have cleared it away
    file = tempfile.TemporaryFile(dir=folder.parent)  # noqa: SIM115 - whoever is given it closes it
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.glob("*/*.jpg")):
            archive.write(path, path.relative_to(folder))
    file.seek(0)
    return file


async def _read(request: web.Request) -> dict[str, Any]:
    try:
        content = json.loads(await request.text())
    except (ValueError, UnicodeDecodeError):
        raise _refused("expected JSON") from None
    if not isinstance(content, dict):
        raise _refused("expected a JSON object")
    return content


def _names(content: dict[str, Any]) -> list[str]:
    names = content.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) > _MAX_NAMES:
        raise _refused(f"expected names, a list of at most {_MAX_NAMES} photos")
    return names


def _text(content: dict[str, Any], name: str) -> str:
    text = content.get(name)
    if not isinstance(text, str):
        raise _refused(f"expected {name}, a text")
    return text


def _refused(reason: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(reason=_line(reason))


def _line(text: str) -> str:
    """As the reason of an HTTP status: one line, of ASCII."""
    return " ".join(text.split()).encode("ascii", "backslashreplace").decode()
