"""Checks of a configuration file: what is wrong with it, and who may read its secrets."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ..config.layers import from_environment
from ..config.secrets import without_secret
from ..config.settings import Setting, file_in, settings
from ..config.toml_file import Given, read_file
from ..errors import EdgeClassifyError, UsageError
from ..options import Parser
from .finding import Finding
from .network_checks import check_network

_CHECK = "configuration"


def check_config(path: str, parser: Parser) -> Iterator[Finding]:
    """Check a configuration file of this command line: everything that is wrong with it, not the first thing alone."""
    known = settings(parser)
    try:
        contents = read_file(path, known, parser)
        environment = from_environment(known, os.environ, parser)
    except UsageError as error:
        yield Finding("red", _CHECK, str(error), "see docs/configuration.md", error.exit_code)
        return
    for problem in contents.problems:
        yield Finding("red", _CHECK, problem, "see docs/configuration.md", UsageError.exit_code)
    given = {**contents.values, **environment}
    yield from _check_secrets(path, known, contents.values)
    if contents.problems:
        return
    try:
        options = _check_together(parser, given)
    except EdgeClassifyError as error:
        yield Finding("red", _CHECK, f"{path}: {error}", exit_code=error.exit_code)
        return
    count = len(contents.values)
    yield Finding("green", _CHECK, f"{path}: {count} {'option' if count == 1 else 'options'}")
    yield from check_network(options)


def _check_together(parser: Parser, given: dict[str, Given]) -> argparse.Namespace:
    """Check what edge-classify refuses before it opens anything; returns its options."""
    from ..session import check

    options = parser.parse_args([])
    for dest, value in given.items():
        setattr(options, dest, value.value)
    options.source = (options.camera or ["0"])[0]
    check(options)
    return options


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
