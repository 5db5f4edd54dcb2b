"""Changes of state, the present state and availability, for an MQTT broker and Home Assistant."""

from __future__ import annotations

import argparse
import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..options import only_in_help_all, only_on_command_line, suggest
from ..system.packages import install_command
from ..system.secret_file import read_secret, why_not_secret
from .broker.address import address, topic
from .broker.topics import slug

if TYPE_CHECKING:
    from .broker.connection import Broker
    from .broker.output import BrokerOutput
    from .destinations import Destinations

TABLE = "mqtt"

log = logging.getLogger(__name__)

PASSWORD_VARIABLE = "EDGE_CLASSIFY_MQTT_PASSWORD"
# The name of systemd's LoadCredential=mqtt-password:FILE.
_CREDENTIAL = "mqtt-password"

# A device that classifies a frame each minute is not gone between two.
_MIN_QUIET_S, _QUIET_FRAMES = 30.0, 3.0


def add_broker_options(group: argparse._ArgumentGroup, purpose: str) -> None:
    """Those that say where the broker is, and how to log in."""
    group.add_argument(
        "--mqtt",
        type=address,
        metavar="ADDRESS",
        help=f"{purpose}, by mqtt://user@host/prefix",
    )
    only_in_help_all(
        group.add_argument(
            "--mqtt-password-file",
            type=Path,
            metavar="FILE",
            help="file with the password alone (default: the environment's EDGE_CLASSIFY_MQTT_PASSWORD, or systemd's "
            "credential mqtt-password)",
        )
    )
    for option, help in (
        ("--mqtt-ca", "trust the certificate authorities in FILE (PEM), instead of the system's"),
        ("--mqtt-cert", "client certificate (PEM)"),
        ("--mqtt-key", "key of the client certificate, if that file does not have it"),
    ):
        only_in_help_all(group.add_argument(option, type=Path, metavar="FILE", help=help))
    only_in_help_all(
        group.add_argument(
            "--mqtt-device",
            type=device,
            metavar="NAME",
            help="what this device is called, in topics and in Home Assistant (default: the host name)",
        )
    )


def add_options(group: argparse._ArgumentGroup) -> None:
    add_broker_options(group, "tell Home Assistant")
    forget_option = group.add_argument(
        "--mqtt-forget", action="store_true", help="remove this device from the broker and Home Assistant, and exit"
    )
    only_on_command_line(forget_option)
    image = group.add_argument(
        "--mqtt-image", action="store_true", help="also send the picture of each change of state"
    )
    discovery = group.add_argument(
        "--mqtt-discovery",
        type=_discovery,
        default="homeassistant",
        metavar="PREFIX|off",
        help="where Home Assistant looks for devices; off: tell it nothing",
    )
    suggest(discovery, "homeassistant", "off")
    for action in (image, discovery, forget_option):
        only_in_help_all(action)


def check(options: argparse.Namespace, *, stream: bool) -> None:
    check_broker_options(options)
    if options.mqtt is not None and not stream:
        raise UsageError("--mqtt needs a camera or a video; still pictures have no state that could change")


def check_broker_options(options: argparse.Namespace) -> None:
    """Raise an error for options that cannot work together, or files that cannot be read. Nothing is connected."""
    if options.mqtt is None:
        return
    check_package("--mqtt")
    for option in ("ca", "cert", "key"):
        if getattr(options, f"mqtt_{option}") is not None and not options.mqtt.tls:
            raise UsageError(f"--mqtt-{option} is for an encrypted connection: --mqtt mqtts://...")
    if options.mqtt_key is not None and options.mqtt_cert is None:
        raise UsageError("--mqtt-key needs its certificate: --mqtt-cert FILE")
    if options.mqtt_ca is not None or options.mqtt_cert is not None:
        from ..system.tls import client_context

        client_context("--mqtt", options.mqtt_ca, options.mqtt_cert, options.mqtt_key)
    device_name(options)
    if password(options) is not None and options.mqtt.user is None:
        raise UsageError("there is a password for MQTT, but no user: --mqtt mqtts://USER@...")


def check_package(what: str) -> None:
    """Raise UsageError, which says that `what` needs it, if paho-mqtt is not installed."""
    if find_spec("paho") is None:
        raise UsageError(f"{what} needs the package paho-mqtt: {install_command('paho-mqtt>=2.1,<3')}")


def open_output(options: argparse.Namespace, destinations: Destinations) -> BrokerOutput | None:
    if options.mqtt is None:
        return None
    from .broker.output import BrokerOutput, Settings

    if options.mqtt_password_file is not None and (why := why_not_secret(options.mqtt_password_file)):
        log.warning("--mqtt-password-file %s", why)
    quiet = max(_MIN_QUIET_S, _QUIET_FRAMES / options.max_fps) if options.max_fps else _MIN_QUIET_S
    settings = Settings(
        options.mqtt,
        device_name(options),
        password(options),
        options.mqtt_ca,
        options.mqtt_cert,
        options.mqtt_key,
        options.mqtt_image,
        options.mqtt_discovery,
        quiet,
    )
    return BrokerOutput(settings, destinations.run, destinations.standard_error.put)


def forget(options: argparse.Namespace) -> list[str]:
    """Clear the device's retained topics; returns them. Raises an error if the broker cannot be asked."""
    from .broker.forget import forget_device

    return forget_device(make_broker(options), slug(device_name(options)), options.mqtt_discovery)


def make_broker(options: argparse.Namespace) -> Broker:
    """For options that `check_broker_options` has passed."""
    from .broker.connection import Broker

    return Broker(options.mqtt, password(options), options.mqtt_ca, options.mqtt_cert, options.mqtt_key)


def password(options: argparse.Namespace) -> str | None:
    """From the file, systemd's credential or the environment. Raises DataError if a file cannot be read."""
    if options.mqtt_password_file is not None:
        return read_secret(options.mqtt_password_file, "--mqtt-password-file")
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and (credential := Path(folder) / _CREDENTIAL).exists():
        return read_secret(credential, f"systemd's credential {_CREDENTIAL}")
    return os.environ.get(PASSWORD_VARIABLE) or None


def device_name(options: argparse.Namespace) -> str:
    """Raises UsageError if the host's name cannot serve."""
    return options.mqtt_device or host_name("--mqtt-device")


def host_name(otherwise: str) -> str:
    """The first part of it. Raises UsageError if it cannot serve, and `otherwise` names the device."""
    name = os.uname().nodename.partition(".")[0]
    if not slug(name):
        raise UsageError(f"the host name {name!r} cannot be part of a topic: name this device by {otherwise}")
    return name


def device(text: str) -> str:
    """For `type=`."""
    if not slug(text) or not text.isprintable() or len(text) > 64:
        raise argparse.ArgumentTypeError(
            f"expected a name of at most 64 characters, with letters a-z or digits, found {text!r}"
        )
    return text


def _discovery(text: str) -> str | None:
    if text.lower() in ("false", "no", "none", "0"):
        raise argparse.ArgumentTypeError(f"expected a prefix or off, found {text!r}: did you mean off?")
    return None if text.lower() == "off" else topic(text)
