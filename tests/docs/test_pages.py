"""What pages promise: their Python runs, their links lead somewhere, and the package is on no index."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

import edge_classify
from conftest import ROOT, draw_photo, write_photos
from edge_classify import open_source

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md"), *(ROOT / "benchmarks").glob("*.md")])
PYTHON = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL), 1)
]


# Model files that pages' Python makes, of the folder photos/.
MADE = {"things.tflite", "more.tflite"}


class ThreeFrames:
    """The demo's first frames in place of a camera, which no page would ever leave."""

    def __init__(self, *_: object, **__: object) -> None:
        self.source = open_source("demo")

    def __enter__(self) -> ThreeFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    def __iter__(self) -> Iterator[edge_classify.Frame]:
        return islice(self.source, 3)

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)


@pytest.mark.parametrize("block", PYTHON)
def test_python_of_a_page_runs(
    block: str,
    int8_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r'"([\w./-]+\.(?:tflite|jpg|png))"', block):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name == "things.tflite" and "change_classes" in block:  # the smallest that remembers photos
            edge_classify.teach(int8_model, write_photos(tmp_path / "things", 8), name)
            write_photos(tmp_path / "photos", 8, kinds=("cross",), seed=1)
            (tmp_path / "photos" / "cross").rename(tmp_path / "photos" / "key")
        elif name in MADE:
            write_photos(tmp_path / "photos", 8)
        elif name.endswith(".tflite"):
            shutil.copy(int8_model, tmp_path / name)
        else:
            assert cv2.imwrite(str(tmp_path / name), draw_photo("disc", np.random.default_rng(0)))
    monkeypatch.setattr(edge_classify, "open_source", ThreeFrames, raising=False)
    exec(compile(block, "<page>", "exec"), {"__name__": "__main__"})
    assert "array(" not in capsys.readouterr().out


def test_the_readme_shows_python() -> None:
    assert any(str(case.id).startswith("README") for case in PYTHON)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_lists_every_page_once() -> None:
    index = ROOT / "docs" / "README.md"
    listed = re.findall(r"^- \[.+?\]\((.+?)\)", index.read_text(), re.MULTILINE)
    assert len(listed) == len(set(listed))
    left_out = set(PAGES) - {(index.parent / path).resolve() for path in listed} - {index, ROOT / "README.md"}
    assert left_out == set()


def test_the_page_of_the_api_has_every_name_once() -> None:
    page = (ROOT / "docs" / "site" / "api.md").read_text()
    assert sorted(re.findall(r"^\.\. auto\w+:: (\w+)$", page, re.MULTILINE)) == sorted(edge_classify.__all__)


def test_the_front_page_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 120


def test_make_benchmarks_runs_every_program_that_measures() -> None:
    listed = re.findall(r"^\| `(\w+)\.py\b", (ROOT / "benchmarks" / "README.md").read_text(), re.MULTILINE)
    dry_run = subprocess.run(["make", "--dry-run", "benchmarks"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(listed) <= {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    (programs,) = re.findall(r"for program in (.*?); do", dry_run.stdout)
    assert sorted(programs.split()) == sorted(listed)


@pytest.mark.slow
def test_the_web_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Of a broken link, a missing picture, a page in no menu, or a docstring that cannot be shown."""
    if find_spec("sphinx") is None:
        pytest.skip("no Sphinx to build the site with → make docs")
    words = ("--quiet", "--fail-on-warning", "--conf-dir", ROOT / "docs" / "site", ROOT, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *map(str, words)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "classify_frames" in (tmp_path / "docs" / "site" / "api.html").read_text()


def test_the_address_of_the_repository_is_the_same_everywhere() -> None:
    address = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]
    folders = [ROOT / name for name in (".github", "docs", "edge", "train", "convert", "examples", "benchmarks")]
    files = [*ROOT.glob("*.*"), *(path for folder in folders for path in folder.rglob("*.*"))]
    texts = {path: path.read_text() for path in files if path.suffix in (".md", ".py", ".yml", ".yaml", ".toml", ".1")}
    found = {path: re.findall(r"https?://[\w./-]+/edge-classify(?![\w-])", text) for path, text in texts.items()}
    assert {path: others for path, names in found.items() if (others := set(names) - {address})} == {}
    assert len([path for path, names in found.items() if names]) > 1


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_is_sent_to_an_index_for_this_package(page: Path) -> None:
    """The name edge-classify belongs to nobody on PyPI: whoever registers it could run code on users' machines."""
    assert not re.search(r"pip3? install [^\n`]*(?<![\w./-])'?edge-classify\b", page.read_text())


def test_no_message_sends_anybody_there_either() -> None:
    for folder in ("edge", "train", "convert"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not re.search(r"pip3? install [^\n`]*(?<![\w./-])'?edge-classify\b", path.read_text()), path
