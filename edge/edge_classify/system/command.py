"""What every command of this project does around its work: warnings, one-line errors, exit codes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ..errors import DataError, EdgeClassifyError, explain_os_error
from .standard_streams import drop_output


def run(command: Callable[[], int], *, quiet: bool = False, traceback: bool = False) -> int:
    """Run a command's work and return its exit code. An error that a user can cause is one line, without a traceback.

    quiet: drop what native code writes to standard error; TensorFlow prints a screenful when it is loaded.
    traceback: print the traceback too; so does EDGE_CLASSIFY_TRACEBACK=1 in the environment.
    """
    traceback = traceback or os.environ.get("EDGE_CLASSIFY_TRACEBACK", "0") not in ("", "0")
    with native_output_dropped() if quiet else nullcontext():
        logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, force=True)
        logging.addLevelName(logging.WARNING, "warning")
        try:
            code = command()
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # Whoever read our output has gone (`| head`). Without this Python would complain about it at exit.
            drop_output()
            return 0
        except Exception as error:
            code, message, is_bug = _explain(error)
            if traceback or is_bug:
                _print_traceback()
            print(f"error: {message}", file=sys.stderr)
            try:
                sys.stdout.flush()
            except OSError:
                drop_output()
            return code


def _explain(error: Exception) -> tuple[int, str, bool]:
    """The exit code, the line for the user, and whether it is a bug of ours."""
    if isinstance(error, EdgeClassifyError):
        return error.exit_code, str(error), False
    if isinstance(error, OSError):  # a full disk, a folder that may not be written to
        return DataError.exit_code, explain_os_error(error), False
    message = f"{type(error).__name__}: this is a bug in edge-classify: please report it with the lines above"
    return EdgeClassifyError.exit_code, message, True


def _print_traceback() -> None:
    import traceback  # 5 ms of a start

    traceback.print_exc()


@contextmanager
def native_output_dropped() -> Iterator[None]:
    """Drop what native code writes to standard error; what Python writes there still gets through."""
    python_stderr = sys.stderr
    if python_stderr is None:  # it was closed when the program started
        yield
        return
    python_stderr.flush()
    handlers = [
        handler
        for handler in logging.root.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is python_stderr
    ]
    saved = os.dup(2)
    with (
        os.fdopen(os.dup(saved), "w", buffering=1, errors="backslashreplace") as stream,
        Path(os.devnull).open("wb") as nowhere,
    ):
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = stream
        for handler in handlers:
            handler.setStream(stream)
        try:
            yield
        finally:
            sys.stderr = python_stderr
            for handler in handlers:
                handler.setStream(python_stderr)
            os.dup2(saved, 2)
            os.close(saved)
