"""Which interpreter is used: LiteRT's, else tflite-runtime's, and TensorFlow's last."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


def told(*missing: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *missing], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_litert_is_first() -> None:
    module, labels = told()
    assert module.startswith("ai_edge_litert")
    assert len(set(labels.split())) == 1


@pytest.mark.slow
def test_tensorflow_s_serves_where_nothing_else_is_installed() -> None:
    module, labels = told("ai_edge_litert", "tflite_runtime")
    assert module.startswith("tensorflow")
    assert len(set(labels.split())) == 1


def test_none_at_all_is_said() -> None:
    (line,) = told("ai_edge_litert", "tflite_runtime", "tensorflow")
    assert line == "no TFLite interpreter is installed: pip install ai-edge-litert"
