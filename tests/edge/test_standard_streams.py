"""Every command's output where standard output cannot encode it, is full, or is closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import write_photos

BIN = Path(sys.executable).parent
COMMANDS = [
    ["edge-doctor"],
    ["edge-classify", "demo", "--count", "2"],
    ["edge-classify", "--no-such-option"],
    ["edge-train", "--help"],
]


def run(words: list[str], redirection: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = ["sh", "-c", f'"$@" {redirection}', "sh", str(BIN / words[0]), *words[1:]]
    environment = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_ends_as_ever_whatever_its_output_can_take(words: list[str]) -> None:
    usual = run(words)
    done = run(words, PYTHONIOENCODING="ascii")
    assert (done.returncode, b"Traceback" in done.stderr) == (usual.returncode, False), done.stderr
    done.stdout.decode("ascii")
    for redirection in (">&-", "<&- >&- 2>&-"):
        done = run(words, redirection)
        assert (done.returncode, b"Traceback" in done.stderr) == (usual.returncode, False), done.stderr


@pytest.mark.parametrize("words", [["edge-doctor"], ["edge-classify", "--help"]], ids=" ".join)
def test_a_full_disk_is_said_in_one_line(words: list[str]) -> None:
    done = run(words, ">/dev/full")
    assert done.returncode == 6
    assert done.stderr.startswith(b"error: ")
    assert done.stderr.endswith(b": the disk is full: free some space on it, and run this again\n")
    assert done.stderr.count(b"\n") == 1


def test_what_an_encoding_lacks_stays_readable_and_json_stays_json(tmp_path: Path, small_models: Path) -> None:
    folder = write_photos(tmp_path / "猫 é", 1, ("disc",)) / "disc"
    model = str(next(small_models.glob("*int8.tflite")))
    labels = tmp_path / "labels.txt"
    labels.write_text("Kätzchen\n猫\n→\n😀\n", encoding="utf-8")
    words = ["edge-classify", str(folder), "--model", model, "--labels", str(labels), "--top-k", "4"]
    for encoding, shown in (("ascii", b"K\\xe4tzchen"), ("latin-1", b"K\xe4tzchen")):
        assert shown in run(words, PYTHONIOENCODING=encoding).stdout
        result = json.loads(run([*words, "--json"], PYTHONIOENCODING=encoding).stdout.decode("utf-8"))
        assert {entry["category_name"] for entry in result["categories"]} == {"Kätzchen", "猫", "→", "😀"}
        assert result["source"] == str(folder / "0.png")
    assert b" -> " in run(["edge-doctor"], PYTHONIOENCODING="latin-1").stdout
