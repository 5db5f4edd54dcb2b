"""`make models`, which CI and people run: the grid of model files, verified, and the same bytes when made again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grid(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run folder and model files of two cells, made by the Makefile."""
    environment = Path(sys.prefix)
    if not (environment / ".desktop").exists():
        pytest.skip(f"make did not make this environment: {environment}")
    folder = tmp_path_factory.mktemp("grid")
    run, models = folder / "run", folder / "models"
    words = [
        *("make", "models", f"VENV={environment}", f"PHOTOS={photos}", "WEIGHTS=none", "ALPHA=0.35"),
        *(
            "RESOLUTION=96 128",
            f"RUN={run}",
            f"MODELS={models}",
            "CONVERT=--precision float16 int8 --max-drop 50 --max-accepted 100",
        ),
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr
    assert "all 4 model files match the manifest" in done.stdout
    return run, models


def test_the_grid_is_whole_and_its_checksums_hold(grid: tuple[Path, Path]) -> None:
    _, models = grid
    manifest = json.loads((models / "manifest.json").read_text())
    cells = {(entry["alpha"], entry["resolution"], entry["precision"]) for entry in manifest["files"]}
    assert cells == {(0.35, side, precision) for side in (96, 128) for precision in ("float16", "int8")}
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=models, check=True, timeout=60)


def test_made_again_elsewhere_the_files_have_the_same_bytes(grid: tuple[Path, Path], tmp_path: Path, command) -> None:
    run, models = grid
    moved = Path(shutil.copytree(run, tmp_path / "elsewhere"))
    # Both cells in one process, where make used two if there are as many cores.
    words = ("--precision", "float16", "int8", "--max-drop", 50, "--max-accepted", 100, "--workers", 1)
    done = command("edge-convert", moved, "-o", tmp_path / "again", *words)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in models.glob("*.tflite"))
    assert len(names) == 4
    for name in [*names, "manifest.json"]:
        assert (tmp_path / "again" / name).read_bytes() == (models / name).read_bytes(), name


def test_the_recipe_draws_the_same_photos_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        recipe = ROOT / "train" / "recipes" / "digit_photos.py"
        subprocess.run([sys.executable, recipe, "-o", tmp_path / name, "--each", "2"], check=True, timeout=120)
    drawn = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png"))
    assert {path.parent.name for path in drawn} == {*"0123456789", "unknown"}
    assert len(drawn) == 22
    for path in drawn:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()
