"""What every command of this project does around its work: warnings, errors in one line, exit codes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from .errors import DataError, EdgeClassifyError


def run(command: Callable[[], int], *, quiet: bool = False, traceback: bool = False) -> int:
    """Run a command's work and return its exit code: an error that a user can cause is one line, no traceback.

    quiet: drop what native code writes to standard error; TensorFlow greets with a screenful.
    traceback: print the traceback too; so does EDGE_CLASSIFY_TRACEBACK=1 in the environment.
    """
    traceback = traceback or os.environ.get("EDGE_CLASSIFY_TRACEBACK", "0") not in ("", "0")
    with native_output_dropped() if quiet else nullcontext():
        logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, force=True)
        logging.addLevelName(logging.WARNING, "warning")
        try:
            return command()
        except EdgeClassifyError as error:
            if traceback:
                _print_traceback()
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # Whoever read our output has gone (`| head`); Python would complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as error:  # a full disk, a folder that may not be written to
            if traceback:
                _print_traceback()
            print(f"error: {error.filename or 'writing failed'}: {error.strerror or error}", file=sys.stderr)
            return DataError.exit_code


def _print_traceback() -> None:
    import traceback  # 5 ms of a start

    traceback.print_exc()


@contextmanager
def native_output_dropped() -> Iterator[None]:
    """What native code writes to standard error meanwhile is lost; Python's own still comes through."""
    python_stderr = sys.stderr
    if python_stderr is None:  # started with it closed
        yield
        return
    python_stderr.flush()
    warners = [
        handler
        for handler in logging.root.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is python_stderr
    ]
    saved = os.dup(2)
    with os.fdopen(os.dup(saved), "w", buffering=1) as stream, Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = stream
        for handler in warners:
            handler.setStream(stream)
        try:
            yield
        finally:
            sys.stderr = python_stderr
            for handler in warners:
                handler.setStream(python_stderr)
            os.dup2(saved, 2)
            os.close(saved)
