"""A source of frames: what `open_source` returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from .frame import Frame
    from .live import LiveCamera

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Apply(Protocol):
    """The built-in `map`, of one iterable, or what does the same in other threads."""

    def __call__(self, function: Callable[[Item], Outcome], items: Iterable[Item], /) -> Iterator[Outcome]: ...


class Source:
    """An iterator of frames and a context manager. Live sources drop frames for newer ones; files drop nothing.

    stream: the frames follow one another (camera, video), unlike separate pictures.
    """

    def __init__(
        self,
        frames: Iterator[Frame],
        *,
        stream: bool,
        camera: LiveCamera | None = None,
        map_frames: Callable[[Callable[[Frame], Any], Apply], Iterator[tuple[Frame, Any]]] | None = None,
        undecodable: Callable[[], int] = lambda: 0,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.stream = stream
        self._frames = frames
        self._camera = camera
        self._map_frames = map_frames
        self._undecodable = undecodable
        self._close = close if camera is None else camera.close

    @property
    def live(self) -> bool:
        """Frames arrive whether or not they are taken: cameras, network streams and the demo."""
        return self._camera is not None

    @property
    def description(self) -> str:
        """A camera's device, size, pixel format and rate, in one line; "" for files."""
        return self._camera.description if self._camera is not None else ""

    @property
    def dropped(self) -> int:
        """Frames of a camera that newer ones replaced before they were taken; always 0 for files."""
        return self._camera.dropped if self._camera is not None else 0

    @property
    def undecodable(self) -> int:
        """Frames of a camera or video that were left out because they cannot be decoded."""
        return self._camera.undecodable if self._camera is not None else self._undecodable()

    @property
    def lost_since(self) -> float | None:
        """When a lost camera gave its last frame, in seconds of `time.perf_counter`; None while it gives frames."""
        return self._camera.lost_since if self._camera is not None else None

    @property
    def returns(self) -> int:
        """How often a camera was lost and came back."""
        return self._camera.returns if self._camera is not None else 0

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def map(self, work: Callable[[Frame], Outcome], apply: Apply) -> Iterator[tuple[Frame, Outcome]]:
        """Each frame with what `work` gives for it, in order; pictures of a folder are read where `apply` calls `work`.

        Instead of iterating, not besides. The frame that `work` gets is not numbered yet.
        """
        if self._map_frames is not None:
            return self._map_frames(work, apply)
        return apply(lambda frame: (frame, work(frame)), self._frames)

    def close(self) -> None:
        if self._close is not None:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
