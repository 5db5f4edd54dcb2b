"""Where results go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ..pipeline.loop import Result


class Output:
    """Takes results one after another; a context manager, for those that have something to end."""

    def append(self, result: Result) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None
