"""The arrows between the packages, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGES = {
    "edge_classify": ROOT / "edge" / "edge_classify",
    "edge_convert": ROOT / "convert" / "edge_convert",
    "edge_train": ROOT / "train" / "edge_train",
}
FORBIDDEN = {
    "edge_classify": {"edge_convert", "edge_train", "tensorflow", "keras", "tqdm", "flatbuffers"},
    "edge_convert": set(),
    "edge_train": {"edge_convert"},
}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_its_arrow_allows(package: str) -> None:
    files = list(PACKAGES[package].rglob("*.py"))
    assert files
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            imported = {name.split(".")[0] for name in names}
            assert not imported & FORBIDDEN[package], f"{path}:{node.lineno}"


def test_classifying_loads_neither_tensorflow_nor_the_desktop_packages() -> None:
    code = """
import sys, numpy
import edge_classify
assert "cv2" not in sys.modules, "importing the package alone loads OpenCV"
edge_classify.Classifier().classify(numpy.zeros((48, 64, 3), numpy.uint8))
edge_classify.open_source("demo").close()
heavy = {"tensorflow", "keras", "edge_train", "edge_convert", "tqdm"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_model_files_are_verified_where_only_the_device_side_is_installed(models: Path) -> None:
    code = """
import sys
for name in ("tensorflow", "keras", "tqdm", "matplotlib", "flatbuffers", "ai_edge_quantizer", "edge_train"):
    sys.modules[name] = None
from edge_convert.cli import main
sys.exit(main(["--verify", sys.argv[1]]))
"""
    subprocess.run([sys.executable, "-c", code, str(models)], check=True, timeout=60)


def test_no_file_of_the_demo_is_larger_than_100_kb() -> None:
    for path in PACKAGES["edge_classify"].rglob("*"):
        if path.suffix not in {".tflite", ".pyc"}:
            assert path.is_dir() or path.stat().st_size <= 100_000, path
