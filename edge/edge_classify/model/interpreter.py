"""The TFLite interpreter, from whichever package is installed."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

from ..errors import EdgeClassifyError, ModelFileError, first_line

BUILTIN_MODEL = Path(__file__).with_name("builtin.tflite")

# LiteRT first; TensorFlow last: its import alone takes seconds and hundreds of megabytes.
_HOMES = (
    ("ai_edge_litert.interpreter", "Interpreter"),
    ("tflite_runtime.interpreter", "Interpreter"),
    ("tensorflow", "lite.Interpreter"),
)

# What LiteRT prints for the first interpreter of a process, as if it were news.
_GREETING = b"INFO: Created TensorFlow Lite XNNPACK delegate"
# Guards standard error, of which a process has one, while it leads elsewhere.
_standard_error = threading.Lock()


class Interpreter(Protocol):
    """The methods of a TFLite interpreter that this project uses."""

    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[dict[str, Any]]: ...
    def get_output_details(self) -> list[dict[str, Any]]: ...
    def tensor(self, tensor_index: int) -> Any: ...
    def invoke(self) -> None: ...


def interpreter_class() -> Any:
    """The `Interpreter` class of the first package that is installed. Raises EdgeClassifyError if none is."""
    for module, path in _HOMES:
        try:
            return attrgetter(path)(import_module(module))
        except ModuleNotFoundError as error:
            # Only the package's own absence means "try the next"; a broken one must be reported.
            if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
                raise
    raise EdgeClassifyError("no TFLite interpreter is installed: pip install ai-edge-litert")


def load_interpreter(path: Path, num_threads: int = 1) -> Interpreter:
    """An interpreter for the model file, its tensors allocated.

    Raises ModelFileError if the file is not a TFLite model, or needs what the runtime lacks.
    """
    interpreter_type = interpreter_class()
    try:
        with _greeting_left_out():
            interpreter: Interpreter = interpreter_type(model_path=str(path), num_threads=num_threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelFileError(
            f"{path}: the interpreter cannot load it ({first_line(error)}): it is damaged, or needs a newer runtime"
        ) from error
    return interpreter


@contextmanager
def _greeting_left_out() -> Iterator[None]:
    """Leave LiteRT's greeting out of standard error. Whatever else is written there meanwhile follows at the end."""
    if sys.platform != "linux":  # the only one with files in memory
        yield
        return
    with _standard_error, ExitStack() as stack:
        try:
            saved = stack.enter_context(os.fdopen(os.dup(2), "wb"))
        except OSError:  # it is closed
            yield
            return
        buffer = stack.enter_context(os.fdopen(os.memfd_create("standard error"), "r+b"))
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved.fileno(), 2)
            buffer.seek(0)
            with suppress(OSError):
                saved.writelines(line for line in buffer if not line.startswith(_GREETING))
                saved.flush()


def interpreter_package() -> tuple[str, str | None]:
    """The name of the package that `interpreter_class` is from, and its version, None if unknown."""
    from importlib.metadata import PackageNotFoundError, version  # no start of edge-classify needs it

    package = interpreter_class().__module__.split(".")[0].replace("_", "-")
    try:
        return package, version(package)
    except PackageNotFoundError:  # Debian's, or one under another name
        return package, None


def convolutions_in_xnnpack(interpreter: Interpreter) -> tuple[int, int] | None:
    """(convolutions that XNNPACK's fast kernels compute, all convolutions of the model).

    None if the interpreter does not list its operators.
    """
    if (operators := _operators(interpreter)) is None:
        return None
    # What a delegate took over stays in the list; a DELEGATE node has its weights among the inputs.
    delegated = {int(tensor) for node in operators if node["op_name"] == "DELEGATE" for tensor in node["inputs"]}
    weights = [int(node["inputs"][1]) for node in operators if node["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    return sum(tensor in delegated for tensor in weights), len(weights)


def running_operators(interpreter: Interpreter) -> list[str] | None:
    """The operators that an inference runs, in no particular order; DELEGATE is a subgraph that XNNPACK computes.

    None if the interpreter does not list its operators.
    """
    if (operators := _operators(interpreter)) is None:
        return None
    # What a delegate took over stays in the list, before it: the last writer of a tensor is the one that runs.
    writers = {int(tensor): node for node in operators for tensor in node["outputs"]}
    changing = writers.keys() | {int(details["index"]) for details in interpreter.get_input_details()}
    needed = [int(details["index"]) for details in interpreter.get_output_details()]
    running: dict[int, str] = {}
    while needed:
        node = writers.get(needed.pop())
        # float16 weights are unpacked once, by a subgraph that reads nothing else.
        if node is not None and node["index"] not in running and changing.intersection(map(int, node["inputs"])):
            running[node["index"]] = node["op_name"]
            needed += [int(tensor) for tensor in node["inputs"]]
    return list(running.values())


def _operators(interpreter: Interpreter) -> list[dict[str, Any]] | None:
    list_operators = getattr(interpreter, "_get_ops_details", None)  # private: LiteRT has no public way
    return None if list_operators is None else list_operators()
