"""One run of `edge-classify`: a source, a classifier, the outputs, and the summary at the end."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from .errors import EdgeClassifyError, UsageError
from .images.crop import WHOLE, Crop
from .model.classifier import Classifier
from .model.interpreter import BUILTIN_MODEL
from .model.labels import UNKNOWN
from .model.naming import NamedFile, name_models
from .model.threads import AUTO
from .outputs import registry
from .outputs.destinations import Destinations
from .outputs.output import Output
from .outputs.queue import BoundedQueue
from .outputs.run import Run
from .pipeline.cores import Cores, share_cores
from .pipeline.decision import Decision
from .pipeline.loop import LeftOut, Model, Result, classify_by_each
from .pipeline.models import Models
from .pipeline.pacing import Pace
from .pipeline.stillness import Stillness
from .pipeline.summary import Summary
from .recognize import recognize
from .sources.frame import Frame, Transform
from .sources.opening import check_source, is_stream, open_source
from .sources.source import Source
from .system.command import native_output_dropped

log = logging.getLogger(__name__)

_MAX_LABELS_SHOWN = 6
# Options that say something about one model file.
_OF_ONE_MODEL = {
    "labels": "attach them to each file (docs/several-models.md)",
    "input_range": "use Python (docs/several-models.md)",
    "input_size": "use Python (docs/several-models.md)",
}


def check(options: argparse.Namespace) -> None:
    """Raise an error for whatever cannot work, judged from the command line alone: nothing is opened or measured."""
    for problem in problems(options):
        raise problem


def problems(options: argparse.Namespace) -> Iterator[EdgeClassifyError | OSError]:
    """What `check` refuses, of each part of the program the first thing."""
    stream = True
    for part in (_check_models, _check_decision, _check_source):
        try:
            part(options)
            if part is _check_source:
                stream = is_stream(options.source)
        except (EdgeClassifyError, OSError) as error:
            yield error
    for with_source in (_check_stillness, *(module.check for module in registry.modules())):
        try:
            with_source(options, stream=stream)
        except (EdgeClassifyError, OSError) as error:
            yield error


def _check_models(options: argparse.Namespace) -> None:
    if (options.models is None) != (options.budget_ms is None) or (options.models and options.model):
        raise UsageError("use --models MODELS with --budget-ms MS, and without --model")
    if (options.input_range or options.input_size) and not (options.model or options.models):
        raise UsageError("--input-range and --input-size are for third-party models: name one with --model FILE")
    models = name_models(options.model or ())
    for option, remedy in _OF_ONE_MODEL.items():
        if len(models) > 1 and getattr(options, option) is not None:
            raise UsageError(f"--{option.replace('_', '-')} is for one --model, found {len(models)}: {remedy}")
    if options.models is not None:
        from .benchmark.metric import Metric

        Metric.parse(options.metric)
    if options.labels is not None:
        from .model.label_files import read_labels

        read_labels(options.labels)


def _check_decision(options: argparse.Namespace) -> None:
    # The model's labels are not known yet. With `unknown` among them the default thresholds are highest, so that
    # nothing is refused here that could work.
    Decision((UNKNOWN,), **_decision_settings(options))


def _check_source(options: argparse.Namespace) -> None:
    _transform(options)
    check_source(options.source, **_source_settings(options))


def _check_stillness(options: argparse.Namespace, *, stream: bool) -> None:
    if options.skip_still and not stream:
        raise UsageError("--skip-still needs a camera or a video; pictures are classified one by one")


def _check_with_source(options: argparse.Namespace, *, stream: bool) -> None:
    _check_stillness(options, stream=stream)
    for module in registry.modules():
        module.check(options, stream=stream)


@contextmanager
def open_session(options: argparse.Namespace) -> Iterator[Session]:
    """Load the models, open the source, and then the outputs; close them all at the end."""
    cores = _cores(options)
    models = _load_models(options, cores.num_threads)
    with ExitStack() as stack:
        source = stack.enter_context(
            open_source(options.source, transform=_transform(options), **_source_settings(options))
        )
        _check_with_source(options, stream=source.stream)  # a picture may have any name
        if not source.stream:
            models = [model._replace(decision=None) for model in models]
        run = Run(source, Models(models, lambda name, path: _load_again(name, path, options, models)))
        destinations = Destinations(stack, run)
        if source.live:
            stack.enter_context(_warnings_to(destinations.standard_error))
        outputs = registry.open_outputs(options, destinations)
        for model in models:
            destinations.standard_error.put(_introduce(model, options, cores, stream=source.stream) + "\n")
        if source.description:
            destinations.standard_error.put(f"{source.description}\n")
        classify = partial(_classify, options, source, run.models, cores.interpreters)
        yield Session(source, [model.name for model in models], classify, outputs, destinations)


def _classify(
    options: argparse.Namespace, source: Source, models: Models, interpreters: int, left_out: LeftOut
) -> Generator[Result]:
    if interpreters > 1:
        from .pipeline.parallel import classify_in_parallel  # no camera needs it

        return classify_in_parallel(source, models, interpreters, left_out, count=options.count)
    frames = islice(_pace(options, source).frames(source), options.count)
    return classify_by_each(_between_exchanges(frames, models), models, left_out)


def _between_exchanges(frames: Iterable[Frame], models: Models) -> Iterator[Frame]:
    for frame in frames:
        models.settle()
        yield frame


class Session:
    """What is open during a run."""

    def __init__(
        self,
        source: Source,
        models: Sequence[str],
        classify: Callable[[LeftOut], Generator[Result]],
        outputs: Sequence[Output],
        destinations: Destinations,
    ) -> None:
        """models: their names. classify: gives their results, and calls its argument for a model that is left out."""
        self._source = source
        self._results = classify(self._leave_out)
        self._outputs = outputs
        self._destinations = destinations
        self._summary = Summary(models, stream=source.stream)
        self._failures: list[EdgeClassifyError] = []

    def run(self) -> None:
        """Hand all results to all outputs, until the source ends, nobody is left to read them, or Ctrl-C.

        Raises at the end the error of the first model that was left out.
        """
        try:
            with ExitStack() as stack:
                stack.enter_context(closing(self._results))
                for output in self._outputs:
                    stack.enter_context(output)
                try:
                    self._hand_out()
                except KeyboardInterrupt:
                    self._destinations.stop_waiting()
        finally:
            self._destinations.drain()
            self._destinations.print_summary(self._summary_text())
        if self._failures:
            raise self._failures[0]

    def _leave_out(self, model: Model, error: EdgeClassifyError) -> None:
        log.warning("%s; %s is left out from now on, the others go on", error, model.name)
        self._failures.append(error)

    def _hand_out(self) -> None:
        outputs = self._outputs
        for result in self._results:
            self._summary.append(result)
            for output in outputs:
                output.append(result)
            if all(output.gone for output in outputs):
                return

    def _summary_text(self) -> str:
        counts = Counter(
            {"stale frames dropped": self._source.dropped, "undecodable frames left out": self._source.undecodable}
        )
        for output in self._outputs:
            counts.update(output.counts())
        lines = [*self._summary.lines(), *(f"{what}: {count}" for what, count in counts.items() if count)]
        return "\n".join(lines) + "\n"


def _load_models(options: argparse.Namespace, num_threads: int | Literal["auto"]) -> list[Model]:
    names = options.model or [str(BUILTIN_MODEL)]
    if options.models is not None:
        chosen, benchmarked = _choose_model(options)
        names = [str(chosen)]
        if num_threads == AUTO:
            num_threads = benchmarked
    files = name_models(names)
    with native_output_dropped():  # LiteRT prints a greeting at each start
        return [_load_model(file, options, num_threads) for file in files]


def _load_model(file: NamedFile, options: argparse.Namespace, num_threads: int | Literal["auto"]) -> Model:
    classifier = Classifier(
        file.path,
        labels=options.labels,
        top_k=options.top_k,
        threshold=options.threshold,
        num_threads=num_threads,
        input_range=options.input_range,
        input_size=options.input_size,
    )
    if options.crop is not None:
        _replace_crop(classifier, options.crop)
    decision = Decision(classifier.labels, **_decision_settings(options))
    return Model(file.name, classifier, decision, Stillness() if options.skip_still else None)


def _load_again(name: str, path: Path, options: argparse.Namespace, models: Sequence[Model]) -> Model:
    """A file that takes the place of the model of this name, with as many threads."""
    (before,) = (model for model in models if model.name == name)
    return _load_model(NamedFile(name, path), options, before.classifier.threads.count)


def _replace_crop(classifier: Classifier, crop: Crop) -> None:
    trained_on = classifier.model_file.crop
    if trained_on is not None and trained_on != crop:
        log.warning(
            "%s: was trained and measured on the part %s of the picture, and is used on %s (--crop): leave out --crop, "
            "unless the camera has moved",
            classifier.model_file.path,
            trained_on,
            crop,
        )
    classifier.crop = None if crop == WHOLE else crop


def _cores(options: argparse.Namespace) -> Cores:
    in_turn = bool(options.skip_still or options.max_fps)
    return share_cores(options.source, options.num_threads, fast=options.fast, in_turn=in_turn)


def _introduce(model: Model, options: argparse.Namespace, cores: Cores, *, stream: bool) -> str:
    """Which model is in use, and how much of the processor, in one line; what was probably meant if it is the
    built-in one."""
    labels = model.classifier.labels
    shared = cores.describe(model.classifier.threads, stream=stream)
    shown = ", ".join(labels[:_MAX_LABELS_SHOWN]) + (", ..." if len(labels) > _MAX_LABELS_SHOWN else "")
    path = model.classifier.model_file.path
    if path != BUILTIN_MODEL:
        crop = model.classifier.crop
        part = "" if crop is None else f", on the part {Crop(*crop)} of the picture"
        return f"model {NamedFile(model.name, path)}: {len(labels)} labels ({shown}){part}; {shared}"
    what = "the built-in one, which reads handwritten digits"
    if recognize(options.source) == "photos":
        return f"warning: the model is {what}; to classify photos of anything else, give your own with --model FILE"
    return f"model: {what} (for your own: --model FILE); {shared}"


def _choose_model(options: argparse.Namespace) -> tuple[Path, int]:
    """The model file, and its number of threads."""
    from .benchmark.choice_cache import chosen_model
    from .benchmark.metric import Metric

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    return chosen_model([options.models], Metric.parse(options.metric), options.budget_ms, options.num_threads, report)


def _decision_settings(options: argparse.Namespace) -> dict[str, Any]:
    frames, seconds = options.dwell
    return {
        "smoothing": options.smoothing,
        "threshold_high": options.threshold_high if options.threshold_high is not None else options.threshold or None,
        "threshold_low": options.threshold_low,
        "dwell": frames,
        "dwell_seconds": seconds,
    }


def _transform(options: argparse.Namespace) -> Transform:
    # The crop is each classifier's own.
    return Transform(options.rotate, options.flip)


def _source_settings(options: argparse.Namespace) -> dict[str, Any]:
    return {"size": options.size, "fps": options.fps, "give_up": options.give_up, "fast": options.fast}


def _pace(options: argparse.Namespace, source: Source) -> Pace:
    if not source.live:
        return Pace(options.max_fps)
    from .system.machine import is_throttled  # a picture does not need it

    return Pace(options.max_fps, is_throttled)


@contextmanager
def _warnings_to(queue: BoundedQueue[str]) -> Iterator[None]:
    """Have warnings written from another thread: a terminal that nobody reads must not hold up frames."""
    handlers = [handler for handler in logging.root.handlers if isinstance(handler, logging.StreamHandler)]
    before = [handler.setStream(_Stream(queue)) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)


class _Stream:
    """A queue as the stream of a logging handler."""

    def __init__(self, queue: BoundedQueue[str]) -> None:
        self.write = queue.put

    def flush(self) -> None:
        """Nothing to do: each line is written as soon as possible."""
