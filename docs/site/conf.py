"""The documentation as a web site, by Sphinx: `make docs`. It shows our Markdown as it is; docs/README.md is its index.

What Sphinx warns of, such as a broken link or a missing picture, ends the build with an error.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from edge_classify import __version__

ROOT = Path(__file__).parents[2]
INDEX = "docs/README"
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = _PROJECT["name"]
version = release = __version__
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "benchmarks/README.md"]
# Else Sphinx looks through all of these.
exclude_patterns = [".*", "build", "convert", "dist", "edge", "models", "packaging", "runs", "tests", "train"]

myst_heading_anchors = 4
highlight_language = "none"
smartquotes = False  # which make -- of options a dash

add_module_names = False
autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"

html_theme = "furo"
html_title = f"{project} {__version__}"
# No links to view or edit a source: there is no public address yet.
html_theme_options = {"top_of_page_buttons": []}
html_show_sphinx = False


def contents() -> dict[str, list[str]]:
    """The pages of each kind, as the index lists them: paths from the root, without .md."""
    found: dict[str, list[str]] = {}
    for kind, text in re.findall(r"^## (.+)\n((?:(?!## ).*\n)+)", (ROOT / f"{INDEX}.md").read_text(), re.MULTILINE):
        links = re.findall(r"^- \[.+?\]\((.+?)\.md\)", text, re.MULTILINE)
        found[kind] = [str((ROOT / "docs" / link).resolve().relative_to(ROOT)) for link in links]
    return found


def _as_site(_: object, page: str, source: list[str]) -> None:
    """Give the site its navigation, and take links to folders from it: a site has none."""
    folder = (ROOT / page).parent
    source[0] = re.sub(
        r"\[([^]\[]+)\]\(([\w./-]+)\)", lambda link: link[1 if (folder / link[2]).is_dir() else 0], source[0]
    )
    if page == root_doc:
        for kind, pages in contents().items():
            names = "\n".join(f"/{name}" for name in pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {kind}\n\n{names}\n```\n"
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n/{INDEX}\n```\n"


def _as_restructured_text(
    _app: object, _what: str, _name: str, _object: object, _options: Any, lines: list[str]
) -> None:
    """Our docstrings describe arguments and attributes in lines of `name: meaning`, for which Sphinx has fields."""
    found: list[str] = []
    for line in lines:
        line = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
        field = re.match(r"([a-z_]+(?:, [a-z_]+)*)(?: \(attribute\))?: (.*)", line)
        if field and found and found[-1] and not found[-1].startswith((" ", ":")):
            found.append("")
        kind = "ivar " if "(attribute)" in line else "param "
        found.append(f":{kind}{field[1]}: {field[2]}" if field else line)
    lines[:] = found


def setup(app: Any) -> None:
    app.connect("source-read", _as_site)
    app.connect("autodoc-process-docstring", _as_restructured_text)
