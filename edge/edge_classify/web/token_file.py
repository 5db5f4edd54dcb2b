"""The token that a page asks for which others on the network can reach."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path

from ..errors import DataError, explain_os_error
from ..system.secret_file import read_secret, why_not_secret

log = logging.getLogger(__name__)

_BYTES = 18
_MIN_CHARACTERS = 16


def default_path() -> Path:
    """Where services keep what they have to remember, else where users' programs do."""
    state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if state:
        return Path(state) / "web-token"
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "edge-classify" / "web-token"


def read_or_make(path: Path) -> tuple[str, bool]:
    """The token in a file, and whether it was just made. Raises DataError."""
    if not path.exists():
        return _make(path), True
    token = read_secret(path, "--web-token-file")
    if len(token) < _MIN_CHARACTERS or not token.isascii():
        raise DataError(
            f"--web-token-file {path}: expected {_MIN_CHARACTERS} letters and digits or more: remove the file to have "
            "a token made"
        )
    if why := why_not_secret(path):
        log.warning("--web-token-file %s", why)
    return token, False


def _make(path: Path) -> str:
    token = secrets.token_urlsafe(_BYTES)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")
    except OSError as error:
        raise DataError(f"{explain_os_error(error)}: the page needs a file for its token: --web-token-file") from error
    return token
