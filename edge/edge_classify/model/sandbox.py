"""Loading an unknown model file where it can do no harm: once, in a process of its own.

The native interpreter trusts the flatbuffer that it is given: a damaged or malicious one can crash it, or make it
ask for all memory. Our own files are known by their checksum and need no sandbox.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from ..errors import EdgeClassifyError, ModelFileError, first_line
from ..system.child_python import isolated_python
from .interpreter import load_interpreter

# Ten times what any classifier needs that runs well on a device.
_MAX_MEMORY_BYTES = 4 * 2**30
_TIMEOUT_S = 60
# What the native interpreter does on a bad file. std::bad_alloc aborts, too.
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


def try_model(path: Path, num_threads: int, dynamic_size: tuple[int, int] | None = None) -> None:
    """Load the model as `load_interpreter` does and run it once, in a child process.

    Raises ModelFileError if the model is at fault, else EdgeClassifyError.
    """
    arguments = [str(path), str(num_threads), json.dumps(dynamic_size)]
    try:
        done = subprocess.run(
            [*isolated_python(__name__), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError(
            f"{path}: one inference takes more than {_TIMEOUT_S} s: use a model made for devices"
        ) from None
    except OSError as error:
        raise EdgeClassifyError(f"{path}: cannot be tried in a process of its own: {error.strerror}") from error
    if done.returncode == ModelFileError.exit_code:
        raise ModelFileError(json.loads(done.stdout))
    if -done.returncode in _CRASHES:
        raise ModelFileError(
            f"{path}: the interpreter crashes on it ({signal.Signals(-done.returncode).name}): "
            "the file is damaged or malicious, or needs too much memory"
        )
    if done.returncode:
        last_line = done.stderr.strip().rpartition("\n")[2]
        reason = f"killed by signal {-done.returncode}; out of memory?" if done.returncode < 0 else last_line
        raise EdgeClassifyError(f"{path}: the process that tries unknown model files failed ({reason})")


def _main() -> int:
    path, num_threads, dynamic_size = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    _limit_memory()
    try:
        load_interpreter(path, num_threads, dynamic_size).invoke()
    except ModelFileError as error:
        print(json.dumps(str(error)))  # ASCII, whatever the path
    except (ValueError, RuntimeError) as error:
        print(json.dumps(f"{path}: the model does not run ({first_line(error)})"))
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
