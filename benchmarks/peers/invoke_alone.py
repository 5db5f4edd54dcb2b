"""LiteRT's `invoke` and nothing else, on the picture that happens to be there: what no loop around it can be below."""

from __future__ import annotations

from ai_edge_litert.interpreter import Interpreter
from worker import Classify, serve


def load(model: str, _: list[str]) -> Classify:
    interpreter = Interpreter(model, num_threads=1)
    interpreter.allocate_tensors()

    def classify(_: object) -> tuple[str, float]:
        interpreter.invoke()
        return "", 0.0

    return classify


if __name__ == "__main__":
    serve(load)
