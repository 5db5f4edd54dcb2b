"""Checks of a model file: what it says about itself, its self-test, its speed here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from textwrap import shorten
from time import perf_counter
from typing import Any

import numpy as np

from ..errors import EdgeClassifyError
from ..images.preprocessing import Image
from ..learn.metrics import wilson_interval
from ..model.classifier import Classifier, Timing
from ..model.interpreter import BUILTIN_MODEL, convolutions_in_xnnpack, load_interpreter
from ..model.label_files import read_labels
from ..model.model_file import ModelFile, read_model_file
from ..model.self_test import draw_card
from ..model.threads import fewest_threads, in_words, thread_counts
from ..system.cores import usable_cores
from ..system.counted import counted
from ..system.machine import System
from .finding import Finding

# Each number of threads is timed over this many frames, or this long.
_TIMED_FRAMES = 300
_TIMED_S = 1.0
_WARMUP_FRAMES = 3
_SLOW_MS = 100.0
# Characters of the labels that are shown.
_LABELS_WIDTH = 100


def check_model(
    path: str,
    system: System,
    *,
    labels: str | None = None,
    input_range: str | None = None,
    input_size: tuple[int, int] | None = None,
) -> Iterator[Finding]:
    """Check what the file says about itself, run its self-test, and time it.

    labels, input_range, input_size: as `Classifier` takes them.
    """
    try:
        model_file = read_model_file(path)
        if labels is not None:
            model_file = replace(model_file, labels=read_labels(labels))
    except EdgeClassifyError as error:
        yield Finding("red", "model", str(error), exit_code=error.exit_code)
        return
    yield from model_card(model_file)
    load = partial(Classifier, model_file, input_range=input_range, input_size=input_size)
    with _assumptions_not_logged():
        yield from _check_loading(model_file, load, system)


def _check_loading(model_file: ModelFile, load: Callable[..., Classifier], system: System) -> Iterator[Finding]:
    try:
        classifier = load()
    except EdgeClassifyError as error:
        yield Finding("red", "test card", str(error), exit_code=error.exit_code)
        return
    height, width = classifier.input_size
    for assumption in classifier.assumptions:
        yield Finding("yellow", "assumed", assumption)
    if model_file.test_card is None:
        yield Finding("yellow", "test card", f"none in this file, but it runs, on {width}×{height} images")
    else:
        yield Finding("green", "test card", "preprocessed and classified as recorded in the file")
    yield from _check_speed(model_file, load, system)


@contextmanager
def _assumptions_not_logged() -> Iterator[None]:
    """They are findings here."""
    logger = logging.getLogger(Classifier.__module__)
    logger.addFilter(_is_no_assumption)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_assumption)


def _is_no_assumption(record: logging.LogRecord) -> bool:
    return record.levelno != logging.WARNING


def model_card(model_file: ModelFile) -> Iterator[Finding]:
    """What the file says about itself; nothing is run."""
    size = f"{model_file.path.stat().st_size / 1000:.0f} kB"
    contract = model_file.contract
    if contract is None:
        text = f"{model_file.path.name}: {size}, a third-party file"
        remedy = "labels and preprocessing come from TFLite Metadata, or are assumed as shown below: check its results"
        yield Finding("yellow", "model", text, remedy)
    else:
        model, preprocess = contract["model"], contract["preprocess"]
        resolution = model["resolution"]
        kind = f"{model['family']}, alpha {model['alpha']}, resolution {resolution}, {model['precision']}"
        yield Finding("green", "model", f"{model_file.path.name}: {kind}, {model['parameters']} parameters, {size}")
        yield Finding(
            "green",
            "preprocessing",
            f"{preprocess['resize']} to {resolution}×{resolution}, {preprocess['interpolation']}, "
            f"{preprocess['color_order']}"
            + ("" if model_file.crop is None else f"; of the part {model_file.crop} of the picture"),
        )
    if model_file.labels is None:
        text = model_file.labels_problem or "none: showing class numbers"
        yield Finding("yellow", "labels", text, "name them with --labels FILE")
    else:
        shown = shorten(", ".join(model_file.labels), _LABELS_WIDTH, placeholder=" …")
        yield Finding("green", "labels", f"{len(model_file.labels)}: {shown}")
    if contract is not None:
        yield _accuracy(contract)
        yield _provenance(contract["provenance"])


def _accuracy(contract: Mapping[str, Any]) -> Finding:
    evaluation = contract["evaluation"]
    if "accuracy" not in evaluation:
        return Finding("yellow", "accuracy", "not measured when the file was made", "try it on your own pictures")
    unknown, photos = contract["decision"]["unknown"], evaluation["photos"]
    # Files of an older edge-convert do not have it.
    as_shown = evaluation.get("accuracy_with_unknown") if unknown else evaluation["accuracy"]
    accuracy = evaluation["accuracy"] if as_shown is None else as_shown
    low, high = wilson_interval(accuracy, photos)
    text = f"{accuracy:.1%} {'among the classes' if as_shown is None else 'correct as shown'}"
    interval = f"(95% confidence interval: {low:.0%} to {high:.0%})"
    if "taught" in contract["provenance"]:
        text += f" on {counted(photos, 'photo')} {interval}, each judged by a head that had not learnt it"
    else:
        text += f" on {counted(photos, 'held-out photo')} {interval}"
    if unknown:
        among = "" if as_shown is None else f" among the classes {evaluation['accuracy']:.1%},"
        text += f";{among} {evaluation['kept']:.1%} not called unknown"
    return Finding("green", "accuracy", text)


def _provenance(provenance: Mapping[str, Any]) -> Finding:
    converter, taught = provenance["versions"]["convert"], provenance.get("taught")
    return Finding(
        "green",
        "provenance",
        f"photos {provenance['data_fingerprint'][:12]}, seed {provenance.get('seed')}, "
        f"weights {provenance['weights']['name']}, edge-classify {converter['edge-classify']}, "
        f"TensorFlow {converter['tensorflow']}"
        + (f"; its head taught by edge-teach to the backbone of {taught['parent']['name']}" if taught else ""),
    )


def _check_speed(model_file: ModelFile, load: Callable[..., Classifier], system: System) -> Iterator[Finding]:
    delegated, convolutions = convolutions_in_xnnpack(load_interpreter(model_file.path)) or (0, 0)
    if delegated < convolutions and _xnnpack_runs():
        text = f"XNNPACK runs only {delegated} of {convolutions} convolutions: inference is slower than it could be"
        yield Finding("yellow", "xnnpack", text, "convert the model with edge-convert")
    frame = draw_card(0)
    figures, shown, inference_ms = {}, [], {}
    for count in thread_counts(min(system.cores, usable_cores())):
        timings = _timings(load(num_threads=count), frame)
        inference_ms[count] = float(np.median([timing.inference for timing in timings]))
        p50, p90 = np.percentile([sum(timing) for timing in timings], (50, 90)).tolist()
        figures[str(count)] = {"p50": round(p50, 3), "p90": round(p90, 3)}
        shown.append(f"{p50:.1f} ms with {in_words(count)} (p90 {p90:.1f} ms)")
    yield Finding("green", "threads", str(fewest_threads(inference_ms)))
    text = f"640×480 frame to label: {', '.join(shown)}"
    if min(figure["p50"] for figure in figures.values()) > _SLOW_MS:
        text += ": under 10 frames per second"
        remedy = "train with a smaller --alpha or --resolution, or use the int8 file"
        yield Finding("yellow", "latency", text, remedy, figures={"threads": figures})
    else:
        yield Finding("green", "latency", text, figures={"threads": figures})


def _xnnpack_runs() -> bool:
    """Whether XNNPACK runs the built-in model; if not, it is not the file, and the interpreter's finding says so."""
    delegated, convolutions = convolutions_in_xnnpack(load_interpreter(BUILTIN_MODEL)) or (0, 0)
    return delegated == convolutions


def _timings(classifier: Classifier, frame: Image) -> list[Timing]:
    """Each frame's, after a warm-up."""
    for _ in range(_WARMUP_FRAMES):
        classifier.classify(frame)
    timings: list[Timing] = []
    began = perf_counter()
    while len(timings) < _TIMED_FRAMES and (not timings or perf_counter() - began < _TIMED_S):
        timings.append(classifier.classify(frame).timing)
    return timings
