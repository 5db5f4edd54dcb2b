"""A head appended to a backbone's TFLite model, against the formulas that were fitted."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from edge_classify.learn.head import Head
from edge_classify.learn.open_set import SHAPE_CONSTANTS, fit_direction, fit_feature_space, fit_open_set
from edge_classify.learn.votes import give_probabilities
from edge_convert.conversion import append_head

FEATURES, MIDDLE = 64, 8


def make_backbone() -> bytes:
    """A model whose outputs, features and middle layer, are its inputs, which it takes for maps of one position."""
    code, axes, graph, model = schema.OperatorCodeT(), schema.BufferT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MEAN
    axes.data = np.frombuffer(np.array([1, 2], np.int32).tobytes(), np.uint8)
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []

    def add_tensor(name: str, shape: list[int], kind: int = schema.TensorType.FLOAT32, buffer: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), shape, kind, buffer
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    sides = add_tensor("axes", [2], schema.TensorType.INT32, 1)
    for name, length in (("features", FEATURES), ("middle", MIDDLE)):
        mean = schema.OperatorT()
        mean.inputs = [add_tensor(name, [1, 1, 1, length]), sides]
        mean.outputs = [add_tensor(f"mean of {name}", [1, length])]
        mean.builtinOptionsType, mean.builtinOptions = schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT()
        graph.operators.append(mean)
        graph.inputs.append(mean.inputs[0])
        graph.outputs.append(mean.outputs[0])
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers, model.metadata = [schema.BufferT(), axes], []
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def run(model: bytes, rows: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (output,) = interpreter.get_output_details()
    answers = []
    for row in rows:
        for details in interpreter.get_input_details():
            part = row[:FEATURES] if details["name"] == "features" else row[FEATURES:]
            interpreter.set_tensor(details["index"], part[None, None, None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(output["index"])[0])
    return np.stack(answers)


@pytest.fixture(scope="module")
def fitted() -> dict[str, tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
    """By kind of `unknown` output: head, rows of features, and the probabilities of the fit."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    centres = rng.uniform(0, 2, (4, FEATURES + MIDDLE))
    own = np.abs(centres[labels] + rng.normal(0, 0.25, (120, FEATURES + MIDDLE))).astype(np.float32)
    others = np.abs(centres[[3] * 40] + rng.normal(0, 0.5, (40, FEATURES + MIDDLE))).astype(np.float32)
    kernel, bias = rng.normal(0, 0.3, (FEATURES, 3)).astype(np.float32), np.array([0.1, -0.2, 0.3], np.float32)
    rows = np.concatenate([own, others, (own[:40] + others) / 2])
    plain, of_one_scene = (fit_feature_space(own, labels, FEATURES, seed=0, one_scene=one) for one in (False, True))
    found = {}
    spaces = {"density": plain, "nearest": of_one_scene, "direction": fit_direction(plain, own, others)}
    for name, space in spaces.items():
        open_set = fit_open_set(space, space.scores(own), np.full(120, 0.9), keep=0.95)
        fitted_numbers = {"vote_weight": 4.5, "sharpness": open_set.sharpness, "threshold": open_set.threshold}
        head = {"kernel": kernel, "bias": bias, **space.arrays()}
        head |= {name: np.asarray(value, np.float32) for name, value in {**SHAPE_CONSTANTS, **fitted_numbers}.items()}
        found[name] = head, rows, give_probabilities(Head(kernel, bias), 4.5, open_set, rows)
    return found


@pytest.mark.parametrize("kind", ["density", "nearest", "direction"])
def test_the_graph_computes_what_was_fitted(fitted, kind: str) -> None:
    head, rows, expected = fitted[kind]
    assert expected[:, 3].min() < 0.1 < 0.9 < expected[:, 3].max()
    # The fit is steep here, which multiplies the rounding of float32.
    assert np.abs(run(append_head(make_backbone(), head, "float32"), rows) - expected).max() < 1e-3


def test_in_int8_probabilities_are_uint8_and_about_the_same(fitted) -> None:
    head, rows, expected = fitted["density"]
    answers = run(append_head(make_backbone(), head, "int8"), rows)
    assert answers.dtype == np.uint8
    assert np.abs(answers / 255 - expected).mean() < 0.01


def test_an_offset_is_added_to_what_basis_and_direction_give(fitted) -> None:
    head, rows, expected = fitted["direction"]
    none = {**head, "offset": np.zeros(len(head["basis"]) + 1, np.float32)}
    np.testing.assert_allclose(run(append_head(make_backbone(), none, "float32"), rows), expected, atol=1e-3)
    # As `_known` has it, being nearer along the direction is being more familiar.
    along = none["offset"].copy()
    along[-1] = 0.5
    farther = run(append_head(make_backbone(), {**head, "offset": along}, "float32"), rows)
    assert (farther[:, 3] <= expected[:, 3] + 1e-3).all()
    assert farther[:, 3].mean() < expected[:, 3].mean() - 0.01


def test_without_unknown_the_head_is_a_softmax(fitted) -> None:
    head, rows, _ = fitted["density"]
    logits = np.exp(rows[:, :FEATURES] @ head["kernel"] + head["bias"])
    model = append_head(make_backbone(), {"kernel": head["kernel"], "bias": head["bias"]}, "float32")
    np.testing.assert_allclose(run(model, rows), logits / logits.sum(axis=1, keepdims=True), atol=1e-5)


def test_equal_heads_give_equal_bytes(fitted) -> None:
    head, _, _ = fitted["direction"]
    assert append_head(make_backbone(), head, "float32") == append_head(make_backbone(), head, "float32")
