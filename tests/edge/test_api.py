"""The public Python API, name by name, is what api.txt says.

If a change is meant: .venv/bin/python tests/edge/test_api.py > tests/edge/api.txt
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import edge_classify

STORED = Path(__file__).with_name("api.txt")


class Verbatim(str):
    """An annotation as it was written, which inspect would show in quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def signature(function: Callable[..., object]) -> str:
    found = inspect.signature(function)
    parameters = [entry.replace(annotation=verbatim(entry.annotation)) for entry in found.parameters.values()]
    return str(found.replace(parameters=parameters, return_annotation=verbatim(found.return_annotation)))


def verbatim(annotation: object) -> object:
    annotation = getattr(annotation, "__forward_arg__", annotation)
    return Verbatim(annotation) if isinstance(annotation, str) else annotation


def describe(name: str) -> Iterator[str]:
    thing = getattr(edge_classify, name)
    if isinstance(thing, type) and issubclass(thing, Exception):
        yield f"exception {name}({thing.__bases__[0].__name__}), exit code {thing.exit_code}"
    elif isinstance(thing, type):
        yield f"class {name}{signature(thing).removesuffix(' -> None')}"
        for member, value in sorted(vars(thing).items()):
            if isinstance(value, property):
                yield f"    {member}: {value.fget.__annotations__['return']}"
            elif inspect.isfunction(value) and not member.startswith("_"):
                yield f"    {member}{signature(value)}"
    else:
        yield f"{name}{signature(thing)}"


def api() -> str:
    return "\n".join(line for name in sorted(edge_classify.__all__) for line in describe(name)) + "\n"


def test_names_and_signatures_are_those_that_were_agreed_on() -> None:
    assert api() == STORED.read_text()


if __name__ == "__main__":
    print(api(), end="")
