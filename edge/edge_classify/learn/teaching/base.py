"""The model file whose backbone is taught: any of this project's, with any head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ...errors import ModelFileError
from ...images.preprocessing import Image
from ...model.classifier import Classifier
from ...model.model_file import read_flatbuffer, read_model_file
from ...system.checksum import file_sha256
from .graph import Graph

# A backbone of somebody else's, whose middle layers nobody knows.
_HUB = "hub"


@dataclass(frozen=True)
class Base:
    """A model file of this project, whose self-test has passed.

    model: its flatbuffer. contract: its edge.json.
    """

    classifier: Classifier
    model: bytes
    contract: Mapping[str, Any]
    sha256: str

    @property
    def path(self) -> Path:
        return self.classifier.model_file.path

    @property
    def resolution(self) -> int:
        return self.classifier.input_size[0]

    @property
    def precision(self) -> str:
        return str(self.contract["model"]["precision"])

    def graph(self) -> tuple[Graph, list[int]]:
        """A graph to write a head into, and its features [1, F] and, if there is one, middle layer [1, M], float32.

        Raises ModelFileError if the features are not found.
        """
        try:
            graph = self._graph.copy()
        except ValueError as error:
            raise self._without_features(str(error)) from error
        parts = [graph.as_float(graph.features)]
        if len(graph.shape(parts[0])) != 2:
            raise self._without_features("their shape is not [1, F]")
        middle = None if self.contract["model"]["family"] == _HUB else graph.middle_map()
        return graph, parts if middle is None else [*parts, graph.mean(middle)]

    @cached_property
    def _graph(self) -> Graph:
        """Never changed: parsing one takes a while."""
        return Graph(self.model)

    def backbone(self) -> Backbone:
        """What computes features."""
        graph, parts = self.graph()
        lengths = [graph.shape(part)[-1] for part in parts]
        output = parts[0]
        if len(parts) > 1:
            options = schema.ConcatenationOptionsT()
            options.axis = 1
            output = graph.add("CONCATENATION", parts, (1, sum(lengths)), options, "ConcatenationOptions")
        return Backbone(self.classifier.twin(graph.pack(output)), lengths[0], sum(lengths))

    def _without_features(self, reason: str) -> ModelFileError:
        return ModelFileError(f"{self.path}: its features are not found ({reason}): give another file of edge-convert")


@dataclass(frozen=True)
class Backbone:
    """features: how many numbers of a row are the features, F. row: of all, F + M."""

    _twin: Classifier
    features: int
    row: int

    def __call__(self, picture: Image) -> np.ndarray:
        """Features and middle layer, float32 (F + M,). picture: prepared, uint8 RGB (R, R, 3)."""
        return self._twin.infer_prepared(picture)


def open_base(path: Path) -> Base:
    """Raises ModelFileError for a file that cannot be taught, and what `Classifier` raises."""
    model_file = read_model_file(path)
    if model_file.contract is None:
        raise ModelFileError(
            f"{path}: not made by edge-convert or edge-teach, so nobody knows what its backbone was trained for: "
            "give one of their files, for instance of `edge-convert imagenet`"
        )
    if not model_file.intact:
        raise ModelFileError(f"{path}: has no checksum, as files of an older edge-convert: convert it again")
    classifier = Classifier(model_file)
    return Base(classifier, read_flatbuffer(path), model_file.contract, file_sha256(path))
