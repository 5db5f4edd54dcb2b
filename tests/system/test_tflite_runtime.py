"""tflite-runtime, LiteRT's predecessor, in an environment of its own: it wants Python 3.11 and numpy 1."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import assert_the_demo_is_read, make_environment, pip_of
from edge_classify.model.interpreter import BUILTIN_MODEL


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="tflite-runtime 2.14 is for Python 3.11 at most")
def test_the_demo_is_read_and_the_doctor_reports_once_what_is_slow(wheel: Path, tmp_path: Path) -> None:
    def run(*words: object) -> str:
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode in (0, 3), done.stderr  # 3: no camera
        return done.stdout

    programs = tmp_path / "bin"
    # As docs/raspberry-pi.md has it.
    make_environment(tmp_path, f"{wheel}[tflite-runtime]")
    run(*pip_of(tmp_path), "uninstall", "--quiet", "--yes", "ai-edge-litert")
    findings = json.loads(run(programs / "edge-doctor", "--json", BUILTIN_MODEL))["findings"]
    (slow,) = [finding["text"] for finding in findings if "XNNPACK" in finding["text"]]
    assert slow.startswith("tflite-runtime 2.14.0, ")
    assert "green" in [finding["level"] for finding in findings if finding["check"] == "test card"]
    results = run(programs / "edge-classify", "--camera", "demo", "--count", 60, "--json")
    assert_the_demo_is_read(results, 60)
