"""Where each option's value comes from: the command line, else the environment, else the file, else its default."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Mapping, Sequence

from ..errors import UsageError
from ..options import VARIABLES, Parser
from ..system.nearest import nearest
from .settings import OTHER_VARIABLES, Setting, convert, settings
from .toml_file import Given, read_file

log = logging.getLogger(__name__)

COMMAND_LINE = "command line"
_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


def layer(
    parser: Parser, options: argparse.Namespace, environment: Mapping[str, str], instead: Mapping[str, str]
) -> dict[str, Given]:
    """Fill options that were not on the command line from the environment and from the file options.config.

    instead: an argument that, if it is given, stands for the option of this `dest`.

    Returns what each option was given, by `dest`; an option that keeps its default is not in it.
    Raises UsageError for what cannot be used.
    """
    known = settings(parser)
    found = {
        setting.dest: Given(getattr(options, setting.dest), parser.given[setting.dest], COMMAND_LINE)
        for setting in known
        if setting.dest in parser.given
    }
    taken = {*found, *(dest for argument, dest in instead.items() if getattr(options, argument))}
    below = [from_environment(known, environment, parser)]
    path = environment.get(f"{VARIABLES}CONFIG") or None if options.config is None else options.config
    if path is not None:
        options.config = path
        contents = read_file(path, known, parser)
        if contents.problems:
            more = f" (and {len(contents.problems) - 1} more: edge-doctor --config {path})"
            raise UsageError(contents.problems[0] + (more if len(contents.problems) > 1 else ""))
        below.append(contents.values)
    for values in below:
        for dest, given in values.items():
            if dest not in taken:
                found[dest] = given
                setattr(options, dest, given.value)
        taken |= values.keys()
    _refuse_exclusive(parser, found, known)
    return found


def from_environment(
    known: Sequence[Setting], environment: Mapping[str, str], parser: argparse.ArgumentParser
) -> dict[str, Given]:
    """What the variables EDGE_CLASSIFY_... set; an empty one sets nothing. Warns of those that no option has.

    A variable of a repeatable option has one value on each line.
    """
    variables = {setting.variable: setting for setting in known}
    values = {}
    for name in sorted(environment):
        if not name.startswith(VARIABLES) or not environment[name]:
            continue
        if name in variables:
            setting = variables[name]
            values[setting.dest] = _from_variable(setting, name, environment[name], parser)
        elif name not in _others(variables):
            found = nearest(name, variables)
            log.warning("%s: no option has this variable%s", name, f": did you mean {found}?" if found else "")
    return values


def _others(variables: Mapping[str, Setting]) -> set[str]:
    """Variables without an option: a secret itself, whose file is an option, and what the program reads elsewhere."""
    secrets = {name.removesuffix("_FILE") for name in variables if name.endswith("_FILE")}
    return secrets | {*OTHER_VARIABLES, f"{VARIABLES}CONFIG"}


def _from_variable(setting: Setting, name: str, text: str, parser: argparse.ArgumentParser) -> Given:
    origin = f"{name} in the environment"
    if setting.is_flag:
        if text.lower() not in (*_YES, *_NO):
            raise UsageError(f"{name}: expected true or false, found {text!r}")
        yes = text.lower() in _YES
        return Given(setting.action.const if yes else setting.action.default, [[]] if yes else [], origin)
    words = [line.strip() for line in text.splitlines() if line.strip()] if setting.repeatable else [text]
    given = [[word] for word in words] if isinstance(setting.action, argparse._AppendAction) else [words]
    try:
        return Given(convert(setting, given, parser), given, origin)
    except argparse.ArgumentError as error:
        raise UsageError(f"{name}: {error.message}") from None


def _refuse_exclusive(parser: argparse.ArgumentParser, found: Mapping[str, Given], known: Sequence[Setting]) -> None:
    """Refuse two options of which only one may be given, when they come from different places."""
    names = {setting.dest: setting.option for setting in known}
    for group in parser._mutually_exclusive_groups:
        both = [action.dest for action in group._group_actions if action.dest in found and found[action.dest].words]
        if len(both) > 1:
            shown = " and ".join(f"{names[dest]} ({found[dest].origin})" for dest in both)
            raise UsageError(f"only one of these may be given: {shown}")


def with_origins(message: str, found: Mapping[str, Given], known: Sequence[Setting]) -> str:
    """An error's message about options, with where those come from that are not on the command line."""
    named = set(re.findall(r"--[a-z][a-z-]*[a-z]", message))
    origins = [
        f"{setting.option}: {found[setting.dest].origin}"
        for setting in known
        if setting.option in named and setting.dest in found and found[setting.dest].origin != COMMAND_LINE
    ]
    return f"{message} ({'; '.join(origins)})" if origins else message
