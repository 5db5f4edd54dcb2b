"""Every benchmark says what it does before it does it."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from conftest import ROOT

# The first two are parts of others; the rest run in an emulator, beside what another program has put there.
NO_PROGRAMS = {"common.py", "still_scenes.py", "answer_pictures.py", "count_instructions.py", "count_teaching.py"}
PROGRAMS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if path.name not in NO_PROGRAMS)


@pytest.mark.slow
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_help_describes_it_and_measures_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # All in this process: in one each they would import the same libraries thirty times.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # as one of them does for good
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.syspath_prepend(path.parent)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert not ended.value.code
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {path.name} ")
    assert len(said) > 200
