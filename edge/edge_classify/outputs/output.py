"""What every output is: it takes the results of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from ..pipeline.loop import Result

# An output's own thread waits so long after the first result, until that has been shown: what it imports then would
# compete for the interpreter, and costs a Pi up to half a second.
START_PAUSE_S = 0.2


class Output(Protocol):
    """Takes results, one after another. A context manager, which ends what the output has begun.

    An output that can block puts what it makes of a result into a queue of `Destinations`.
    """

    @property
    def gone(self) -> bool:
        """Whether nobody is left to take results. A run ends when that is so for all its outputs."""

    def append(self, result: Result) -> None: ...

    def counts(self) -> Mapping[str, int]:
        """What was lost, as the summary reports it, such as {"lines not written": 3}; zeros are left out."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: object, error: object, trace: object) -> None: ...
