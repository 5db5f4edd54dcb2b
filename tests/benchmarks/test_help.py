"""Every benchmark says what it does before it does it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

# The first two are parts of others; the rest run in an emulator, beside what another program has put there.
NO_PROGRAMS = {"common.py", "still_scenes.py", "answer_pictures.py", "count_instructions.py", "count_teaching.py"}
PROGRAMS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if path.name not in NO_PROGRAMS)


@pytest.mark.slow
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_help_describes_it_and_measures_nothing(path: Path) -> None:
    words = [sys.executable, path, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {path.name} ")
    assert len(done.stdout) > 200
