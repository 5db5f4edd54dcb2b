"""What edge-doctor looks at in a model file: its card, its self-test, its speed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import shorten
from time import perf_counter
from typing import Any

import numpy as np

from ..errors import EdgeClassifyError, ModelFileError
from ..metrics import wilson_interval
from ..model.classifier import Classifier
from ..model.interpreter import BUILTIN_MODEL, convolutions_in_xnnpack, load_interpreter
from ..model.model_file import ModelFile, read_model_file
from ..model.self_test import draw_card
from ..system.machine import System
from .machine_checks import Finding

_THREADS = (1, 2, 4)
_RUN_SECONDS = 1.0
_RUN_FRAMES = 300


def check_model(path: str, system: System) -> Iterator[Finding]:
    """The file's own words, its test card run here, and how long it takes here."""
    try:
        model_file = read_model_file(path)
    except EdgeClassifyError as error:
        yield Finding("red", "model", str(error), exit_code=error.exit_code)
        return
    try:
        yield from _card(model_file)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"{path}: its edge.json is not complete ({error!r}): convert it again"
        yield Finding("red", "model", text, exit_code=ModelFileError.exit_code)
        return
    try:
        size = Classifier(model_file).input_size
    except EdgeClassifyError as error:
        yield Finding("red", "test card", str(error), exit_code=error.exit_code)
        return
    if model_file.test_card is None:
        yield Finding("yellow", "test card", f"none in this file; it runs, with pictures of {size[1]}×{size[0]}")
    else:
        yield Finding("green", "test card", "prepared and classified as recorded in the file")
    yield from _speed(model_file, system)


def _card(model_file: ModelFile) -> Iterator[Finding]:
    size = f"{model_file.path.stat().st_size / 1000:.0f} kB"
    contract = model_file.contract
    if contract is None:
        remedy = "its labels and preparation are taken from TFLite Metadata, or assumed"
        yield Finding("yellow", "model", f"{model_file.path.name}: {size}, not made by edge-convert", remedy)
    else:
        model, prepare = contract["model"], contract["preprocess"]
        resolution = model["resolution"]
        kind = f"{model['family']}, alpha {model['alpha']}, resolution {resolution}, {model['precision']}"
        yield Finding("green", "model", f"{model_file.path.name}: {kind}, {model['parameters']} parameters, {size}")
        text = f"{prepare['resize']} to {resolution}×{resolution}, {prepare['interpolation']}, {prepare['color_order']}"
        yield Finding("green", "preparation", text)
    if model_file.labels is None:
        yield Finding("yellow", "labels", "none: classes are shown by number", "edge-classify --labels FILE")
    else:
        shown = shorten(", ".join(model_file.labels), 100, placeholder=" …")
        yield Finding("green", "labels", f"{len(model_file.labels)}: {shown}")
    if contract is None:
        return
    yield _accuracy(contract)
    provenance = contract["provenance"]
    made = provenance["versions"]
    yield Finding(
        "green",
        "provenance",
        f"photos {provenance['data_fingerprint'][:12]}, seed {provenance['seed']}, "
        f"weights {provenance['weights']['name']}, edge-classify {made['convert']['edge-classify']}, "
        f"TensorFlow {made['convert']['tensorflow']}",
    )


def _accuracy(contract: Mapping[str, Any]) -> Finding:
    evaluation = contract["evaluation"]
    if "accuracy" not in evaluation:
        return Finding("yellow", "accuracy", "not measured where the file was made: try it on pictures of your own")
    low, high = wilson_interval(evaluation["accuracy"], evaluation["photos"])
    percent = {name: 100 * evaluation[name] for name in ("accuracy", "float32_accuracy", "kept")}
    photos = evaluation["photos"]
    text = (
        f"{percent['accuracy']:.1f} % of {photos} held-out photos (95 % sure: {100 * low:.0f} to {100 * high:.0f} %), "
    )
    text += f"float32 {percent['float32_accuracy']:.1f} %"
    if contract["decision"]["unknown"]:
        text += f"; {percent['kept']:.1f} % of them not called unknown"
    return Finding("green", "accuracy", text)


def _speed(model_file: ModelFile, system: System) -> Iterator[Finding]:
    taken, convolutions = convolutions_in_xnnpack(load_interpreter(model_file.path)) or (0, 0)
    if taken < convolutions and _xnnpack_runs():
        text = f"XNNPACK computes {taken} of {convolutions} convolutions: the model is slower than it could be"
        yield Finding("yellow", "xnnpack", text, "convert it with edge-convert")
    frame = draw_card(0)
    figures, shown = {}, []
    for threads in (number for number in _THREADS if number <= system.cores):
        p50, p90 = np.percentile(_times(Classifier(model_file, num_threads=threads), frame), (50, 90)).tolist()
        figures[str(threads)] = {"p50": round(p50, 3), "p90": round(p90, 3)}
        shown.append(f"{p50:.1f} ms with {threads} thread{'s'[: threads > 1]} (p90 {p90:.1f})")
    text = f"640×480 frame to label {', '.join(shown)}"
    if min(figure["p50"] for figure in figures.values()) > 100:
        remedy = "train with a smaller --alpha or --resolution, or convert to int8"
        yield Finding("yellow", "latency", f"{text}: under 10 frames a second", remedy, figures={"threads": figures})
    else:
        yield Finding("green", "latency", text, figures={"threads": figures})


def _xnnpack_runs() -> bool:
    """Where not even the built-in model is taken whole, it is not the file: the line of the interpreter tells."""
    taken, convolutions = convolutions_in_xnnpack(load_interpreter(BUILTIN_MODEL)) or (0, 0)
    return taken == convolutions


def _times(classifier: Classifier, frame: np.ndarray) -> list[float]:
    """Milliseconds from frame to label, over a second or 300 frames, after a few that do not count."""
    for _ in range(3):
        classifier.classify(frame)
    times: list[float] = []
    began = perf_counter()
    while len(times) < _RUN_FRAMES and (not times or perf_counter() - began < _RUN_SECONDS):
        times.append(sum(classifier.classify(frame).timing))
    return times
