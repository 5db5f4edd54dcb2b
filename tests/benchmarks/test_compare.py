"""benchmarks/compare.py and plot.py: what a comparison says and refuses, on made-up times; pictures are PNG files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edge_classify.benchmark.metric import STAGES, STATISTICS, Metric

PROGRAMS = Path(__file__).parent.parent.parent / "benchmarks"
P50 = Metric("total", "p50")

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, as a module."""
    monkeypatch.syspath_prepend(str(PROGRAMS))
    import compare

    return compare


def stages(milliseconds: float) -> dict[str, dict[str, float]]:
    return {stage: dict.fromkeys(STATISTICS, milliseconds) for stage in STAGES}


@pytest.fixture
def results() -> Make:
    """Makes the results of two files from what their rounds take in milliseconds."""

    def make(*rounds: float, **environment: object) -> dict[str, Any]:
        entries = [
            {
                "model": f"{name}.tflite",
                "name": name,
                "num_threads": 1,
                "sha256": name,
                "alpha": 0.35,
                "resolution": 96,
                "precision": "int8",
                "accuracy": 0.9,
                "xnnpack": {"partitions": 1},
                "stages": stages(factor * rounds[0]),
                "rounds": [stages(factor * milliseconds) for milliseconds in rounds],
            }
            for name, factor in (("small", 1), ("large", 9))
        ]
        machine = dict.fromkeys(("device", "processor", "machine", "kernel", "interpreter", "python", "numpy"), "x")
        machine |= dict.fromkeys(("governor", "interpreter_version", "opencv", "edge_classify"), "y")
        states = [{"when": "during", "clock_mhz": 1500}]
        return {
            "format": 1,
            "environment": {**machine, "features": [], "cores": 4, "word_bits": 64, **environment},
            "watch": {"throttled": False, "others": 0.1, "stolen": 0.0, "states": states},
            "results": entries,
        }

    return make


def test_a_ratio_comes_with_its_interval(compare: ModuleType, results: Make) -> None:
    lines = compare.compare(results(10, 10.1, 9.9, 10, 10.2), results(12, 12.1, 11.9, 12.2, 12), P50).splitlines()
    for name in ("small, 1 thread", "median of all"):
        (line,) = [line for line in lines if line.startswith(name)]
        ratio, low, _, high, verdict = line.removeprefix(name).split()[-5:]
        assert float(low) <= float(ratio) <= float(high)
        assert float(ratio) == pytest.approx(1.2, abs=0.01)
        assert float(high) - float(low) < 0.06
        assert verdict == "slower"
    noisy = compare.compare(results(10, 14, 9, 12, 10), results(12, 9, 13, 10, 11), P50)
    assert noisy.count("no difference seen") == 3
    assert "fewer than 3 rounds" in compare.compare(results(10, 10), results(10, 10), P50)


def test_other_software_is_noted_and_another_machine_refused(compare: ModuleType, results: Make) -> None:
    text = compare.compare(results(1, 1, 1), results(1, 1, 1, interpreter_version="3.0"), P50)
    assert text.startswith("note: interpreter_version differs: y → 3.0")
    with pytest.raises(compare.ComparisonError, match=r"cores was 4, is 2; .*governor was y, is powersave"):
        compare.compare(results(1, 1, 1), results(1, 1, 1, cores=2, governor="powersave", word_bits=32), P50)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"throttled": True}, "the processor was throttled while new was measured"),
        ({"others": 1.2}, "other programs used 1.2 of 4 cores while new was measured"),
        ({"states": [{"when": "during", "clock_mhz": 600}]}, "the clock was 1500 MHz, is 600 MHz"),
    ],
)
def test_a_machine_in_another_state_is_refused(
    compare: ModuleType, results: Make, change: dict[str, Any], reason: str
) -> None:
    old, new = results(10, 10, 10), results(10, 10, 10)
    new["watch"] |= change
    with pytest.raises(compare.ComparisonError, match=reason):
        compare.compare(old, new, P50)
    assert f"warning: not comparable: {reason}" in compare.compare(old, new, P50, force=True)


def test_another_path_through_xnnpack_is_refused(compare: ModuleType, results: Make) -> None:
    old, new = results(10, 10, 10), results(10, 10, 10)
    new["results"][0]["xnnpack"] = {"partitions": 12}
    with pytest.raises(compare.ComparisonError, match="small: XNNPACK computes a different part of it"):
        compare.compare(old, new, P50)
    new["results"][0]["sha256"] = "converted again"
    assert "small, 1 thread (a different file)" in compare.compare(old, new, P50)


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(PROGRAMS / name), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def test_the_program_reads_files_and_refuses_in_one_line(results: Make, tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(results(10, 10, 10)))
    new.write_text(json.dumps(results(10, 10, 10, processor="another")))
    done = run("compare.py", old, new)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: not comparable (processor was x, is another)")
    done = run("compare.py", old, new, "--force", "--metric", "inference.p90")
    assert done.returncode == 0, done.stderr
    assert "warning: not comparable: processor was " in done.stdout
    assert "1.000" in done.stdout
    done = run("compare.py", old, tmp_path / "gone.json")
    assert (done.returncode, done.stderr) == (6, f"error: {tmp_path / 'gone.json'}: No such file or directory\n")


@pytest.mark.slow  # matplotlib is the desktop's
def test_a_picture_is_drawn(results: Make, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(results(10, 10, 10)))
    done = run("plot.py", tmp_path / "r.json", "-o", tmp_path / "r.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
