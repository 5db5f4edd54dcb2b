"""edge.json, from the run folder and what was measured. See docs/model-file.md."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from edge_classify.images.preprocessing import PREPARATION
from edge_classify.learn.memory import Memory, describe
from edge_classify.model.model_file import FORMAT
from edge_train.run_folder import Cell, Run

from .versions import converter_versions


def encode_contract(
    run: Run,
    cell: Cell,
    precision: str,
    model: bytes,
    self_test: Mapping[str, Any],
    figures: Mapping[str, Any],
    memory: Memory | None,
) -> bytes:
    """edge.json: everything that a device, or a person, needs to know about this file.

    model: the flatbuffer that the parts are appended to. self_test: of `record_self_test`. figures: of `measure`.
    memory: what is attached as the part `MEMORY_PART`, if it is.
    """
    content = {
        "format": FORMAT,
        "model": {
            "family": cell.backbone,
            "alpha": cell.alpha,
            "resolution": cell.resolution,
            "precision": precision,
            "parameters": cell.parameters,
            "multiply_adds": cell.multiply_adds,
            "crc32": zlib.crc32(model),
        },
        "preprocess": PREPARATION if run.crop is None else {**PREPARATION, "crop": list(run.crop)},
        "decision": {"unknown": cell.has_unknown, **cell.decision},
        "test_card": self_test,
        "evaluation": figures,
        "provenance": _provenance(run, cell),
    }
    if memory is not None:
        content["memory"] = describe(memory)
    return json.dumps(content, indent=1, ensure_ascii=False).encode()


def _provenance(run: Run, cell: Cell) -> dict[str, Any]:
    index = run.index
    return {
        "data_fingerprint": index["photos"]["fingerprint"],
        "seed": index["seed"],
        "arguments": index["arguments"],
        "weights": {"name": cell.weights_name, "sha256": cell.weights_sha256},
        "versions": {"train": index["versions"], "convert": converter_versions(run)},
    }
