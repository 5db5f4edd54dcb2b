"""A folder and a video as fast as possible: one interpreter against as many as there are cores.

    python benchmarks/parallel.py

One process, the two in turn; pictures and frames are read, classified and counted as edge-classify does it. The files
are in the system's cache. Prints, for three model files, how many times as fast all cores are: by the shortest times of
the rounds, which other programs disturbed least, and the median of the rounds' ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common import CELLS, DATA, PHOTOS, in_turns, machine, model_file, ratio, read_words

from edge_classify import Classifier, Decision, open_source
from edge_classify.pipeline.loop import Model, classify_by_each
from edge_classify.pipeline.parallel import classify_in_parallel
from edge_classify.system.cores import usable_cores

ROUNDS = 15
SOURCES = (
    PHOTOS / "validation",
    DATA / "video" / "derived_avp_validation_feed.avi",
    DATA / "video" / "bottle-detection.mp4",
)


def classify(path: Path, classifier: Classifier, interpreters: int) -> Callable[[], None]:
    def run() -> None:
        decision = Decision(classifier.labels) if path.is_file() else None
        models = [Model(path.name, classifier, decision)]
        with open_source(path, fast=path.is_file()) as source:
            if interpreters == 1:
                results = classify_by_each(source, models)
            else:
                results = classify_in_parallel(source, models, interpreters)
            assert sum(1 for _ in results) > 0

    return run


def main() -> None:
    read_words(__doc__)
    cores = usable_cores()
    print(f"{machine()}; {cores} interpreters against 1")
    for alpha, resolution in CELLS:
        classifier = Classifier(model_file(alpha, resolution))
        for path in SOURCES:
            ways = {"one": classify(path, classifier, 1), "all": classify(path, classifier, cores)}
            seconds = in_turns(ways, ROUNDS)
            middle, low, high = ratio(seconds, "one", "all")
            print(
                f"{alpha}@{resolution} int8, {path.name}: {min(seconds['one']) / min(seconds['all']):.2f} times "
                f"as fast by the shortest times; median {middle:.2f} (quartiles {low:.2f} to {high:.2f}); "
                f"one: {min(seconds['one']):.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
