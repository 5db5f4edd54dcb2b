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

BASH = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); FUNCTION 2> /dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
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


# Nothing is started for it, so that it is no slow test.
COMPLETED = [
    ("edge-classify", ["--mqtt-p"], ["--mqtt-password-file"]),
    ("edge-classify", ["--rotate", ""], ["0", "90", "180", "270"]),
    ("edge-classify", ["--model", "cup"], ["cups.tflite"]),
    ("edge-classify", ["--camera", ""], ["0", "csi:0", "demo", "cups.tflite"]),
    ("edge-classify", ["--num-threads", ""], ["auto"]),
    ("edge-classify", ["co"], ["collect"]),
    ("edge-classify", ["collect", "--ev"], ["--every"]),
    ("edge-train", ["--alpha", "0.35", "1."], ["1.0", "1.3", "1.4"]),
    ("edge-train", ["--resolution", "2"], ["224"]),
    ("edge-train", ["--weights", ""], ["imagenet", "none", "cups.tflite"]),
    ("edge-train", ["--crop", ""], ["auto"]),
]


@pytest.mark.parametrize(("program", "typed", "found"), COMPLETED)
def test_bash_completes(tmp_path: Path, program: str, typed: list[str], found: list[str]) -> None:
    needs_programs("bash")
    (tmp_path / "cups.tflite").touch()
    text = (COMPLETIONS / f"{program}.bash").read_text()
    pressed = BASH.replace("FUNCTION", f"_shtab_{program.replace('-', '_')}")
    said = shell("bash", "-c", f"{text}\n{pressed}", "bash", program, *typed, folder=tmp_path)
    assert said.split() == found


def test_each_command_prints_its_completion(command) -> None:
    completion = command("edge-classify", "--print-completion", "bash")
    assert completion.returncode == 0, completion.stderr
    assert completion.stdout == (COMPLETIONS / "edge-classify.bash").read_text()


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("edge-classify --mqtt-p", "assword-file"),
        ("edge-classify col", "lect"),
        ("edge-classify --camera de", "mo"),
    ],
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
