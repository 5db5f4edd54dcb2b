"""Teaching a running model what was labelled: a file beside its own, which may take its place, and give it back.

things.tflite           in use, and what the next start uses
things.taught.tflite    taught, and not in use (yet, or any more)
things.before.tflite    what was in use before
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..collect.folders import LABELLED
from ..errors import EdgeClassifyError, UsageError
from ..model.interpreter import BUILTIN_MODEL
from ..model.labels import UNKNOWN
from ..model.model_file import read_model_file
from ..system.child_python import isolated_python

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..pipeline.loop import Model
    from ..pipeline.models import Models

log = logging.getLogger(__name__)

# Whatever frames leave of the processor.
_NICENESS = 19
_ENDING_S = 2.0


class _Files(NamedTuple):
    now: Path
    taught: Path
    before: Path


class _Job(NamedTuple):
    model: str
    began_at: float
    child: subprocess.Popen[str]


class Teaching:
    """One model is taught at a time, in a process of its own. Its methods may be called from any thread."""

    def __init__(self, root: Path, models: Models, say: Callable[[str], object]) -> None:
        """root: the folder of `--collect`. say: takes a line for whoever has started the program."""
        self._say = say
        self._photos = root / LABELLED
        self._models = models
        self._files = {model.name: _files(model) for model in models}
        self._lock = threading.Lock()
        self._job: _Job | None = None
        self._failed: str | None = None
        self._notes: list[str] = []

    def state(self) -> dict[str, Any]:
        """What is being done, and of each model the files with their figures; ready for JSON."""
        job = self._job
        return {
            "job": None if job is None else {"model": job.model, "seconds": round(time.monotonic() - job.began_at, 1)},
            "failed": self._failed,
            "notes": self._notes,
            "models": [self._describe(model) for model in self._models],
        }

    def begin(self, name: str, *, add: bool) -> None:
        """Have a file taught: the labelled classes added to those it knows, or these alone.

        Raises UsageError if that cannot be, or while another is.
        """
        files = self._teachable(name)
        photos = self._added() if add else [str(self._photos)]
        words = [str(files.now), *photos, "-o", str(files.taught), "--replace", "--json"]
        with self._lock:
            if self._job is not None:
                raise UsageError(f"{self._job.model} is being taught: wait for that")
            self._failed, self._notes = None, []
            child = subprocess.Popen(
                [*isolated_python("edge_classify.learn.teaching"), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self._job = _Job(name, time.monotonic(), child)
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, _NICENESS)
        threading.Thread(target=self._wait_for, args=(child,), name="teaching", daemon=True).start()

    def use(self, name: str) -> None:
        """Have the taught file take the place of the one in use, for this run and later ones.

        Raises UsageError if there is none, or OSError or what reading it raises, with the file in use as it was.
        """
        files = self._teachable(name)
        self._exchange(name, files, coming=files.taught, kept=files.before)

    def back(self, name: str) -> None:
        """Have the file before take the place of the one in use. Raises as `use`."""
        files = self._teachable(name)
        self._exchange(name, files, coming=files.before, kept=files.taught)

    def stop(self) -> None:
        """End what is being taught."""
        job = self._job
        if job is not None:
            job.child.terminate()
            with suppress(subprocess.TimeoutExpired):
                job.child.wait(_ENDING_S)
            job.child.kill()

    def _added(self) -> list[str]:
        folders = sorted(self._photos.iterdir()) if self._photos.is_dir() else []
        classes = [path for path in folders if path.is_dir() and not path.name.startswith(".") and any(path.iterdir())]
        if not classes:
            raise UsageError("nothing is labelled yet")
        return [word for path in classes for word in ("--add", f"{path.name}={path}")]

    def _wait_for(self, child: subprocess.Popen[str]) -> None:
        out, err = child.communicate()
        if child.returncode == 0:
            self._notes = json.loads(out)["notes"]
        else:
            lines = [line for line in err.splitlines() if line.strip()]
            last = lines[-1] if lines else f"ended with code {child.returncode}"
            self._failed = last.removeprefix("error: ")
        self._job = None

    def _exchange(self, name: str, files: _Files, *, coming: Path, kept: Path) -> None:
        load = self._models.load
        if load is None or not coming.exists():
            raise UsageError(f"there is no {coming.name}")
        with self._lock:
            if self._job is not None and self._job.model == name:
                raise UsageError(f"{name} is being taught: wait for that")
            read = _written(coming)
            model = load(name, coming)  # before anything is moved: it may not work
            # In this order each file is whole, and none lost, whenever the power fails.
            waiting = kept.with_name(f".{kept.name}")
            _copy(files.now, waiting)
            waiting.replace(kept)
            coming.replace(files.now)
            if _written(files.now) == read:
                model.classifier.model_file = replace(model.classifier.model_file, path=files.now)
            else:  # somebody has written another meanwhile
                model = load(name, files.now)
            self._models.exchange(model)
        labels = ", ".join(model.classifier.labels)
        self._say(f"{files.now}: exchanged on the page, now for {labels}; the one before is kept as {kept.name}\n")

    def _describe(self, model: Model) -> dict[str, Any]:
        files = self._files[model.name]
        return {
            "name": model.name,
            "why_not": _why_not(model, files, self._models),
            "remembers": "memory" in (model.classifier.model_file.contract or {}),
            "files": {what: _figures(path) for what, path in files._asdict().items()},
        }

    def _teachable(self, name: str) -> _Files:
        model = next((model for model in self._models if model.name == name), None)
        if model is None:
            raise UsageError(f"there is no model {name[:80]!r}")
        files = self._files[name]
        if why := _why_not(model, files, self._models):
            raise UsageError(why)
        return files


def _files(model: Model) -> _Files:
    path = model.classifier.model_file.path.resolve()  # a link stays one
    return _Files(path, path.with_name(f"{path.stem}.taught.tflite"), path.with_name(f"{path.stem}.before.tflite"))


def _written(path: Path) -> tuple[int, ...]:
    """What changes when a file is written, and not when it is moved. Raises OSError."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _why_not(model: Model, files: _Files, models: Models) -> str | None:
    """Why this model cannot be taught here, and what to do."""
    if files.now == BUILTIN_MODEL.resolve():
        return "the built-in model is not yours to change: start with --model and a copy of a model file"
    contract = model.classifier.model_file.contract
    if contract is None or not contract.get("decision", {}).get("unknown"):
        return "only a file of edge-convert or edge-teach that knows what it does not know can be taught"
    if models.load is None or not os.access(files.now.parent, os.W_OK):
        return f"this program may not write to {files.now.parent}, where the model file is"
    return None


def _figures(path: Path) -> dict[str, Any] | None:
    """What a file says of itself; None if it is not there, or cannot be read."""
    try:
        written = _written(path)
    except OSError:
        return None
    return _read_figures(path, written)


@lru_cache(16)
def _read_figures(path: Path, _: tuple[int, ...]) -> dict[str, Any] | None:
    """The page asks once a second; reading a file takes all of its megabytes."""
    try:
        file = read_model_file(path)
    except (EdgeClassifyError, OSError):
        return None
    if file.contract is None:
        return None
    measured = file.contract["evaluation"]
    return {
        "labels": [label for label in file.labels or () if label != UNKNOWN],
        # A class that was added is measured alone.
        "right": measured.get("accuracy_with_unknown", measured.get("accuracy")),
        "added": {label: each["recall"] for label, each in measured["per_class"].items()},
        "photos": measured["photos"],
        "cross_validated": measured.get("held_out") == "cross-validation",
    }


def _copy(path: Path, to: Path) -> None:
    """As fast as can be: not every disk has hard links."""
    to.unlink(missing_ok=True)
    try:
        to.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, to)
