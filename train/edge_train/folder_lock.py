"""One program at a time writes into a folder: a lock of the operating system's, which is gone with its process."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_classify.errors import DataError

log = logging.getLogger(__name__)


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other programs of ours out of this folder. Raises DataError if one is at work in it.

    The folder is made if it is missing; after an error before anything was written to it, it is gone again. Nothing
    else is written. A file system that has no locks is warned of.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{folder}: another edge-train or edge-convert is writing into this folder: wait until it has ended, "
                "or give another folder with -o"
            ) from None
        except OSError as error:
            log.warning("%s: cannot be locked (%s): start no second program that writes into it", folder, error)
        yield
    except BaseException:
        with suppress(OSError):  # one that holds something stays, and so do those that it is in
            for path in missing:
                path.rmdir()
        raise
    finally:
        os.close(descriptor)
