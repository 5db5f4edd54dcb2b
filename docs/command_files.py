"""Shell completions and man pages of all commands, from their parsers: docs/make_commands.py writes them."""

from __future__ import annotations

import argparse
import copy
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import shtab
from argparse_manpage.manpage import Manpage

from edge_classify import __version__
from edge_classify.options import COMPLETIONS, SHELLS, Parser

MAN_PAGES = Path(__file__).parent / "man"

_SOURCE = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["urls"]["Source"]

# What an option or argument takes, by its word in --help.
_FILES = {
    *("ADDRESS|FILE", "B", "BASE", "DIR", "FILE", "FOLDER", "MODEL", "MODELS", "PHOTOS", "PLACE", "RUN", "SOURCE", "W")
}


def completions(parsers: dict[str, Parser]) -> dict[Path, str]:
    """The text of each completion file. A command of two words is completed by the file of the first.

    parsers: by the name of the command.
    """
    return {
        COMPLETIONS / f"{name}.{shell}": _completion(name, parsers, shell)
        for name in parsers
        if " " not in name
        for shell in SHELLS
    }


def _completion(name: str, parsers: dict[str, Parser], shell: str) -> str:
    parser = _marked(parsers[name])
    below = {other.removeprefix(f"{name} "): parsers[other] for other in parsers if other.startswith(f"{name} ")}
    if below:
        # They stand where a source may stand, too, which completes to files in any case.
        parser._actions[:] = [action for action in parser._actions if action.option_strings]
        choices = parser.add_subparsers(parser_class=argparse.ArgumentParser)
        for word, other in below.items():
            choices.add_parser(word, help=_first_sentence(other.description or ""))
            choices.choices[word] = _marked(other)
            choices.choices[word].description = _first_sentence(other.description or "")
    text: str = shtab.complete(parser, shell)
    # Where nothing else fits, and beside the commands of two words, shells are to complete files.
    commands = f"_describe '{name} commands' _commands"
    text = text.replace("complete -o bashdefault ", "complete -o bashdefault -o default ")
    return text.replace(commands, f"{commands}\n  _files")


def _marked(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A copy of this parser that says what are files, and which words there are."""
    marked = copy.deepcopy(parser)
    for action in marked._actions:
        words: tuple[str, ...] = getattr(action, "suggested", ())
        if action.metavar in _FILES:
            action.complete = _files_or(words) if words else shtab.FILE  # type: ignore[attr-defined]
        elif words:
            action.choices = words
    return marked


def _files_or(words: tuple[str, ...]) -> dict[str, Any]:
    """What shtab takes for files and these words: a function of each shell."""
    # In bash shtab tells by _file that there may be folders to go into.
    name = f"_edge_files_or_{'_'.join(re.sub(r'[^a-z0-9]', '_', word) for word in words)}"
    bash = f"{name}() {{\n  compgen -W {shlex.quote(' '.join(words))} -- $1\n  compgen -f -- $1\n}}"
    alternative = shlex.quote(f"words:word:({' '.join(words)})")
    zsh = f"{name}() {{\n  _alternative {alternative} 'files:file:_files'\n}}"
    return {"bash": name, "zsh": name, "preamble": {"bash": bash, "zsh": zsh}}


def man_pages(parsers: dict[str, Parser], usages: dict[str, str]) -> dict[Path, str]:
    """The text of each man page.

    parsers, usages: by the name of the command.
    """
    pages = {}
    for name, parser in parsers.items():
        others = ", ".join(f"{_page_name(other)}(1)" for other in parsers if other != name)
        pages[MAN_PAGES / f"{_page_name(name)}.1"] = _man_page(parser, usages[name], others)
    return pages


def _page_name(command: str) -> str:
    """As git-log(1) is the page of `git log`."""
    return command.replace(" ", "-")


def _man_page(parser: Parser, usage: str, others: str) -> str:
    parser = copy.deepcopy(parser)
    parser.prog = _page_name(parser.prog)
    page = Manpage(parser)
    page.formatter._width = page.mf._width = 10_000  # man breaks the lines
    page.mf._get_help_string = page.formatter._get_help_string  # our own, which adds defaults
    page.date = ""
    page.source = f"edge-classify {__version__}"
    page.manual = "edge-classify"
    page._data = {"project_name": "edge-classify", "url": _SOURCE}
    page.description = _first_sentence(parser.description or "")
    page.synopsis = usage.split()
    page.add_section("examples", ">", "\n".join(_entry(*example) for example in parser.examples))
    page.add_section("exit status", ">", "\n".join(_entry(str(code), what) for code, what in parser.exit_codes()))
    page.add_section("see also", ">", _escaped(others))
    return str(page)


def _entry(term: str, text: str) -> str:
    """A term and its meaning, in man's language."""
    return f".TP\n.B {_escaped(term)}\n{_escaped(text)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("-", "\\-")


def _first_sentence(text: str) -> str:
    sentence = " ".join(text.split()).partition(". ")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]
