"""A frame to a label: our loop beside other runtimes and ways, on the same frames and files, in turns.

    python benchmarks/peers.py [MODEL.tflite …]

Without model files it takes three cells of Alien vs Predator, float32 and int8. Each way is a file in
`benchmarks/peers`, run with one thread as a process of its own, in a virtual environment of its own that is made when
first needed (`build/benchmarks/environments`, 5 GB, half of it for tf2onnx, which is not there when anything is
timed). A round is 20 frames of each way, one way after the other. The time is from a 640×480 BGR frame, as a camera has
just written it, to its best label and score.

Prints for each way the median time of a frame, the median and quartiles of the rounds' ratios to ours, and on how many
of 150 frames (photos of both classes, and flowers, which are unknown) its label is ours, and is right. Ways that hand
over between threads suffer most from other programs: where there are some, `chrt --fifo 10` before the command
keeps them out.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import (
    CELLS,
    FLOWERS,
    PHOTOS,
    ROOT,
    WORK,
    Row,
    environment,
    machine,
    model_file,
    ratio,
    read_words,
    record,
    show,
)

from edge_classify import read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.model.labels import UNKNOWN
from edge_classify.model.model_file import read_model_file

BLOCK, ROUNDS = 20, 40


@dataclass(frozen=True)
class Way:
    """How a frame becomes a label. worker: its file in `benchmarks/peers`. packages: what its environment has."""

    name: str
    worker: str
    packages: tuple[str, ...]
    onnx: bool = False


LITERT = ("ai-edge-litert", "opencv-python-headless")
WAYS = (
    Way("ours", "ours", LITERT),
    Way("invoke alone", "invoke_alone", LITERT),
    Way("MediaPipe Tasks", "mediapipe_tasks", ("mediapipe",)),
    Way("ONNX Runtime, ONNX", "onnx_runtime", ("onnxruntime", "opencv-python-headless"), onnx=True),
    Way("OpenVINO", "openvino_runtime", ("openvino", "opencv-python-headless")),
    Way("OpenCV DNN", "opencv_dnn", ("opencv-python-headless",)),
    Way("OpenCV DNN, ONNX", "opencv_dnn", ("opencv-python-headless",), onnx=True),
    Way("label_image's way", "label_image", (*LITERT, "pillow")),
    Way("pycoral's way", "pycoral_way", (*LITERT, "pillow")),
)


class Worker:
    """A way's process, with one model file loaded. `error`: why it could not be, in the peer's own words."""

    def __init__(self, way: Way, model: Path, frames: Path, labels: tuple[str, ...]) -> None:
        python = environment(way.worker, *way.packages)
        script = ROOT / "benchmarks" / "peers" / f"{way.worker}.py"
        self._log = WORK / "peers" / f"{way.worker}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, script, onnx_file(model) if way.onnx else model, frames, *labels],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # And nothing else of what is set here: variables set the threads of some of these.
                env={"PYTHONPATH": str(ROOT / "edge")},
            )
        self.error: str | None = self._answer().get("error")

    def run(self, count: int) -> dict[str, Any]:
        """Classify so many frames: the nanoseconds and the label of each."""
        assert self._process.stdin is not None
        print(count, file=self._process.stdin, flush=True)
        answer = self._answer()
        if "error" in answer:
            raise SystemExit(f"{self._log.stem} has ended: {answer['error']}")
        return answer

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._log.read_text().strip().split("\n")[-1]}
        return answer


def onnx_file(model: Path) -> Path:
    """The same network for runtimes that read ONNX, made when first asked for."""
    path = WORK / "peers" / f"{model.stem}.onnx"
    if not path.exists() or path.stat().st_mtime < model.stat().st_mtime:
        python = environment("tf2onnx", "tf2onnx", "tensorflow")
        made = path.with_suffix(".part")
        words = [str(word) for word in (python, "-m", "tf2onnx.convert", "--tflite", model, "--output", made)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"tf2onnx does not convert {model}\n{done.stderr}")
        made.replace(path)
    return path


def write_frames() -> tuple[Path, list[str]]:
    """A file of 640×480 frames for all to read, and what they show."""
    photos = {label: list_pictures(PHOTOS / "validation" / label)[::2] for label in ("alien", "predator")}
    photos[UNKNOWN] = list_pictures(FLOWERS)[::6]
    path = WORK / "peers" / "frames.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [cv2.resize(read_photo(photo), (640, 480)) for some in photos.values() for photo in some]
    np.save(path, np.stack(frames))
    return path, [label for label, some in photos.items() for _ in some]


def compare(model: Path, frames: Path, truth: list[str]) -> list[Row]:
    labels = read_model_file(model).labels
    assert labels is not None
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for way in WAYS:
            workers[way.name] = Worker(way, model, frames, labels)
            stack.callback(workers[way.name].close)
        running = {name: worker for name, worker in workers.items() if worker.error is None}
        # Not timed: it warms them up.
        found = {name: worker.run(len(truth))["labels"] for name, worker in running.items()}
        times: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(ROUNDS):
            for name, worker in running.items():
                times[name].append(statistics.median(worker.run(BLOCK)["nanoseconds"]) / 1e3)
    for name, worker in workers.items():
        if worker.error is not None:
            print(f"{name} does not load it: {worker.error}")
    *_, alpha, resolution, precision = model.stem.split("_")
    about: Row = {"cell": f"{alpha}@{resolution}", "precision": precision}
    return [show({**about, **row_of(name, times, found, truth)}) for name in running]


def row_of(name: str, times: dict[str, list[float]], found: dict[str, list[str]], truth: list[str]) -> Row:
    """What a running way took, in microseconds a frame, and how often it was right, if it says labels."""
    middle, low, high = ratio(times, name, "ours")
    labels = found[name] if any(found[name]) else None
    return {
        "runtime": name,
        "a frame (µs)": round(statistics.median(times[name])),
        "to ours": round(middle, 2),
        "lower quartile": round(low, 2),
        "upper quartile": round(high, 2),
        "as ours (%)": None if labels is None else round(100 * share(labels, found["ours"]), 1),
        "right (%)": None if labels is None else round(100 * share(labels, truth), 1),
    }


def share(labels: list[str], others: list[str]) -> float:
    return statistics.mean(label == other for label, other in zip(labels, others, strict=True))


def main() -> None:
    words = read_words(__doc__, "MODEL.tflite")
    print(machine())
    cells = [(*cell, precision) for cell in CELLS for precision in ("float32", "int8")]
    models = list(map(Path, words)) or [model_file(*cell) for cell in cells]
    frames, truth = write_frames()
    record(__file__, [row for model in models for row in compare(model, frames, truth)])


if __name__ == "__main__":
    main()
