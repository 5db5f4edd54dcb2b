"""Our inference times against those of litert-benchmark, on the same files, in turns.

    python benchmarks/agreement.py [MODEL.tflite …]

Each turn is a new process: one thread, 20 warm-up frames, 200 measured ones; the ratio is of the medians.
litert-benchmark (it comes with ai-edge-litert) runs LiteRT's CompiledModel on random numbers and rounds to 0.01 ms;
edge-benchmark runs its interpreter on the test card, and preprocesses it again before each inference. Prints the median
of the rounds' ratios and their quartiles, and to show the noise the same of litert-benchmark to itself, a round later.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

from common import CELLS, Row, command, machine, model_file, ratio, read_words, record, show

ROUNDS = 15


def our_median_ms(model: Path) -> float:
    settings = ("--rounds", 1, "--num-threads", 1, "--warmup-runs", 20, "--num-runs", 200)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        command("edge-benchmark", model, *settings, "--result-json", path)
        (result,) = json.loads(path.read_text())["results"]
        return float(result["stages"]["inference"]["p50"])


def their_median_ms(model: Path) -> float:
    settings = ("--num_threads", 1, "--warmup_runs", 20, "--num_runs", 200)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        command("litert-benchmark", "--model", model, *settings, "--result_json", path)
        return float(json.loads(path.read_text())["latency"]["median_ms"])


def main() -> None:
    words = read_words(__doc__, "MODEL.tflite")
    print(machine())
    models = list(map(Path, words)) or [model_file(*cell) for cell in CELLS]
    rows: list[Row] = []
    for model in models:
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(ROUNDS):
            times["theirs"].append(their_median_ms(model))
            times["ours"].append(our_median_ms(model))
        times["later"], times["earlier"] = times["theirs"][1:], times["theirs"][:-1]
        middle, low, high = ratio(times, "ours", "theirs")
        _, noise_low, noise_high = ratio(times, "later", "earlier")
        medians = [statistics.median(times[name]) for name in ("ours", "theirs")]
        row: Row = {
            "file": model.stem,
            "edge-benchmark (ms)": round(medians[0], 3),
            "litert-benchmark (ms)": round(medians[1], 3),
            "ours / theirs": round(middle, 3),
            "quartiles": f"{low:.3f} to {high:.3f}",
            "theirs to itself, quartiles": f"{noise_low:.3f} to {noise_high:.3f}",
        }
        rows.append(show(row))
    record(__file__, rows)


if __name__ == "__main__":
    main()
