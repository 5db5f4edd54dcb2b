"""Checks of a configuration file: what is wrong with it, and who may read its secrets."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Generator, Iterator
from pathlib import Path

from ..config.layers import from_environment
from ..config.secrets import without_secret
from ..config.settings import Setting, file_in, settings
from ..config.toml_file import Given, read_file
from ..errors import DataError, EdgeClassifyError, FolderError, UsageError, explain_os_error
from ..options import Parser
from .finding import Finding
from .network_checks import check_network
from .service_folders import is_of_service, of_service

_CHECK = "configuration"
_ANY_CAMERA = "0"


def check_config(path: str, parser: Parser) -> Generator[Finding, None, str]:
    """Check a configuration file of this command line: everything that is wrong with it, not the first thing alone.

    Returns the source that it names.
    """
    known = settings(parser)
    try:
        contents = read_file(path, known, parser)
        environment = from_environment(known, os.environ, parser)
    except UsageError as error:
        yield Finding("red", _CHECK, str(error), "see docs/configuration.md", error.exit_code)
        return _ANY_CAMERA
    for problem in contents.problems:
        yield Finding("red", _CHECK, problem, "see docs/configuration.md", UsageError.exit_code)
    given = {**contents.values, **environment}
    yield from _check_secrets(path, known, contents.values)
    options = _options(parser, given)
    if contents.problems:
        return str(options.source)
    together = list(_check_together(path, parser, options))
    yield from together
    if all(finding.level != "red" for finding in together):
        count = len(contents.values)
        yield Finding("green", _CHECK, f"{path}: {count} {'option' if count == 1 else 'options'}")
        yield from check_network(options)
    return str(options.source)


def _options(parser: Parser, given: dict[str, Given]) -> argparse.Namespace:
    options = parser.parse_args([])
    for dest, value in given.items():
        setattr(options, dest, value.value)
    options.source = (options.camera or [_ANY_CAMERA])[0]
    return options


def _check_together(path: str, parser: Parser, options: argparse.Namespace) -> Iterator[Finding]:
    """Check what edge-classify refuses before it opens anything."""
    from ..session import problems

    try:
        parser.check_belonging(options)
    except UsageError as error:
        yield Finding("red", _CHECK, f"{path}: {error}", exit_code=error.exit_code)
    for problem in problems(options):
        if isinstance(problem, FolderError) and is_of_service(problem.folder):
            yield of_service(_CHECK, problem.folder)
        elif isinstance(problem, EdgeClassifyError):
            yield Finding("red", _CHECK, f"{path}: {problem}", exit_code=problem.exit_code)
        else:
            yield Finding("red", _CHECK, f"{path}: {explain_os_error(problem)}", exit_code=DataError.exit_code)


def _check_secrets(path: str, known: list[Setting], values: dict[str, Given]) -> Iterator[Finding]:
    for setting in known:
        words = [word for words in values.get(setting.dest, Given(None, [], "")).words for word in words]
        for word in words:
            if without_secret(word) != word and _others_may_read(path):
                yield Finding(
                    "yellow",
                    _CHECK,
                    f"{path}: everybody on this machine may read the secret in {setting.key}",
                    f"set {setting.variable} in the environment instead (docs/configuration.md)",
                )
            secret = file_in(setting, word) if setting.option.endswith("-file") else None
            if secret is not None and _others_may_read(secret):
                yield Finding(
                    "yellow", _CHECK, f"{secret}: everybody on this machine may read this secret", f"chmod 600 {secret}"
                )


def _others_may_read(path: str) -> bool:
    try:
        return bool(Path(path).stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
