"""Files for Coral's Edge TPU: integer throughout, of operators that it has; compiled where its compiler is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edge_classify.errors import DataError

from .operators import open_without_delegates

COMPILER = "edgetpu_compiler"

# https://coral.ai/docs/edgetpu/models-intro/#supported-operations, of those that a classifier may have.
_OPERATORS = frozenset(
    {
        *("ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "EXPAND_DIMS", "FULLY_CONNECTED"),
        *("L2_NORMALIZATION", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "PACK", "PAD", "PRELU"),
        *("QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RSQRT", "SLICE"),
        *("SOFTMAX", "SPACE_TO_DEPTH", "SPLIT", "SQUARED_DIFFERENCE", "SQUEEZE", "STRIDED_SLICE", "SUB", "SUM"),
        *("TANH", "TRANSPOSE"),
    }
)


def check_integer(model: bytes) -> None:
    """Raises DataError where the model computes in anything but integers, or by operators that the Edge TPU lacks."""
    interpreter = open_without_delegates(model)
    dtypes = {tensor["index"]: tensor["dtype"].__name__ for tensor in interpreter.get_tensor_details()}
    foreign = set()
    for operation in interpreter._get_ops_details():
        if operation["op_name"] not in _OPERATORS:
            foreign.add(operation["op_name"])
        foreign |= {
            f"{operation['op_name']} in {dtypes[output]}"
            for output in operation["outputs"]
            if dtypes[output] not in ("int8", "uint8", "int32")
        }
    if foreign:
        raise DataError(f"the Edge TPU has no {', '.join(sorted(foreign))}")


def compile_model(path: Path) -> Path | None:
    """Run Coral's compiler beside the file, if it is installed; returns what it wrote. Raises DataError."""
    compiler = shutil.which(COMPILER)
    if compiler is None:
        return None
    words = [compiler, "--show_operations", "--out_dir", str(path.parent), str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    compiled = path.with_name(f"{path.stem}_edgetpu.tflite")
    if done.returncode or not compiled.exists():
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise DataError(f"{path}: {COMPILER} refuses it: {reason}")
    return compiled
