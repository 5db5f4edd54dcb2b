"""A look at a model's operators and at what each of them gives."""

from __future__ import annotations

from typing import Any


def open_without_delegates(model: bytes) -> Any:
    """An interpreter of a TFLite model that keeps every tensor; delegates would hide the operators that they take."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter
