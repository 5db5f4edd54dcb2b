"""What a configuration file needs beyond the service's unit, and what it does not need of it: a systemd drop-in."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..config.secrets import without_secret
from ..config.settings import Setting, file_in, is_local_camera
from ..config.toml_file import Given
from ..options import is_folder
from .network_needs import ANYBODY_NEAR, Peer, allowed_addresses, peer_in
from .service_folders import directive

_HOMES = ("/home", "/root", "/run/user")
_PRIVATE = ("/tmp", "/var/tmp")
_SHARED_DEVICES = re.compile(r"/dev/(null|zero|full|u?random|tty|stdin|stdout|stderr|fd/.*|shm/.*|video.*|media.*)")
# systemd's limit for all credentials of a service.
_MAX_CREDENTIAL_BYTES = 2**20


@dataclass
class Needs:
    """The lines of a drop-in's [Service] section, in order, and what the user must do himself, one line each."""

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        if line not in self.lines:
            self.lines.append(line)


def drop_in(config: Path, known: Sequence[Setting], values: Mapping[str, Given], *, default: Path) -> Needs:
    """What the service needs to run with this configuration, whose values are given by `dest`.

    default: the configuration file that the unit names.
    """
    needs = Needs()
    if config != default:
        needs.add("ExecStart=")
        needs.add(f"ExecStart={_quoted(f'{sys.prefix}/bin/edge-classify')} --config {_quoted(str(config))}")
    _need_to_read(needs, str(config), "configuration")
    given = [(setting, word) for setting in known for word in _words(values.get(setting.dest))]
    _need_network(needs, given)
    _need_camera(needs, values)
    for setting, word in given:
        path = file_in(setting, word)
        if setting.is_command:
            asked = values.get(f"{setting.dest}_shell")
            _need_command(needs, setting, word, shell=asked is not None and bool(asked.value))
        elif path is None:
            continue
        elif setting.writes_file:
            _need_to_write(needs, setting, Path(path))
        else:
            _need_to_read(needs, path, setting.key, setting)
    return needs


def as_text(needs: Needs, config: Path) -> str:
    lines = [
        f"# Made from {config} by edge-doctor --print-drop-in. After a change of that file, make this one anew.",
        "[Service]",
        *needs.lines,
    ]
    return "\n".join(lines) + "\n"


def read_variables(path: Path) -> dict[str, str]:
    """The variables of a file that systemd reads as EnvironmentFile=: NAME=value lines. Raises OSError."""
    variables = {}
    for line in path.read_text("utf-8").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            quoted = re.fullmatch(r"(['\"])(.*)\1", value.strip())
            variables[name.strip()] = quoted[2] if quoted else value.strip()
    return variables


def _words(given: Given | None) -> Iterator[str]:
    for words in given.words if given else ():
        yield from words


def _need_network(needs: Needs, given: Sequence[tuple[Setting, str]]) -> None:
    peers = [peer for setting, word in given if (peer := peer_in(setting, word)) is not None]
    if any(setting.is_command for setting, _ in given):
        needs.notes.append("what commands need of the network is not known: the local network is allowed")
        peers.append(Peer("commands", ANYBODY_NEAR))
    if not peers:
        needs.add("# No network at all.")
        needs.add("IPAddressAllow=")
        needs.add("RestrictAddressFamilies=~AF_INET AF_INET6")
        return
    allowed, notes = allowed_addresses(peers)
    needs.notes += notes
    needs.add(f"# For {', '.join(dict.fromkeys(peer.name for peer in peers))}.")
    needs.add("IPAddressAllow=")
    needs.add(f"IPAddressAllow={' '.join(allowed)}")


def _need_camera(needs: Needs, values: Mapping[str, Given]) -> None:
    source = next(_words(values.get("camera")), "0")
    if is_local_camera(source):
        return
    needs.add(f"# No camera of this machine: {without_secret(source)}. The firmware tells whether the Pi is throttled.")
    needs.add("DeviceAllow=")
    needs.add("DeviceAllow=/dev/vcio rw")


