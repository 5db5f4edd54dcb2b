"""The outputs of `edge-classify`. To add one, write a module like `events` and add its name here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import argparse

    from .destinations import Destinations
    from .output import Output

MODULES = (
    "json_lines",
    "events",
    "systemd",
    "mqtt",
    "metrics",
    "on_change",
    "webhook",
    "collect",
    "web",
    "console",  # last: it takes standard output unless another output has
)


class OutputModule(Protocol):
    """What the module of an output defines. It is imported at each start: heavy imports belong in `open_output`.

    TABLE: the heading of its options in --help. Outputs may share one.
    """

    TABLE: str

    def add_options(self, group: argparse._ArgumentGroup) -> None:
        """Declare the output's options, in the group named TABLE."""

    def check(self, options: argparse.Namespace, *, stream: bool) -> None:
        """Raise an error for options that cannot work. Nothing has been opened yet; `stream` is as in Destinations."""

    def open_output(self, options: argparse.Namespace, destinations: Destinations, /) -> Output | None:
        """The output, or None if the options do not ask for it."""


def modules() -> list[OutputModule]:
    return [cast(OutputModule, import_module(f".{name}", __package__)) for name in MODULES]


def open_outputs(options: argparse.Namespace, destinations: Destinations) -> list[Output]:
    for name, module in zip(MODULES, modules(), strict=True):
        output = module.open_output(options, destinations)
        if output is not None:
            destinations.run.outputs[name] = output
    return list(destinations.run.outputs.values())
