"""Documentation and commands agree: options, exit codes, and what --help looks like."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import make_commands
from conftest import ROOT
from edge_classify.options import Parser

COMMANDS = (
    "edge-benchmark",
    "edge-classify",
    "edge-classify collect",
    "edge-convert",
    "edge-doctor",
    "edge-teach",
    "edge-train",
    "edge-train make-shards",
)
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("**/*.md")])

# Options of other programs that the pages name.
FOREIGN = {
    "apt-get": {"--no-install-recommends"},
    "benchmarks/multipliers.py": {"--instructions"},
    "benchmarks/scale.py": {"--kills"},
    "benchmarks/teaching_instructions.py": {"--shots"},
    "benchmarks/teaching_anew.py": {"--results"},
    "benchmarks/unknown.py": {"--int8", "--sets"},
    "exiftool": {"--author"},
    "docker": {
        *("--cap-drop", "--device", "--file", "--read-only", "--rm", "--security-opt", "--tag", "--tmpfs", "--volume"),
    },
    "pip": {"--constraint", "--no-deps"},
    "prometheus-node-exporter": {"--collector"},  # .textfile.directory
    "pytest": {"--hypothesis-profile", "--timeout"},
    "python -m venv": {"--system-site-packages"},
    "ray start": {"--address", "--autoscaling-config", "--head", "--include-dashboard", "--num-cpus", "--port"},
    "rpicam-vid": {"--lores-height", "--lores-width", "--post-process-file"},
    "systemctl": {"--now"},
}
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*[a-z0-9]")


@pytest.fixture(scope="module")
def parsers() -> dict[str, Parser]:
    return make_commands.parsers()


def test_every_command_is_here(parsers: dict[str, Parser]) -> None:
    assert set(parsers) == set(COMMANDS)


def test_what_is_made_of_the_parsers_is_up_to_date() -> None:
    for path, text in make_commands.files().items():
        assert path.is_file(), f"there is no {path.name} yet: python docs/make_commands.py writes it"
        assert path.read_text() == text, "run: python docs/make_commands.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_options_named_in_a_page_exist(page: Path, parsers: dict[str, Parser]) -> None:
    known = {"--help", *(name for parser in parsers.values() for name in make_commands.options(parser))}
    known |= {name for names in FOREIGN.values() for name in names}
    assert sorted(set(_OPTION.findall(page.read_text())) - known) == []


def command_lines(text: str) -> list[list[str]]:
    """Every call of one of our commands in a page, in shell blocks and in `code`, as words; comments are dropped."""
    blocks = re.findall(r"^```(?:sh|shell|bash|console)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    found = []
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # prose, with an apostrophe
            continue
        while words and (words[0] in ("$", "sudo") or "=" in words[0]):
            words = words[1:]
        if words and words[0].removeprefix(".venv/bin/") in COMMANDS:
            found.append(with_subcommand([words[0].removeprefix(".venv/bin/"), *words[1:]]))
    return found


def with_subcommand(words: list[str]) -> list[str]:
    """The words of a command line, the first two as one if they are a command together."""
    both = " ".join(words[:2])
    return [both, *words[2:]] if both in COMMANDS else words


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_command_lines_in_a_page_use_options_of_that_command(page: Path, parsers: dict[str, Parser]) -> None:
    wrong = []
    for command, *words in command_lines(page.read_text()):
        known = {"-h", "--help", *make_commands.options(parsers[command])}
        given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        wrong += [f"{command} {name}" for name in sorted(given - known)]
    assert wrong == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_and_ends_with_examples_and_exit_codes(
    name: str, parsers: dict[str, Parser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    text = parsers[name].format_help()
    assert len(text.splitlines()) <= 60
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert "default: None" not in text
    assert text.startswith(f"usage: {name} ")
    assert len(parsers[name].examples) == 2
    examples, exit_codes = text.index("\nexamples:\n"), text.index("\nexit codes:\n")
    assert examples < exit_codes
    for line in re.findall(r"^  (edge-.*)$", text[examples:exit_codes], re.MULTILINE):
        (command, *words) = with_subcommand(shlex.split(line))
        assert {word for word in words if word.startswith("-")} <= set(make_commands.options(parsers[command])), line
    meanings = " ".join(text[exit_codes:].split()).removeprefix("exit codes: ").split("; ")
    codes = [int(meaning.split()[0]) for meaning in meanings]
    assert {0, 2, 130} <= set(codes)
    assert codes == sorted(set(codes)), "a code has two meanings, or they are not in order"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does_in_one_style(name: str, parsers: dict[str, Parser]) -> None:
    for option, action in make_commands.options(parsers[name]).items():
        assert action.help, option
        assert not action.help.endswith("."), option
        assert "_" not in option, f"{option}: words of an option are joined by -"
    assert {"--traceback", "--version", "--help-all"} <= set(make_commands.options(parsers[name]))


def test_an_option_of_several_commands_means_the_same(parsers: dict[str, Parser]) -> None:
    """One spelling: no option of one command is another's with - for _ or without its last s."""
    names = {name for parser in parsers.values() for name in make_commands.options(parser) if name.startswith("--")}
    folded: dict[str, set[str]] = {}
    for name in names:
        folded.setdefault(name.replace("-", "").replace("_", ""), set()).add(name)
    assert [spellings for spellings in folded.values() if len(spellings) > 1] == []


def test_help_needs_nothing_of_the_desktop() -> None:
    """The device's package has all commands, and `make check` reads all parsers."""
    code = "import sys; sys.path.insert(0, 'docs')\n"
    code += "for name in ('tensorflow', 'keras', 'matplotlib'): sys.modules[name] = None\n"
    code += "import make_commands; make_commands.parsers()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
