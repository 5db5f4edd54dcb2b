"""Loading an unknown model file where it can do no harm: once, in a process of its own.

The native interpreter trusts the flatbuffer that it is given: a damaged or malicious one can crash it, or make it
ask for all memory. Our own files are known by their checksum and need no sandbox.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from ..errors import ModelFileError, first_line
from .interpreter import load_interpreter

# Ten times what any classifier needs that runs well on a device.
_MAX_MEMORY_BYTES = 4 * 2**30
_TIMEOUT_S = 60


def try_model(path: Path, num_threads: int) -> None:
    """Load the model and run it once, in a child process. Raises ModelFileError if that fails in any way."""
    command = [sys.executable, "-m", __name__, str(path), str(num_threads)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError(
            f"{path}: one inference takes more than {_TIMEOUT_S} s: use a model made for devices"
        ) from None
    if done.returncode == ModelFileError.exit_code:
        raise ModelFileError(done.stdout.strip())
    if done.returncode:
        raise ModelFileError(f"{path}: the interpreter crashes on it: the file is damaged or malicious")


def _main() -> int:
    path, num_threads = Path(sys.argv[1]), int(sys.argv[2])
    _limit_memory()
    try:
        load_interpreter(path, num_threads).invoke()
    except ModelFileError as error:
        print(error)
    except (ValueError, RuntimeError) as error:
        print(f"{path}: the model does not run ({first_line(error)})")
    else:
        return 0
    return ModelFileError.exit_code


def _limit_memory() -> None:
    # The system may forbid it, as the systemd unit does.
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    raise SystemExit(_main())
