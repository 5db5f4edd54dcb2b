"""What decisions do to the answers of frames: wrong changes of state, how late true ones are reported, what it costs.

    python benchmarks/decisions.py [choose] [report] [still] [cost]

Two feeds with known truth: the shared one (24 pictures, ten frames each), and one that is made here from photos of
Alien vs Predator, with flowers as strangers: a hand-held camera at 30 frames per second, with noise, blur, and changing
light. `choose` tries settings on one half of the photos, those of the shared feed left out; `report` measures the
defaults on the other half. `still` measures --skip-still, `cost` what a frame costs. Without words: all but `choose`.

A change of state is wrong if it is to another label than the true one at that frame. How late a true change is reported
is counted from the first frame of the new thing, for photos that the model knows when they are not disturbed.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from common import DATA, FLOWERS, PHOTOS, Row, in_turns, machine, model_file, read_words, record, show

from edge_classify import Classifier, Frame, open_source, read_photo
from edge_classify.images.folder import list_pictures
from edge_classify.model.labels import UNKNOWN
from edge_classify.pipeline.decision import Decision
from edge_classify.pipeline.loop import classify_frames
from edge_classify.pipeline.stillness import Stillness
from edge_classify.sources import demo

CELLS = ((0.35, 96), (1.0, 224))
SHARED_FEED = DATA / "video" / "derived_avp_validation_feed.avi"
FOREIGN = DATA / "models" / "mobilenet_v1_0.25_224_quant_with_metadata.tflite"
WIDTH, HEIGHT, FPS = 320, 240, 30
SCENES = 90
SEED = 7
LATE = 5
BLOCK = 50
# What happens in front of a camera that stands.
DISTURBANCES = {
    "none": "nothing moves",
    "small": "halfway through, an object enters that is a tenth as wide as the picture",
    "slow": "the light fades to half during the scene",
}


class Feed(NamedTuple):
    """One model's answers on a feed, a scene being what is seen from one true change to the next.

    scores: float32, shape (frames, K). truth: label indices, shape (frames,). lengths: frames of each scene.
    clean: the model's answer for each scene's undisturbed picture, label indices.
    """

    labels: tuple[str, ...]
    scores: np.ndarray
    truth: np.ndarray
    lengths: tuple[int, ...]
    clean: np.ndarray


def photos(half: int) -> dict[str, list[Path]]:
    shared = {DATA / "data" / row["source"] for row in _shared_rows()}
    found = {label: list_pictures(PHOTOS / "validation" / label)[half::2] for label in ("alien", "predator")}
    if half == 0:
        found = {label: [path for path in paths if path not in shared] for label, paths in found.items()}
    return found | {UNKNOWN: list_pictures(FLOWERS)[half::2]}


def scenes(half: int) -> Iterator[tuple[str, np.ndarray, Iterator[np.ndarray]]]:
    """(truth, undisturbed picture, frames) of each scene of the made feed."""
    rng = np.random.default_rng([SEED, half])
    noise = rng.normal(0, 1, (2 * HEIGHT, 2 * WIDTH, 3)).astype(np.float32)
    found = photos(half)
    order = itertools.cycle(("alien", UNKNOWN, "predator", UNKNOWN, "alien", "predator"))
    for _, label in zip(range(SCENES), order, strict=False):
        picture = read_photo(found[label][int(rng.integers(len(found[label])))])
        yield label, picture, disturbed(picture, int(rng.integers(30, 90)), rng, noise)


def disturbed(picture: np.ndarray, count: int, rng: np.random.Generator, noise: np.ndarray) -> Iterator[np.ndarray]:
    """Frames of a picture held before a hand-held camera: drift, blur, light, noise, JPEG."""
    picture = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    place, speed, zoom = np.zeros(2), np.zeros(2), 1.04
    light, grain = 1.0, rng.uniform(3, 12)
    shaken = unsharp = 0
    for number in range(count):
        speed = 0.9 * speed + rng.normal(0, 0.5, 2)
        place = np.clip(place + speed, -10, 10)
        zoom = float(np.clip(zoom + rng.normal(0, 0.002), 1, 1.1))
        x, y = place - (zoom - 1) * np.array([WIDTH, HEIGHT]) / 2
        matrix = np.array([[zoom, 0, x], [0, zoom, y]], np.float32)
        image = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        if not shaken and rng.random() < 0.04:
            shaken, kernel = int(rng.integers(2, 6)), motion_kernel(int(rng.integers(9, 31)), rng.uniform(0, np.pi))
        if shaken:
            shaken, image = shaken - 1, cv2.filter2D(image, -1, kernel)
        if not unsharp and rng.random() < 0.008:
            unsharp, radius = int(rng.integers(4, 12)), rng.uniform(1.5, 4)
        if unsharp:
            unsharp, image = unsharp - 1, cv2.GaussianBlur(image, (0, 0), radius)
        if rng.random() < 0.02:
            light *= float(rng.choice([0.35, 0.6, 1.7]))  # a lamp, a shadow, the sun
        light += (1 - light) * 0.15  # automatic exposure
        seen = light * (1 + 0.03 * np.sin(0.6 * np.pi * number))
        top, left = rng.integers(HEIGHT), rng.integers(WIDTH)
        values = image * np.float32(seen) + noise[top : top + HEIGHT, left : left + WIDTH] * np.float32(grain)
        _, jpeg = cv2.imencode(".jpg", np.clip(values, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 75])
        decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        assert decoded is not None
        yield decoded


def motion_kernel(length: int, angle: float) -> np.ndarray:
    kernel = np.zeros((length, length), np.float32)
    middle, step = length // 2, np.array([np.cos(angle), np.sin(angle)]) * (length // 2)
    start, end = np.rint(middle - step).astype(int).tolist(), np.rint(middle + step).astype(int).tolist()
    cv2.line(kernel, start, end, 1.0)
    return kernel / kernel.sum()


def made_feeds(half: int) -> list[Feed]:
    """The made feed as each model sees it."""
    classifiers = [Classifier(model_file(*cell)) for cell in CELLS]
    scores: list[list[np.ndarray]] = [[] for _ in CELLS]
    clean: list[list[int]] = [[] for _ in CELLS]
    truth, lengths = [], []
    labels = classifiers[0].labels
    for label, picture, frames in scenes(half):
        for classifier, answers in zip(classifiers, clean, strict=True):
            answers.append(int(classifier.probabilities(picture).argmax()))
        before = len(scores[0])
        for frame in frames:
            for classifier, rows in zip(classifiers, scores, strict=True):
                rows.append(classifier.probabilities(frame))
        lengths.append(len(scores[0]) - before)
        truth += [labels.index(label)] * lengths[-1]
    return [
        Feed(labels, np.array(s), np.array(truth), tuple(lengths), np.array(c))
        for s, c in zip(scores, clean, strict=True)
    ]


def shared_feed(cell: tuple[float, int]) -> Feed:
    classifier = Classifier(model_file(*cell))
    with open_source(SHARED_FEED, fast=True) as source:
        scores = np.array([classifier.probabilities(frame.image) for frame in source])
    rows = list(_shared_rows())
    truth = np.array([classifier.labels.index(row["label"]) for row in rows])
    lengths = tuple(len(list(group)) for _, group in itertools.groupby(rows, lambda row: row["source"]))
    # Its pictures are shown undisturbed: what most frames of one say is the model's answer.
    parts = np.split(scores.argmax(axis=1), np.cumsum(lengths)[:-1])
    clean = np.array([np.bincount(part).argmax() for part in parts])
    return Feed(classifier.labels, scores, truth, lengths, clean)


def _shared_rows() -> Iterator[dict[str, str]]:
    with SHARED_FEED.with_suffix(".labels.csv").open(newline="") as file:
        yield from csv.DictReader(file)


def states(feed: Feed, fps: float = FPS, **settings: float) -> np.ndarray:
    """The state at each frame, as a label index."""
    decision = Decision(feed.labels, **settings)  # type: ignore[arg-type]
    found = np.empty(len(feed.scores), int)
    for number, scores in enumerate(feed.scores):
        decision.update(scores, number / fps)
        found[number] = feed.labels.index(decision.state)
    return found


def wrong_changes(found: np.ndarray, truth: np.ndarray) -> int:
    changes = np.flatnonzero(np.diff(found)) + 1
    return int((found[changes] != truth[changes]).sum())


def delays(feed: Feed, found: np.ndarray, clear: bool) -> list[float]:
    """For each scene that the model knows: frames until the state is the true one; infinite if it never is.

    clear: only scenes whose first frames, as many as a change may be late by and one more, are each answered rightly.
    """
    late = []
    firsts = np.cumsum((0, *feed.lengths))[:-1]
    for first, length, clean in zip(firsts, feed.lengths, feed.clean, strict=True):
        own = feed.scores[first : first + LATE + 1].argmax(axis=1)
        truth = feed.truth[first]
        if clean != truth or (clear and (own != truth).any()):
            continue
        right = np.flatnonzero(found[first : first + length] == truth)
        late.append(float(right[0]) if right.size else np.inf)
    return late


def choose() -> None:
    """The fewest wrong changes among the settings that tell every clear change in time, over both models."""
    feeds = made_feeds(0)
    print(f"settings on the half for choosing, {sum(feeds[0].lengths)} frames, {SCENES} scenes, both models:")
    grid = itertools.product((1, 1.5, 2, 3, 5), (2, 3, 4, 5), ((0, 0), (0.4, 0.2), (0.4, 0.3), (0.5, 0.25), (0.6, 0.3)))
    rows = []
    for smoothing, dwell, (high, low) in grid:
        settings = {"smoothing": smoothing, "dwell": dwell, "threshold_high": high, "threshold_low": low}
        found = [states(feed, **settings) for feed in feeds]
        both = list(zip(feeds, found, strict=True))
        latest = max(max(delays(feed, seen, clear=True)) for feed, seen in both)
        wrong = sum(wrong_changes(seen, feed.truth) for feed, seen in both)
        right = np.mean([np.mean(seen == feed.truth) for feed, seen in both])
        never = sum(np.isinf(delays(feed, seen, clear=False)).sum() for feed, seen in both)
        rows.append((latest > LATE, wrong, smoothing, dwell, high, low, latest, right, never))
    rows.sort()
    best: list[Row] = [
        {
            "smoothing": smoothing,
            "dwell": dwell,
            "high": high,
            "low": low,
            "wrong changes": wrong,
            "clear changes late by at most (frames)": int(latest) if np.isfinite(latest) else None,
            "frames right (%)": round(100 * float(right), 1),
            "never reported": int(never),
        }
        for _, wrong, smoothing, dwell, high, low, latest, right, never in rows[:12]
    ]
    record(__file__, [show(row) for row in best], part="choose", notes=f"The best 12 of {len(rows)} settings.")


def report() -> None:
    rows = [tell(f"shared feed, {name(cell)}", shared_feed(cell)) for cell in CELLS]
    feeds = made_feeds(1)
    for cell, feed in zip(CELLS, feeds, strict=True):
        rows.append(tell(f"made feed, {name(cell)}", feed))
        rows.append(tell(f"made feed, {name(cell)}, at 5 frames a second", decimated(feed, 6), fps=5))
    record(__file__, rows, part="report")


def tell(title: str, feed: Feed, fps: float = FPS) -> Row:
    raw, decided = states(feed, fps, smoothing=0), states(feed, fps)
    settled = np.repeat(feed.clean, feed.lengths)
    late, clear = (np.array(delays(feed, decided, only_clear)) for only_clear in (False, True))
    row: Row = {
        "feed": title,
        "frames": len(feed.truth),
        "scenes": len(feed.lengths),
        "wrong changes, frame by frame": wrong_changes(raw, feed.truth),
        "with states": wrong_changes(decided, feed.truth),
        "flicker, frame by frame": wrong_changes(raw, settled),
        "flicker, with states": wrong_changes(decided, settled),
        "true changes": len(late),
        "late by at most (frames)": int(late[np.isfinite(late)].max()),
        "within 5 frames (%)": round(100 * float(np.mean(late <= LATE))),
        "never reported": int(np.isinf(late).sum()),
        "clear changes": len(clear),
        "clear: late by at most (frames)": int(clear[np.isfinite(clear)].max()),
        "clear: never reported": int(np.isinf(clear).sum()),
    }
    return show(row)


def decimated(feed: Feed, step: int) -> Feed:
    """Every so many frames of a feed."""
    firsts = np.cumsum((0, *feed.lengths))[:-1]
    kept = [range(first, first + length, step) for first, length in zip(firsts, feed.lengths, strict=True)]
    rows = [row for part in kept for row in part]
    return feed._replace(scores=feed.scores[rows], truth=feed.truth[rows], lengths=tuple(map(len, kept)))


def held_still(half: int, disturbance: str) -> Iterator[tuple[str, np.ndarray]]:
    """(truth, frame) of a camera that stands: 2 s of each scene, 640×480, noise of a few grey levels.

    disturbance: "none"; "small", from the middle of a scene on, a thing a tenth of the picture wide; or "slow", the
        light fading to half during a scene.
    """
    rng = np.random.default_rng([SEED, half, 1])
    noise = rng.normal(0, 1, (960, 1280, 3)).astype(np.float32)
    found = photos(half)
    for _, label in zip(range(30), itertools.cycle(("alien", UNKNOWN, "predator")), strict=False):
        picture = cv2.resize(read_photo(found[label][int(rng.integers(len(found[label])))]), (640, 480))
        grain = np.float32(rng.uniform(2, 6))
        for number in range(2 * FPS):
            image = picture.astype(np.float32)
            if disturbance == "slow":
                image *= np.float32(1 - 0.5 * number / (2 * FPS))
            if disturbance == "small" and number >= FPS:
                image[200:264, 300:364] = (40, 40, 200)
            top, left = rng.integers(480), rng.integers(640)
            yield label, np.clip(image + noise[top : top + 480, left : left + 640] * grain, 0, 255).astype(np.uint8)


def still() -> None:
    """--skip-still on a camera that stands: what is left out, and what the states lose by it."""
    classifier = Classifier(model_file(*CELLS[0]))
    rows: list[Row] = []
    for disturbance, scene in DISTURBANCES.items():
        results = [
            [
                (result.state, result.still)
                for result in classify_frames(frames(disturbance), classifier, Decision(classifier.labels), stillness)
            ]
            for stillness in (None, Stillness())
        ]
        (every, _), (skipping, skipped) = (zip(*rows, strict=True) for rows in results)
        changes = [sum(a != b for a, b in itertools.pairwise(found)) for found in (every, skipping)]
        differing = np.mean([a != b for a, b in zip(every, skipping, strict=True)])
        row: Row = {
            "scene": scene,
            "frames skipped (%)": round(100 * float(np.mean(skipped))),
            "state differs on (% of frames)": round(100 * float(differing), 1),
            "changes of state without": changes[0],
            "with --skip-still": changes[1],
        }
        rows.append(show(row))
    record(__file__, rows, part="still", notes=f"{name(CELLS[0])}.")


def frames(disturbance: str) -> Iterator[Frame]:
    for number, (_, image) in enumerate(held_still(1, disturbance)):
        yield Frame(image, number, number / FPS, "")


def pieces_of(classifier: Classifier, image: np.ndarray) -> dict[str, Callable[[], object]]:
    """What is timed, each a call without arguments."""
    plain, averaging = Decision(classifier.labels), Decision(classifier.labels, smoothing=5)
    stillness, clock = Stillness(), itertools.count()
    scores = classifier.classify(image).scores
    return {
        "classify": lambda: classifier.classify(image),
        "decision": lambda: plain.update(scores, next(clock) / FPS),
        "decision, smoothing 5": lambda: averaging.update(scores, next(clock) / FPS),
        "stillness": lambda: stillness.shows_nothing_new(image, next(clock) / FPS),
    }


def cost() -> None:
    """What decisions and the comparison of --skip-still take for a frame, beside classifying it."""
    image = demo.draw(50).image
    rows: list[Row] = []
    for path in (model_file(*CELLS[0]), FOREIGN):
        classifier = Classifier(path)
        pieces = pieces_of(classifier, image)
        # In turns, and of each the fastest: these are small against what a busy machine adds.
        seconds = in_turns({name: partial(repeat, piece) for name, piece in pieces.items()}, 40)
        times = {f"{name} (µs)": round(min(seconds[name]) / BLOCK * 1e6, 1) for name in pieces}
        rows.append(show({"file": path.name, "classes": len(classifier.labels), **times}))
    record(__file__, rows, part="cost", notes=f"The fastest of 40 blocks of {BLOCK} frames.")


def repeat(piece: Callable[[], object]) -> None:
    for _ in range(BLOCK):
        piece()


def name(cell: tuple[float, int]) -> str:
    return f"{cell[0]}@{cell[1]} int8"


def main(words: Sequence[str]) -> None:
    parts = {"choose": choose, "report": report, "still": still, "cost": cost}
    if set(words) - set(parts):
        raise SystemExit(f"{' '.join(words)}: the parts are {', '.join(parts)}")
    print(machine())
    for word in words or ("report", "still", "cost"):
        parts[word]()


if __name__ == "__main__":
    main(read_words(__doc__, "PART"))
