"""Writes what is made of the commands' parsers: docs/commands.md, the reference of all commands, their man pages, the
files that complete them in a shell, and the schema of configuration files: python docs/make_commands.py

A test says if one is out of date. They are the same whatever the version of Python, whose --help differs.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NoReturn
from unittest import mock

import command_files
from edge_classify.cli import make_parser
from edge_classify.collect.command import main as collect
from edge_classify.config.schema import SCHEMA_FILE, json_schema
from edge_classify.options import Parser
from edge_train.shards.command import main as make_shards

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "commands.md"
_COMPLETION = """\
Bash completes options, files and fixed values after `source <(edge-classify --print-completion bash)`, and zsh after
`eval "$(edge-classify --print-completion zsh)"`; each command prints its own. Put that line into `~/.bashrc` or
`~/.zshrc` to have it always. Man pages are installed too: `man edge-train`, if the command's folder is in `PATH`."""
_TITLES = {"options": "Options", "positional arguments": "Arguments"}


def parsers() -> dict[str, Parser]:
    """The parser of each command that pyproject.toml installs."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    found = {}
    for command, entry in sorted(scripts.items()):
        module, _, function = entry.partition(":")
        found[command] = _parser_of(getattr(import_module(module), function))
    found["edge-classify collect"] = _parser_of(collect)
    found["edge-train make-shards"] = _parser_of(make_shards)
    return dict(sorted(found.items()))


class _Caught(Exception):  # noqa: N818
    def __init__(self, parser: Parser) -> None:
        self.parser = parser


def _parser_of(main: Callable[[list[str]], int]) -> Parser:
    def catch(parser: Parser, *_: object) -> NoReturn:
        raise _Caught(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", catch):
        try:
            main([])
        except _Caught as caught:
            return caught.parser
    raise AssertionError(f"{main} parses no arguments")


def options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Every option string of this parser, but -h and --help; an option can have several."""
    return {name: action for action in parser._actions for name in action.option_strings if action.dest != "help"}


def page() -> str:
    """The text of docs/commands.md."""
    found = parsers()
    lines = ["# Commands", "", "<!-- Written by docs/make_commands.py: change the parsers, then run it. -->", ""]
    lines += [
        f"[{command}](#{command.replace(' ', '-')})" + (" ·" if command != max(found) else "") for command in found
    ]
    lines += ["", _COMPLETION]
    for command, parser in found.items():
        lines += ["", f"## {command}", "", _text(parser.description or ""), "", "```"]
        lines += [_usage(parser), "```", *_tables(parser)]
        lines += ["", "```", *parser.format_end().splitlines(), "```"]
    return "\n".join(lines) + "\n"


def files() -> dict[Path, str]:
    """The text of every file that is made of the parsers."""
    found = parsers()
    usages = {command: _usage(parser) for command, parser in found.items()}
    return {
        PAGE: page(),
        SCHEMA_FILE: schema(),
        **command_files.completions(found),
        **command_files.man_pages(found, usages),
    }


def schema() -> str:
    """The text of the package's JSON Schema."""
    return json.dumps(json_schema(make_parser()), indent=1, ensure_ascii=False) + "\n"


def _usage(parser: argparse.ArgumentParser) -> str:
    formatter = parser._get_formatter()
    words = [parser.prog]
    for action in parser._actions:
        if not action.option_strings:
            words.append(formatter._format_args(action, action.metavar or action.dest))
        elif action.required:
            words += [action.option_strings[0], formatter._format_args(action, action.metavar or action.dest.upper())]
    return " ".join([*words, "[OPTIONS]"])


def _tables(parser: argparse.ArgumentParser) -> list[str]:
    formatter = parser._get_formatter()
    lines: list[str] = []
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        actions = [action for action in actions if action.dest != "help"]
        if actions:
            title = group.title or ""
            lines += ["", f"| {_TITLES.get(title, title[:1].upper() + title[1:])} | |", "|---|---|"]
        for action in actions:
            meaning = formatter._expand_help(action) if action.help else ""
            lines.append(f"| `{_names(parser, action)}` | {_text(meaning)} |")
    return lines


def _names(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """`-o, --output FOLDER`."""
    values = ""
    if action.nargs != 0:
        values = parser._get_formatter()._format_args(action, action.metavar or action.dest.upper())
    return " ".join([", ".join(action.option_strings), values.strip()]).strip().replace("|", "\\|")


def _text(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
