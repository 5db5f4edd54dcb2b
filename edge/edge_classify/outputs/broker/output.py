"""Tells a broker what the camera sees, and Home Assistant that there is such a device."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from ..output import START_PAUSE_S
from .address import OPTIONS, Means
from .present import Present
from .signals import Signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ...pipeline.loop import Model, Result
    from ..run import Run
    from .address import Address
    from .discovery import Device

# For the last messages, at the end.
_END_TIMEOUT_S, _END_TIMEOUT_LIVE_S = 5.0, 1.0
_JOIN_TIMEOUT_S = 0.1


@dataclass(frozen=True)
class Settings:
    """What the options say.

    device: its name, for people. discovery: the prefix of Home Assistant's
    topics; None: say nothing there. quiet_s: seconds without a result after which the device is unavailable.
    """

    address: Address
    device: str
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    image: bool = False
    discovery: str | None = "homeassistant"
    quiet_s: float = 30.0
    means: Means = OPTIONS


class BrokerOutput:
    """Sends each change of state, and keeps the present state and availability on the broker.

    Nothing is sent in the thread of the frames. While the broker cannot be reached, the last 1,000 changes wait.

    say: takes a line for the user once it is connected.
    """

    gone = False

    def __init__(self, settings: Settings, run: Run, say: Callable[[str], object]) -> None:
        self._settings = settings
        self._say = say
        self._run = run
        self._signals = Signals()
        self._thread = threading.Thread(target=self._live, name="mqtt", daemon=True)
        self._present = Present(
            [model.name for model in run.models], run.source, settings.quiet_s, keep_picture=settings.image
        )
        run.models.tell(self._tell_exchange)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        signals, thread = self._signals, self._thread
        signals.stop.set()
        if thread.ident is not None:
            signals.wake()
            signals.settled.wait(_END_TIMEOUT_LIVE_S if self._run.source.live else _END_TIMEOUT_S)
            # One that waits for a broker's answer is left behind; the broker then says that we are gone.
            thread.join(_JOIN_TIMEOUT_S)
        if not thread.is_alive():
            signals.close()

    def append(self, result: Result) -> None:
        if self._present.take(result):
            self._signals.wake()
        if self._thread.ident is None:
            self._thread.start()

    def counts(self) -> dict[str, int]:
        present = self._present
        return {"MQTT events lost": present.dropped, "MQTT events not sent": len(present.events) + present.sending}

    def _live(self) -> None:
        self._signals.stop.wait(START_PAUSE_S)
        from .connection import Broker
        from .discovery import discovery
        from .link import keep_connected

        settings, run = self._settings, self._run
        password, means = settings.password, settings.means
        broker = Broker(settings.address, password, settings.ca, settings.cert, settings.key, means)

        def describe() -> tuple[Device, dict[str, Any] | None]:
            device = _describe(settings, run)
            message, with_labels = discovery(device)
            return (
                device if with_labels else replace(device, shown={}),
                message if settings.discovery is not None else None,
            )

        keep_connected(broker, describe, settings.discovery or "", self._present, self._signals, self._say)

    def _tell_exchange(self, _model: Model) -> None:
        self._signals.exchanged.set()
        self._signals.wake()


def _describe(settings: Settings, run: Run) -> Device:
    from ...system.machine import System
    from .discovery import Device, described
    from .shown import shown_labels
    from .topics import Topics, levels, slug

    labels = {model.name: model.classifier.labels for model in run.models}
    name = slug(settings.device)
    return Device(
        settings.device,
        name,
        Topics(f"{settings.address.prefix}/{name}"),
        levels(labels),
        {model: shown_labels(found) for model, found in labels.items()},
        described([model.classifier.model_file.contract for model in run.models], list(labels)),
        camera=run.source.live,
        image=settings.image,
        temperature=System().temperature() is not None,
    )
