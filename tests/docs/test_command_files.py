"""Shells complete our commands, and man shows their pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import make_commands
from command_files import MAN_PAGES
from conftest import ROOT, needs_programs
from edge_classify.options import COMPLETIONS

BASH = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_edge_classify 2> /dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
# A pseudo-terminal in which Tab is pressed: completion of zsh works in no other place.
ZSH = r"""
zmodload zsh/zpty; zpty -b shell zsh -f -i; zpty -w shell "PS1=; autoload -Uz compinit; compinit -D -u"
zpty -w shell 'eval "$(edge-classify --print-completion zsh)"; zstyle ":completion:*" list-prompt ""; echo READ""Y'
until [[ $seen == *READY* ]]; do zpty -r shell line; seen+=$line; done
zpty -n -w shell "$1"$'\t'; seen=
repeat 100; do zpty -r -t shell line && seen+=$line || sleep 0.1; [[ $seen == *$2* ]] && print -r - found && exit; done
print -r - $seen
"""


def shell(*words: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (["--mqtt-p"], ["--mqtt-password-file"]),
        (["--rotate", ""], ["0", "90", "180", "270"]),
        (["--model", "cup"], ["cups.tflite"]),
        (["co"], ["collect"]),
        (["collect", "--ev"], ["--every"]),
    ],
)
def test_bash_completes(command, tmp_path: Path, typed: list[str], found: list[str]) -> None:
    needs_programs("bash")
    (tmp_path / "cups.tflite").touch()
    completion = command("edge-classify", "--print-completion", "bash")
    assert completion.returncode == 0, completion.stderr
    (tmp_path / "completion").write_text(completion.stdout)
    said = shell("bash", "-c", f"source completion; {BASH}", "bash", "edge-classify", *typed, folder=tmp_path)
    assert said.split() == found


@pytest.mark.parametrize(
    ("typed", "found"), [("edge-classify --mqtt-p", "assword-file"), ("edge-classify col", "lect")]
)
def test_zsh_completes(tmp_path: Path, typed: str, found: str) -> None:
    needs_programs("zsh")
    assert shell("zsh", "-f", "-c", ZSH, "zsh", typed, found, folder=tmp_path) == "found\n"


@pytest.mark.parametrize("path", sorted(COMPLETIONS.iterdir()), ids=lambda path: path.name)
def test_shells_read_every_completion(path: Path) -> None:
    needs_programs(path.suffix[1:])
    shell(path.suffix[1:], "-n", str(path), folder=ROOT)


def test_no_file_is_left_of_a_command_that_is_gone() -> None:
    made = {path for path in make_commands.files() if path.parent in (COMPLETIONS, MAN_PAGES)}
    assert {*COMPLETIONS.iterdir(), *MAN_PAGES.iterdir()} == made


@pytest.mark.parametrize("path", sorted(MAN_PAGES.iterdir()), ids=lambda path: path.name)
def test_man_shows_every_page(path: Path) -> None:
    needs_programs("groff")
    words = ["groff", "-k", "-Kutf8", "-man", "-Tutf8", "-ww", "-P-cbou", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert "EXIT STATUS" in done.stdout
