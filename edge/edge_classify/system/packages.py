"""How to install a Python package where this program runs, for messages that say what is missing."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec


def install_command(*words: str) -> str:
    """A command line that installs packages beside this program. words: names, versions and options of pip.

    Never the bare word pip: outside a virtual environment Debian's refuses, and one that is not this program's would
    install elsewhere. Environments that uv made have no pip.
    """
    if find_spec("pip") is None:
        return shlex.join(["uv", "pip", "install", "--python", sys.executable, *words])
    return shlex.join([sys.executable, "-m", "pip", "install", *words])
