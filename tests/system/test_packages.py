"""Which package, folder and module may import which, and what an import loads."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGES = {
    "edge_classify": ROOT / "edge" / "edge_classify",
    "edge_train": ROOT / "train" / "edge_train",
    "edge_convert": ROOT / "convert" / "edge_convert",
}
# The chain of arrows: a package imports those before it, never one after it.
FORBIDDEN = {
    "edge_classify": {"edge_train", "edge_convert", "tensorflow", "tensorflow_hub", "keras", "tqdm"},
    "edge_train": {"edge_convert"},
    "edge_convert": set(),
}
MAX_ENTRIES = 20


def module_name(path: Path, package: str) -> str:
    """ "edge_classify.model.classifier", or "edge_classify.model" for its `__init__.py`."""
    parts = [package, *path.relative_to(PACKAGES[package]).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, package: str) -> Iterator[tuple[str, int]]:
    """The modules that a file imports, at its top or in a function, with their lines.

    Imports for type checkers only count too: what a module cannot be understood without, it depends on.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or "", node.lineno
        elif isinstance(node, ast.ImportFrom):
            folder = [package, *path.relative_to(PACKAGES[package]).parts][: -node.level]
            target = ".".join([*folder, node.module] if node.module else folder)
            if node.module:
                yield target, node.lineno
            # What is imported may be a module, too.
            yield from ((f"{target}.{alias.name}", node.lineno) for alias in node.names)


def find_circle(arrows: dict[str, set[str]]) -> list[str]:
    """Some names that import each other in a circle, or nothing."""
    done: set[str] = set()

    def follow(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for target in sorted(arrows.get(name, ())):
            if circle := follow(target, [*way, name]):
                return circle
        done.add(name)
        return []

    return next((circle for name in sorted(arrows) if (circle := follow(name, []))), [])


def module_arrows(package: str) -> dict[str, set[str]]:
    """Each module of a package, and the modules of the package that it imports."""
    files = {module_name(path, package): path for path in PACKAGES[package].rglob("*.py")}
    return {
        name: {target for target, _ in imports(path, package) if target in files and target != name}
        for name, path in files.items()
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_its_arrow_allows(package: str) -> None:
    files = list(PACKAGES[package].rglob("*.py"))
    assert files
    for path in files:
        for name, line in imports(path, package):
            assert name.split(".")[0] not in FORBIDDEN[package], f"{path}:{line}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    assert find_circle(module_arrows(package)) == []


def test_no_folders_of_the_device_side_import_each_other_in_a_circle() -> None:
    folders = {path.name for path in PACKAGES["edge_classify"].iterdir() if path.is_dir()}

    def folder_of(module: str) -> str | None:
        _, *rest = module.split(".")
        return rest[0] if rest and rest[0] in folders else None

    arrows: dict[str, set[str]] = {}
    for module, targets in module_arrows("edge_classify").items():
        if here := folder_of(module):
            arrows.setdefault(here, set()).update(
                there for target in targets if (there := folder_of(target)) not in (None, here)
            )
    assert find_circle(arrows) == []


def test_a_circle_would_be_found() -> None:
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_a_newcomer_sees_the_device_side_at_a_glance() -> None:
    entries = {path.name for path in PACKAGES["edge_classify"].iterdir()} - {"__pycache__", "__init__.py", "py.typed"}
    assert len(entries) <= MAX_ENTRIES, sorted(entries)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_inits_of_packages_hold_no_code(package: str) -> None:
    # What they import would be loaded with each module below them. The public one is lazy.
    for path in PACKAGES[package].rglob("__init__.py"):
        if path != PACKAGES["edge_classify"] / "__init__.py":
            code = [node for node in ast.parse(path.read_text()).body if not isinstance(node, ast.Expr)]
            assert code == [], path


def test_the_mathematics_of_learning_needs_only_numpy() -> None:
    ours = {"edge_classify", "__future__"}
    for path in (PACKAGES["edge_classify"] / "learn").glob("*.py"):
        third_party = {name.split(".")[0] for name, _ in imports(path, "edge_classify")} - ours
        assert third_party - sys.stdlib_module_names <= {"numpy"}, path


def run_python(code: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, timeout=300)


def test_importing_the_public_package_loads_no_library() -> None:
    run_python("""
import sys
import tomllib
before = set(sys.modules)
import edge_classify
paths = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items() if name not in before}
assert not [name for name, path in paths.items() if "site-packages" in path and "edge_classify" not in name], paths
""")


def test_classifying_loads_neither_the_desktop_side_nor_an_optional_library() -> None:
    run_python("""
import sys, numpy
import edge_classify
edge_classify.Classifier().classify(numpy.zeros((48, 64, 3), numpy.uint8))
edge_classify.open_source("demo").close()
heavy = {"tensorflow", "keras", "edge_train", "edge_convert", "tqdm", "matplotlib", "paho", "prometheus_client"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
""")


def test_model_files_are_verified_where_only_the_device_side_is_installed(models: Path) -> None:
    code = """
import sys
import tomllib
for name in ("tensorflow", "keras", "tqdm", "matplotlib", "flatbuffers", "ai_edge_quantizer", "tensorflow_hub"):
    sys.modules[name] = None
from edge_convert.cli import main
sys.exit(main(["--verify", sys.argv[1]]))
"""
    run_python(code, models)


def test_help_of_every_command_needs_only_the_device_side() -> None:
    """Who has run `make demo` and types edge-train is told what is missing, not shown a traceback."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    code = """
import importlib, sys
for name in ("PIL", "matplotlib", "tensorflow", "keras", "tqdm", "pillow_heif", "ai_edge_quantizer", "ray", "fsspec"):
    sys.modules[name] = None
module, _, function = sys.argv[1].partition(":")
try:
    getattr(importlib.import_module(module), function)(["--help"])
except SystemExit as end:
    sys.exit(end.code)
"""
    for name, entry in scripts.items():
        done = subprocess.run(
            [sys.executable, "-c", code, entry], capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr, f"{name}: {done.stderr}"
        assert done.returncode == 0, f"{name}: {done.stderr}"


def test_the_extra_all_has_every_extra_for_a_device() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    wanted = set(extras) - {"all", "cluster", "learn", "train", "dev", "docs", "tflite-runtime"}
    assert everything == f"edge-classify[{','.join(sorted(wanted))}]"
