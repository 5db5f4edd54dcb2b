"""A folder and a video as fast as possible: one interpreter against as many as there are cores.

    python benchmarks/parallel.py

One process, the two in turn; pictures and frames are read, classified and counted as edge-classify does it. The files
are in the system's cache. Prints, for three model files, how many times as fast all cores are: by the shortest times of
the rounds, which other programs disturbed least, and the median of the rounds' ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common import CELLS, DATA, PHOTOS, Row, in_turns, machine, model_file, ratio, read_words, record, show

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
    rows: list[Row] = []
    for alpha, resolution in CELLS:
        classifier = Classifier(model_file(alpha, resolution))
        for path in SOURCES:
            ways = {"one": classify(path, classifier, 1), "all": classify(path, classifier, cores)}
            seconds = in_turns(ways, ROUNDS)
            middle, low, high = ratio(seconds, "one", "all")
            row: Row = {
                "cell": f"{alpha}@{resolution}",
                "source": path.name,
                "times as fast": round(min(seconds["one"]) / min(seconds["all"]), 2),
                "median of the rounds": round(middle, 2),
                "lower quartile": round(low, 2),
                "upper quartile": round(high, 2),
                "one interpreter (s)": round(min(seconds["one"]), 2),
            }
            rows.append(show(row))
    record(__file__, rows, notes="int8, by the shortest times.")


if __name__ == "__main__":
    main()
