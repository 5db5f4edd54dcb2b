"""Starting a module of ours in a Python process of its own."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

_PACKAGE_FOLDER = str(Path(__file__).resolve().parents[2])


def isolated_python(module: str) -> list[str]:
    """The command that runs `module`, to which its arguments are appended.

    It finds packages where this process does, but never in the current folder nor in that of the user's program: a
    numpy.py there is not ours. So it works in a virtual environment, for an editable install, and with PYTHONPATH.
    """
    users = {Path(sys.argv[0]).resolve().parent}
    with suppress(OSError):  # the current folder was deleted
        users.add(Path.cwd())
    folders = [folder for folder in sys.path if folder and Path(folder).resolve() not in users]
    # Last, and always: it may be the current folder.
    folders.append(_PACKAGE_FOLDER)
    # ascii(): names that are not UTF-8 get through, too.
    code = f"import sys; sys.path[:] = {folders!a}; import runpy; runpy.run_module({module!a}, run_name='__main__')"
    return [sys.executable, "-I", "-c", code]
