"""The TFLite interpreter, from whichever package is installed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from .errors import EdgeClassifyError, ModelFileError

# LiteRT first; TensorFlow last: its import alone takes seconds and hundreds of megabytes.
_PACKAGES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite")


class Interpreter(Protocol):
    """What this project uses of any TFLite interpreter."""

    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[dict[str, Any]]: ...
    def get_output_details(self) -> list[dict[str, Any]]: ...
    def tensor(self, tensor_index: int) -> Any: ...
    def invoke(self) -> None: ...


def interpreter_class() -> Any:
    """The `Interpreter` class of the first package of `_PACKAGES` that is installed."""
    for package in _PACKAGES:
        try:
            return import_module(package).Interpreter
        except ModuleNotFoundError as error:
            # Only the package's own absence means "try the next"; a broken one must be heard of.
            if error.name is None or error.name.split(".")[0] != package.split(".")[0]:
                raise
    raise EdgeClassifyError("no TFLite interpreter is installed: pip install ai-edge-litert")


def load_interpreter(path: Path, num_threads: int = 1) -> Interpreter:
    """An interpreter for the model file, its tensors allocated.

    Raises ModelFileError if the file is no TFLite model, or uses what the runtime does not have.
    """
    try:
        interpreter: Interpreter = interpreter_class()(model_path=str(path), num_threads=num_threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise ModelFileError(f"{path}: the interpreter refuses this model ({reason})") from error
    return interpreter
