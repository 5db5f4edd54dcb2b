"""The models of a run, each of which may be exchanged for another between two frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from .loop import Model


Load = Callable[[str, Path], "Model"]


class Models(Sequence["Model"]):
    """What is exchanged takes effect at the next frame, in the loop's own thread: no result is of a mixture.

    load: reads a model file as the run's options say, to take the place of the model of this name. Raises
        EdgeClassifyError. None: the models stay.
    """

    def __init__(self, models: Sequence[Model], load: Load | None = None) -> None:
        self.load = load
        self._models = list(models)
        self._coming: deque[Model] = deque()
        self._told: list[Callable[[Model], object]] = []

    @overload
    def __getitem__(self, place: int) -> Model: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Model]: ...
    def __getitem__(self, place: int | slice) -> Model | Sequence[Model]:
        return self._models[place]

    def __len__(self) -> int:
        return len(self._models)

    def tell(self, listener: Callable[[Model], object]) -> None:
        """Have `listener` called with each new model, in the loop's thread, before the model's first result."""
        self._told.append(listener)

    def exchange(self, model: Model) -> None:
        """Take it in place of the one of this name. From any thread."""
        self._coming.append(model)

    def settle(self) -> None:
        """Make the exchanges that are asked for. For the loop's thread, between two frames."""
        while self._coming:
            model = self._coming.popleft()
            place = [other.name for other in self._models].index(model.name)
            self._models[place] = model
            for listener in self._told:
                listener(model)
