"""Loading an unknown file where it can do no harm: once, in a process of its own.

The native interpreter trusts the FlatBuffer that it is given: a damaged or malicious one can crash it, or make it
ask for all memory. Our own files are known by their checksum and need no trial.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from ..errors import ModelFileError
from .interpreter import load_interpreter

# A classifier of the sizes that run on a device needs a tenth of either.
_MEMORY, _SECONDS = 4 * 2**30, 60


def try_model(path: Path, num_threads: int) -> None:
    """Load the model and run it once, in a child process. Raises ModelFileError if that fails, whatever the way."""
    words = [sys.executable, "-m", __name__, str(path), str(num_threads)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ModelFileError(f"{path}: one inference takes more than {_SECONDS} s: not a model for a device") from None
    if done.returncode == ModelFileError.exit_code:
        raise ModelFileError(done.stdout.strip())
    if done.returncode:
        raise ModelFileError(f"{path}: the interpreter crashes on it: it is damaged, or made to do harm")


def _main() -> int:
    path, num_threads = Path(sys.argv[1]), int(sys.argv[2])
    _limit_memory()
    try:
        load_interpreter(path, num_threads).invoke()
    except ModelFileError as error:
        print(error)
    except (ValueError, RuntimeError) as error:
        print(f"{path}: the model does not run ({(str(error).strip().splitlines() or ['no reason given'])[0]})")
    else:
        return 0
    return ModelFileError.exit_code


def _limit_memory() -> None:
    # Not where the system forbids it, as the systemd unit does.
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    raise SystemExit(_main())
