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
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import EdgeClassifyError, ModelFileError, first_line
from ..system.packages import install_command

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


# Operators that a graph rescales its input with, at most; a damaged graph may be a circle.
_MAX_RESCALING = 8


class Interpreter(Protocol):
    """The methods of a TFLite interpreter that this project uses."""

    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[dict[str, Any]]: ...
    def get_output_details(self) -> list[dict[str, Any]]: ...
    def get_tensor_details(self) -> list[dict[str, Any]]: ...
    def get_tensor(self, tensor_index: int) -> Any: ...
    def resize_tensor_input(self, input_index: int, tensor_size: list[int]) -> None: ...
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
    raise EdgeClassifyError(f"no TFLite interpreter is installed: {install_command('ai-edge-litert')}")


def load_interpreter(
    path: Path, num_threads: int = 1, dynamic_size: tuple[int, int] | None = None, graph: bytes | None = None
) -> Interpreter:
    """An interpreter for the model file, its tensors allocated.

    graph: the file's content, if it is to be another.
    dynamic_size: (height, width) for an input that was made for pictures of any size; other inputs stay as they are.
    Raises ModelFileError if the file is not a TFLite model, or needs what the runtime lacks.
    """
    interpreter_type = interpreter_class()
    source = _source(path) if graph is None else {"model_content": graph}
    try:
        with _greeting_left_out():
            interpreter: Interpreter = interpreter_type(**source, num_threads=num_threads)
            if dynamic_size is not None and has_dynamic_size(interpreter):
                interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], [1, *dynamic_size, 3])
            interpreter.allocate_tensors()
            if dynamic_size is not None:  # a third-party file: names of tensors may be no text
                interpreter.get_output_details()
                interpreter.get_input_details()
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


def has_dynamic_size(interpreter: Interpreter) -> bool:
    """Whether the model was made for colour pictures of any height and width; its file then says 1 × 1."""
    inputs = interpreter.get_input_details()
    signature = [int(side) for side in inputs[0].get("shape_signature", ())] if inputs else []
    return len(signature) == 4 and -1 in signature[1:3] and signature[3] in (3, -1)


def _source(path: Path) -> dict[str, Any]:
    """The interpreter's argument for the file. It opens names as UTF-8 only; the content works under any name."""
    try:
        if str(path).encode() == os.fsencode(path):
            return {"model_path": str(path)}
    except UnicodeEncodeError:
        pass
    try:
        return {"model_content": path.read_bytes()}
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}") from error


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


class GraphStart(NamedTuple):
    """What a graph does with its input first: input * factor + offset, then quantized with (scale, zero point).

    factor, offset: float64, of one value or one per channel. quantization: None if it is not quantized there.
    """

    factor: np.ndarray
    offset: np.ndarray
    quantization: tuple[float, int] | None


def graph_start(interpreter: Interpreter) -> GraphStart | None:
    """How the graph rescales its (first) input before anything else; None if that cannot be found out."""
    if (operators := _operators(interpreter)) is None:
        return None
    operators = [node for node in operators if node["op_name"] != "DELEGATE"]
    written = {int(tensor) for node in operators for tensor in node["outputs"]}
    tensor = int(interpreter.get_input_details()[0]["index"])
    factor, offset = np.ones(1), np.zeros(1)
    for _ in range(_MAX_RESCALING):
        readers = [node for node in operators if tensor in map(int, node["inputs"]) and len(node["outputs"])]
        if len(readers) != 1:
            break
        node = readers[0]
        name, inputs, output = node["op_name"], [int(index) for index in node["inputs"]], int(node["outputs"][0])
        if name == "QUANTIZE":
            try:
                details = {int(details["index"]): details for details in interpreter.get_tensor_details()}
            except (ValueError, RuntimeError):
                return None
            scale, zero_point = details[output]["quantization"] if output in details else (0.0, 0)
            return GraphStart(factor, offset, (float(scale), int(zero_point)) if scale else None)
        if name not in ("MUL", "DIV", "ADD", "SUB") or len(inputs) != 2 or inputs[0] == inputs[1]:
            break
        value = _constant(interpreter, operators, written, inputs[inputs[0] == tensor])
        if value is None or (name in ("DIV", "SUB") and inputs[1] == tensor) or (name == "DIV" and not value.all()):
            break
        match name:
            case "MUL":
                factor, offset = factor * value, offset * value
            case "DIV":
                factor, offset = factor / value, offset / value
            case "ADD":
                offset = offset + value
            case "SUB":
                offset = offset - value
        tensor = output
    return GraphStart(factor, offset, None)


def _constant(
    interpreter: Interpreter, operators: list[dict[str, Any]], written: set[int], tensor: int
) -> np.ndarray | None:
    """A constant of one value or one per channel, float64; None if the tensor is none."""
    if tensor in written:  # a float16 constant is unpacked by the graph
        packed = [node for node in operators if tensor in map(int, node["outputs"])]
        tensor = int(packed[0]["inputs"][0])
        if packed[0]["op_name"] != "DEQUANTIZE" or tensor in written:
            return None
    try:
        value = np.asarray(interpreter.get_tensor(tensor))
    except (ValueError, RuntimeError, IndexError):  # an input that was left out, or has no value yet
        return None
    is_small = value.dtype.kind == "f" and value.size in (1, 3) and value.shape[-1:] in ((), (value.size,))
    return value.reshape(-1).astype(np.float64) if is_small else None


def _operators(interpreter: Interpreter) -> list[dict[str, Any]] | None:
    list_operators = getattr(interpreter, "_get_ops_details", None)  # private: LiteRT has no public way
    try:
        return None if list_operators is None else list_operators()
    except (ValueError, RuntimeError):  # a name that is no text, or an operator that it does not know
        return None
