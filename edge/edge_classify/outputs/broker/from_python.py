"""The broker's output for programs of one's own."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ...errors import UsageError
from ...model.classifier import Classifier
from ...pipeline.loop import Model
from ...pipeline.models import Models
from ...sources.source import Source
from ..mqtt import check_package, device, host_name
from ..run import Run
from .address import ARGUMENTS, Address, address
from .output import BrokerOutput, Settings

log = logging.getLogger(__name__)


class Mqtt(BrokerOutput):
    """Tells a broker, and Home Assistant, what a program of your own sees: see docs/mqtt.md. A context manager.

        with open_source(0) as source, Mqtt("mqtt://pi@broker.local", classifier, source, password="...") as mqtt:
            for result in classify_frames(source, classifier, Decision(classifier.labels)):
                mqtt.append(result)

    url: mqtt:// or mqtts://[USER@]HOST[:PORT][/PREFIX].
    classifier: the one that `classify_frames` is given.
    source: what the frames come from, so that a lost camera is told of; None: frames of your own.
    device: what it is called in topics and in Home Assistant; None: the host's name.
    authority: a PEM file with the certificates to trust in place of this machine's.
    image: send the picture of each change of state too.

    Without a result for 30 s the device is shown as unavailable. While the broker cannot be reached, the last 1,000
    changes wait, and warnings are logged. Raises UsageError for an address or a name that cannot be used, DataError for
    a file of no use.
    """

    def __init__(
        self,
        url: str,
        classifier: Classifier,
        source: Source | None = None,
        *,
        device: str | None = None,
        password: str | None = None,
        authority: str | Path | None = None,
        image: bool = False,
    ) -> None:
        check_package("Mqtt")
        ca = None if authority is None else Path(authority)
        settings = Settings(*_checked(url, device), password, ca, image=image, means=ARGUMENTS)
        if password is not None and settings.address.user is None:
            raise UsageError("Mqtt: there is a password, but no user: mqtts://USER@...")
        if ca is not None:
            if not settings.address.tls:
                raise UsageError("Mqtt: authority is for an encrypted connection: mqtts://...")
            from ...system.tls import trust  # here: most need no encryption, and ssl takes 20 ms

            trust("Mqtt: authority", ca)
        frames = Source(iter(()), stream=True) if source is None else source
        model = Model(classifier.model_file.name, classifier)
        super().__init__(settings, Run(frames, Models([model])), lambda line: log.info("%s", line.rstrip()))


def _checked(url: str, name: str | None) -> tuple[Address, str]:
    try:
        return address(url, ARGUMENTS), host_name("device=") if name is None else device(name)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"Mqtt: {error}") from None
