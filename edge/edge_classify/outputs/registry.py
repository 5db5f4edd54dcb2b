"""The outputs of `edge-classify`. To add one, write a module like `events` and add its name here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, Self, cast

if TYPE_CHECKING:
    import argparse

    from ..pipeline.loop import Result
    from .destinations import Destinations

MODULES = (
    "json_lines",
    "events",
    "systemd",
    "console",  # last: it takes standard output unless another output has
)


class Output(Protocol):
    """Takes results, one after another. A context manager, which ends what the output has begun.

    An output that can block puts what it makes of a result into a queue of `Destinations`.
    """

    @property
    def gone(self) -> bool:
        """Whether nobody is left to take results. A run ends when that is so for all its outputs."""

    def append(self, result: Result) -> None: ...

    def counts(self) -> Mapping[str, int]:
        """What the summary reports of it, such as {"lines not written": 3}; zeros are left out."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: object, error: object, trace: object) -> None: ...


class OutputModule(Protocol):
    """What the module of an output defines. It is imported at each start: heavy imports belong in `open_output`."""

    def add_options(self, group: argparse._ArgumentGroup) -> None:
        """Declare the output's options."""

    def check(self, options: argparse.Namespace, *, stream: bool) -> None:
        """Raise an error for options that cannot work. Nothing has been opened yet; `stream` is as in Destinations."""

    def open_output(self, options: argparse.Namespace, destinations: Destinations, /) -> Output | None:
        """The output, or None if the options do not ask for it."""


def modules() -> list[OutputModule]:
    return [cast(OutputModule, import_module(f".{name}", __package__)) for name in MODULES]


def open_outputs(options: argparse.Namespace, destinations: Destinations) -> list[Output]:
    opened = [module.open_output(options, destinations) for module in modules()]
    return [output for output in opened if output is not None]
