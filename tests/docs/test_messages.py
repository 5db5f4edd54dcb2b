"""Messages in the code: the page about them quotes them as they are, and what they tell people to use exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import make_commands
from conftest import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
# Of other programs, in the commands that our messages give.
OTHERS = {"--force-reinstall", "--roi"}


def texts() -> Iterator[tuple[Path, str]]:
    """Every text in the code that is no docstring, … for what is put into it."""
    for folder in ("edge", "train", "convert"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text())
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                    yield path, "".join(map(str, parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                    yield path, node.value


TEXTS = list(texts())
QUOTED = [
    message.replace("\\|", "|")
    for cell in re.findall(r"^\| (`.+?`) \| ", PAGE.read_text(), re.MULTILINE)
    for message in re.findall(r"`([^`]+)`", cell)
]


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_on_the_page_is_one_of_ours(message: str) -> None:
    wanted = re.compile(".*".join(map(re.escape, message.split("…"))), re.DOTALL)
    assert any(wanted.search(text) for _, text in TEXTS)


def test_the_page_has_messages() -> None:
    assert len(QUOTED) > 30


def test_options_and_commands_in_messages_exist() -> None:
    parsers = make_commands.parsers()
    known = {"--help", *OTHERS, *(name for parser in parsers.values() for name in make_commands.options(parser))}
    for path, text in TEXTS:
        if " " in text and "\n" not in text and "<" not in text:  # else a name, a style sheet, HTML
            options = set(re.findall(r"(?<![\w…-])--[a-z][a-z0-9-]*[a-z0-9](?![\w…])", text))
            assert options <= known, f"{path}: {text}"
            commands = set(re.findall(r"(?<![\w/.-])edge-(?!classify\b)[a-z]+\b(?![.-])", text))
            assert commands <= set(parsers), f"{path}: {text}"


def test_pages_in_messages_exist() -> None:
    for path, text in TEXTS:
        for page in re.findall(r"docs/[\w-]+\.md", text):
            assert (ROOT / page).is_file(), f"{path}: {text}"
