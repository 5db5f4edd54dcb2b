"""Checks of where metrics are served or written."""

from __future__ import annotations

import errno
import re
import time
from importlib.util import find_spec
from pathlib import Path

from ..errors import DataError, FolderError, UsageError
from ..options import is_folder
from ..outputs.address import Address, listen, why_not
from ..outputs.metrics import PATH, WRITE_INTERVAL_S, check_file
from ..system.packages import install_command
from .finding import Finding
from .service_folders import is_of_service, of_service

_CHECK = "metrics"
# A program at that port may be anything, and never answer.
_TIMEOUT_S = 2.0
_MAX_BYTES = 2**20


def check_metrics(destination: Address | Path) -> Finding:
    """Whether edge-classify could publish metrics there, or does so now."""
    if find_spec("prometheus_client") is None:
        remedy = install_command("prometheus-client")
        return Finding("red", _CHECK, "the package prometheus-client is not installed", remedy, UsageError.exit_code)
    return _check_file(destination) if isinstance(destination, Path) else _check_address(destination)


def _check_file(path: Path) -> Finding:
    if is_folder(path):
        return _check_place(path)
    try:
        age = time.time() - path.stat().st_mtime
    except (FileNotFoundError, PermissionError):
        return _check_place(path)
    except OSError as error:
        return Finding("red", _CHECK, f"{path}: {error.strerror}", "give another file", DataError.exit_code)
    if age < 3 * WRITE_INTERVAL_S:
        return Finding("green", _CHECK, f"{path}: written {age:.0f} s ago")
    text = f"{path}: last written {age:.0f} s ago: edge-classify is not running, or writes elsewhere"
    return Finding("yellow", _CHECK, text, "start edge-classify, or remove the file")


def _check_place(path: Path) -> Finding:
    try:
        check_file(path)
    except DataError as error:
        if isinstance(error, FolderError) and is_of_service(error.folder):
            return of_service(_CHECK, path)
        return Finding("red", _CHECK, str(error), exit_code=error.exit_code)
    return Finding("green", _CHECK, f"{path}: can be written, and is not there yet")


def _check_address(address: Address) -> Finding:
    try:
        listen(address).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return Finding("red", _CHECK, *why_not(address, error), UsageError.exit_code)
    else:
        return Finding("green", _CHECK, f"{address}: free")
    answer = _ask(address.from_here)
    if found := re.search(rb'^edge_classify_build_info\{version="([^"]*)"\}', answer, re.MULTILINE):
        series = len(re.findall(rb"^[^#\n]", answer, re.MULTILINE))
        return Finding("green", _CHECK, f"{address}: edge-classify {found[1].decode()} answers with {series} series")
    text = f"{address}: in use by a program that does not answer as edge-classify does"
    remedy = f"ss -ltnp 'sport = {address.port}' shows which; stop it, or choose another port"
    return Finding("red", _CHECK, text, remedy, UsageError.exit_code)


def _ask(address: Address) -> bytes:
    """What is answered there; b"" if nothing is."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(address.host, address.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", PATH)
        return connection.getresponse().read(_MAX_BYTES)
    except (OSError, HTTPException):
        return b""
    finally:
        connection.close()
