"""Which interpreter is used: LiteRT's, else tflite-runtime's, and TensorFlow's last."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edge_classify.model.interpreter import (
    BUILTIN_MODEL,
    convolutions_in_xnnpack,
    load_interpreter,
    running_operators,
)
from edge_classify.system.packages import install_command

CODE = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None   # as if not installed
import edge_classify
from edge_classify.sources import demo
from edge_classify.model.interpreter import interpreter_class
try:
    print(interpreter_class().__module__)
    scene = demo.draw(40)
    print(edge_classify.Classifier().classify(scene.image).label, scene.truth)
except edge_classify.EdgeClassifyError as error:
    print(error)
"""


def run_without(*missing: str) -> list[str]:
    """The lines that CODE prints in a process in which these packages cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *missing], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_litert_is_first() -> None:
    module, labels = run_without()
    assert module.startswith("ai_edge_litert")
    assert len(set(labels.split())) == 1


@pytest.mark.slow
def test_tensorflow_s_is_used_if_nothing_else_is_installed() -> None:
    module, labels = run_without("ai_edge_litert", "tflite_runtime")
    assert module.startswith("tensorflow")
    assert len(set(labels.split())) == 1


def test_no_interpreter_at_all_is_one_line() -> None:
    (line,) = run_without("ai_edge_litert", "tflite_runtime", "tensorflow")
    assert line == f"no TFLite interpreter is installed: {install_command('ai-edge-litert')}"


def test_litert_still_lists_its_operators_as_we_read_them() -> None:
    """A canary: the list is a private method of LiteRT, which may go or change with any release."""
    look_at = (
        "LiteRT has changed Interpreter._get_ops_details: look at model/interpreter.py (convolutions_in_xnnpack, "
        "running_operators), which edge-doctor and edge-benchmark rely on"
    )
    interpreter = load_interpreter(BUILTIN_MODEL)
    operators = getattr(interpreter, "_get_ops_details", lambda: pytest.fail(look_at))()
    assert operators, look_at
    assert all({"index", "op_name", "inputs", "outputs"} <= operator.keys() for operator in operators), look_at
    names = {operator["op_name"] for operator in operators}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "DELEGATE"} <= names, look_at
    delegated, convolutions = convolutions_in_xnnpack(interpreter) or (0, 0)
    assert delegated == convolutions > 50, look_at
    assert "DELEGATE" in (running_operators(interpreter) or []), look_at


def test_an_interpreter_without_a_list_of_operators_is_used_all_the_same() -> None:
    class Silent:
        pass

    assert convolutions_in_xnnpack(Silent()) is None  # type: ignore[arg-type]
    assert running_operators(Silent()) is None  # type: ignore[arg-type]


def test_the_greeting_of_litert_is_left_out_and_nothing_else() -> None:
    code = """
import os, sys, edge_classify
from edge_classify.model import interpreter
edge_classify.Classifier()
find = interpreter.interpreter_class
def noisy():
    os.write(2, b"before\\n")
    def make(**options):
        os.write(2, b"ERROR: of native code\\n")
        return find()(**options)
    return make
interpreter.interpreter_class = noisy
interpreter.load_interpreter(interpreter.BUILTIN_MODEL)
print("after", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "before\nERROR: of native code\nafter\n"
