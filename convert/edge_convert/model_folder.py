"""The folder that model files are written to: always of one run and one conversion, as its manifest says."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge_classify.errors import DataError, ModelFileError
from edge_classify.model.manifest import MANIFEST, Manifest, ManifestEntry, read_manifest, unlisted_models
from edge_classify.recognize import recognize
from edge_train.folder_lock import hold_folder
from edge_train.run_folder import Run

from .manifest import cell_key, difference, is_unchanged, write_manifest
from .settings import Settings

log = logging.getLogger(__name__)

# Files are made in a folder of this name, so that finished ones can be moved into place at once.
_UNFINISHED = ".edge-convert-"
_REMEDY = "give another folder with -o, or use --replace"


def check_output(output: Path) -> None:
    """Raise DataError if model files do not belong there."""
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: this is a file, not a folder: give another name with -o")
    kind = recognize(output)
    if kind in ("run folder", "photos"):
        what = "a run folder" if kind == "run folder" else "a folder of photos"
        raise DataError(f"{output}: {what}, which model files do not belong in: give another folder with -o")


@contextmanager
def open_output(output: Path) -> Iterator[Path]:
    """Make the folder, and keep others out; yields a folder in it for unfinished files, which is removed.

    Raises DataError if it cannot be written to, or another program is at work in it.
    """
    with ExitStack() as opened:
        try:
            opened.enter_context(hold_folder(output))
        except OSError as error:
            raise _not_writable(output, error) from error
        for leftover in output.glob(f"{_UNFINISHED}*"):  # of a conversion that was killed: this folder is ours
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            unfinished = tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=output, ignore_cleanup_errors=True)
        except OSError as error:
            raise _not_writable(output, error) from error
        yield Path(opened.enter_context(unfinished))


def keep_current(output: Path, run: Run, settings: Settings, wanted: Iterable[str]) -> dict[str, ManifestEntry]:
    """The manifest's entries, by file, that stand beside what this conversion makes; the manifest then has no others.

    wanted: the names of all files that are asked for. Those among them that are damaged or gone are not kept.
    Raises DataError, and changes nothing, if the folder has model files of another run or conversion, unless `settings`
    say to replace them: then these are removed.
    """
    manifest = _read(output, settings)
    keys = {(cell.alpha, cell.resolution): cell_key(run, cell, settings) for cell in run.cells}
    current = manifest if manifest and not difference(manifest, run, settings) else None
    kept = {entry["file"]: entry for entry in current["files"] if _is_current(entry, keys)} if current else {}
    foreign = [entry["file"] for entry in manifest["files"] if entry["file"] not in kept] if manifest else []
    if not settings.replace:
        _refuse_mixture(output, manifest, foreign, run, settings)
        unlisted = {path.name for path in output.glob("*.tflite")} - kept.keys()
        if overwritten := sorted(unlisted & set(wanted)):
            raise DataError(f"{output / overwritten[0]}: not listed in {MANIFEST}, and would be overwritten: {_REMEDY}")
    for name in foreign:
        (output / name).unlink(missing_ok=True)
    kept = {name: entry for name, entry in kept.items() if is_unchanged(output, entry)}
    if manifest and len(kept) < len(manifest["files"]):
        write_manifest(output, run, settings, list(kept.values()))
    return kept


def warn_of_unlisted(output: Path) -> None:
    """Say which model files in the folder are no part of it."""
    for path in unlisted_models(output, read_manifest(output)):
        log.warning("%s: not listed in %s, so not one of these model files: move it away", path, MANIFEST)


def _read(output: Path, settings: Settings) -> Manifest | None:
    if not (output / MANIFEST).exists():
        return None
    try:
        return read_manifest(output)
    except ModelFileError as error:
        if settings.replace:
            return None
        raise DataError(f"{output / MANIFEST}: cannot be read, so files could be mixed ({error}): {_REMEDY}") from error


def _is_current(entry: ManifestEntry, keys: Mapping[tuple[float, int], str]) -> bool:
    """Whether the entry is what this run would give, or of a cell that this run has not."""
    return keys.get((entry["alpha"], entry["resolution"])) in (None, entry.get("key"))


def _refuse_mixture(
    output: Path, manifest: Manifest | None, foreign: Sequence[str], run: Run, settings: Settings
) -> None:
    if not manifest or not foreign:
        return
    reason = difference(manifest, run, settings) or f"another training of the same cell ({foreign[0]})"
    raise DataError(f"{output}: has model files of {reason}, which would be mixed with these: {_REMEDY}")


def _not_writable(output: Path, error: OSError) -> DataError:
    return DataError(f"{output}: cannot be written to ({error.strerror}): give another folder with -o")