def _need_to_read(needs: Needs, name: str, key: str, setting: Setting | None = None) -> None:
    """key: what names the file, for notes. setting: whose value the file is, if another may take its place."""
    path = Path(name).absolute()
    try:
        status = path.stat()
    except OSError as error:
        needs.notes.append(f"{key}: {path}: {error.strerror}: what it needs is not known")
        return
    readable = status.st_mode & stat.S_IROTH and (not path.is_dir() or status.st_mode & stat.S_IXOTH)
    in_home = _is_below(path, _HOMES)
    if setting and not setting.repeatable and path.is_file() and (not readable or setting.option.endswith("-file")):
        if status.st_size > _MAX_CREDENTIAL_BYTES:
            needs.notes.append(f"{key}: {path}: the service's user may not read it: sudo chmod a+r {path}")
        else:
            # systemd reads it as root and hands over a copy; the environment goes before the file.
            name = setting.name + path.suffix
            needs.add(f"LoadCredential={name}:{path}")
            needs.add(f"Environment={setting.variable}=%d/{name}")
        return
    if not readable:
        needs.notes.append(f"{key}: {path}: the service's user may not read it: sudo chmod a+r {path}")
    if in_home:
        needs.add("ProtectHome=tmpfs")
        needs.add(f"BindReadOnlyPaths={_quoted(str(path))}")
    elif _is_below(path, _PRIVATE):
        needs.notes.append(f"{key}: {path}: the service has a /tmp of its own: move the file elsewhere")
    elif closed := _closed_folder(path):
        needs.notes.append(f"{key}: {path}: the service's user may not enter {closed}: sudo chmod a+x {closed}")


def _need_to_write(needs: Needs, setting: Setting, path: Path) -> None:
    # Of the service's own folders, those that are not there yet are folders too.
    a_folder = is_folder(path) or (setting.action.metavar == "FOLDER" and directive(path) is not None)
    folder = path.absolute() if a_folder else path.absolute().parent
    if _SHARED_DEVICES.fullmatch(str(path)):
        return
    if own := directive(folder):
        needs.add(own)
        return
    if _is_below(folder, _PRIVATE):
        needs.notes.append(f"{setting.key}: {path}: the service has a /tmp of its own: write to /var/lib/edge-classify")
        return
    if _is_below(folder, _HOMES):
        needs.add("ProtectHome=tmpfs")
        needs.add(f"BindPaths={_quoted(str(folder))}")
    else:
        needs.add(f"ReadWritePaths={_quoted(str(folder))}")
    try:
        status = folder.stat()
    except OSError as error:
        needs.notes.append(f"{setting.key}: {folder}: {error.strerror}: create it, or write to /var/lib/edge-classify")
        return
    if status.st_mode & stat.S_IWOTH:
        return
    group = _group_name(status.st_gid)
    if status.st_mode & stat.S_IWGRP and group not in (None, "root"):
        needs.add(f"SupplementaryGroups={group}")
        return
    needs.notes.append(
        f"{setting.key}: {folder}: the service's user may not write there: write to /var/lib/edge-classify instead"
    )


def _need_command(needs: Needs, setting: Setting, command: str, *, shell: bool) -> None:
    """What a command's words say that it needs; the devices also from the text of a script. shell: a shell runs it."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        needs.notes.append(f"{setting.key}: {command}: {error}")
        return
    program = "/bin/sh" if shell else shutil.which(words[0]) if words else None
    if program is None:
        needs.notes.append(f"{setting.key}: {command}: there is no such program")
        return
    files = [program, *(word for word in words[1:] if word.startswith("/") and Path(word).is_file())]
    for name in files:
        _need_to_read(needs, name, setting.key)
    texts = [command, *(_text(name) for name in files)]
    for device in sorted({name for text in texts for name in re.findall(r"/dev/[\w/-]+", text)}):
        if not _SHARED_DEVICES.fullmatch(device):
            _need_device(needs, device)
    if any("gpio" in text.lower() for text in texts):
        needs.add("DeviceAllow=char-gpiochip rw")
        if _has_group("gpio"):
            needs.add("SupplementaryGroups=gpio")


def _need_device(needs: Needs, device: str) -> None:
    needs.add(f"DeviceAllow={device} rw")
    try:
        status = Path(device).stat()
    except OSError:
        needs.notes.append(f"{device}: not there now; if a group may use it, add SupplementaryGroups=")
        return
    group = _group_name(status.st_gid)
    if group not in (None, "root") and status.st_mode & stat.S_IWGRP:
        needs.add(f"SupplementaryGroups={group}")


def _text(name: str) -> str:
    """A script's text; empty for a program."""
    data = Path(name).read_bytes()[:100_000] if os.access(name, os.R_OK) else b""
    return "" if b"\0" in data else data.decode("utf-8", "replace")


def _is_below(path: Path, folders: Sequence[str]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _closed_folder(path: Path) -> Path | None:
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & stat.S_IXOTH), None)


def _group_name(number: int) -> str | None:
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return None


def _has_group(name: str) -> bool:
    import grp

    return any(group.gr_name == name for group in grp.getgrall())


def _quoted(path: str) -> str:
    """A path in a unit: % begins a specifier, and spaces need quotes."""
    path = path.replace("\\", "\\\\").replace("%", "%%")
    return f'"{path}"' if re.search(r"[\s'\";:]", path) else path
