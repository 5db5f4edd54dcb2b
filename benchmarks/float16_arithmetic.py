"""float16 arithmetic on a Raspberry Pi 5: what it would save, and how far it would move the answers.

    python benchmarks/float16_arithmetic.py [CELL...]     such as 0.35@96; without any, 0.35@96 and 1.0@224

XNNPACK computes in float16, where the processor can, if a model file's metadata asks for it. edge-convert does not
write that entry; this program adds it to copies of float16 files of Alien vs Predator. Both run under qemu as on a
Cortex-A76: instructions are counted as instructions.py does it, and the probabilities of photos of the classes and of
flowers are compared. It needs root, qemu-user and gcc.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from common import DATA, FLOWERS, PHOTOS, Row, model_file, read_words, record, show
from instructions import arm_root, count, millions

from edge_classify import read_photo
from edge_classify.benchmark.candidates import read_candidates
from edge_classify.images.preprocessing import preprocess
from edge_classify.model.model_file import CONTRACT_PART
from edge_classify.model.parts import attach

BOARD = "pi5"
SCRIPT = "answer_pictures.py"
CELLS = ("0.35@96", "1.0@224")
PICTURES = {"photos of the classes": (PHOTOS / "validation", 8), "flowers": (FLOWERS, 12)}
# What LiteRT looks for, and: values and sums in float16.
ENTRY = (b"reduced_precision_support", b"fp16accfp16")
# For the self-test: float16 arithmetic moves the recorded scores by more than the 0.01 of float16 files.
TOLERANCE = 0.2


def with_entry(model: bytes) -> bytes:
    """The model file with the metadata entry; the checksum in its contract is made anew."""
    archive = zipfile.ZipFile(io.BytesIO(model))
    parts = {name: archive.read(name) for name in archive.namelist()}
    parsed = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, buffer.data = ENTRY
    entry.buffer = len(parsed.buffers)
    parsed.buffers.append(buffer)
    parsed.metadata.append(entry)
    changed = bytes(flatbuffer_utils.convert_object_to_bytearray(parsed))
    contract = json.loads(parts[CONTRACT_PART])
    contract["model"]["crc32"] = zlib.crc32(changed)
    contract["test_card"]["score_tolerance"] = TOLERANCE
    return attach(changed, {**parts, CONTRACT_PART: json.dumps(contract).encode()})


def read_pictures(resolution: int) -> dict[str, np.ndarray]:
    """Prepared pictures, uint8 RGB [n, R, R, 3]."""
    shape = (resolution, resolution, 3)
    return {
        title: np.stack([preprocess(read_photo(path), np.empty(shape, np.uint8)) for path in chosen])
        for title, (folder, step) in PICTURES.items()
        for chosen in [sorted(folder.rglob("*.jpg"))[::step]]
    }


def answer_on_board(root: Path, models: list[Path], pictures: np.ndarray) -> list[np.ndarray]:
    """The probabilities that each model gives there, float32 [n, labels]."""
    with tempfile.TemporaryDirectory() as name:
        share = Path(name)
        shutil.copy(Path(__file__).with_name(SCRIPT), share)
        np.save(share / "pictures.npy", pictures)
        for number, model in enumerate(models):
            shutil.copy(model, share / f"{number}.tflite")
        words = [
            DATA / "tools" / "pirun.sh",
            "-b",
            BOARD,
            "-s",
            share,
            root,
            "python",
            f"/mnt/share/{SCRIPT}",
        ]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        return [np.load(share / f"{number}.npy") for number in range(len(models))]


def main(cells: list[str]) -> None:
    root = arm_root()
    counted_rows: list[Row] = []
    moved_rows: list[Row] = []
    for cell in cells or CELLS:
        alpha, resolution = cell.split("@")
        files = {name: model_file(float(alpha), int(resolution), name) for name in ("float32", "float16", "int8")}
        with tempfile.TemporaryDirectory() as folder:
            changed = Path(folder) / f"{files['float16'].stem}_arithmetic.tflite"
            changed.write_bytes(with_entry(files["float16"].read_bytes()))
            _, counts = count(root, BOARD, read_candidates([*files.values(), changed]))
            for counted in counts:
                million = float(millions(counted["inference"]))
                counted_rows.append(show({"file": counted["model"], "instructions (million)": million}))
            for title, pictures in read_pictures(int(resolution)).items():
                before, after = answer_on_board(root, [files["float16"], changed], pictures)
                moved = np.abs(before - after).max(axis=1)
                row: Row = {
                    "cell": cell,
                    "pictures": f"{len(pictures)} {title}",
                    "a probability moves by, mean": round(float(moved.mean()), 4),
                    "at most": round(float(moved.max()), 3),
                    "keep their label": int((before.argmax(axis=1) == after.argmax(axis=1)).sum()),
                }
                moved_rows.append(show(row))
    record(__file__, counted_rows, part="instructions")
    record(__file__, moved_rows, part="answers")


if __name__ == "__main__":
    main(read_words(__doc__, "CELL"))
