"""ARM instructions from a frame to its label, on the processors of a Pi 3, 4 and 5: the same number each time.

    python benchmarks/instructions.py [--result-json FILE] [MODELS...]

MODELS are model files, folders of them or manifests; without any, all precisions of three cells of Alien vs Predator.
They run under qemu in a Debian for ARM that `tools/mkpi.sh` of the shared data makes (once, in build/benchmarks), one
thread, and a plugin counts. Counted are preparing a frame of 640×480, inference, and the two with all around them;
the share of SIMD and floating-point instructions, and of int8 dot products. It needs root, qemu-user and gcc.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import CELLS, DATA, ROOT, WORK, Row, model_file, record, show

from edge_classify.benchmark.candidates import Candidate, read_candidates

BOARDS = {"pi3": "Raspberry Pi 3", "pi4": "Raspberry Pi 4", "pi5": "Raspberry Pi 5"}
PRECISIONS = ("float32", "float16", "dynamic", "int8")
SECTIONS = ("before", "preprocess", "inference", "total")
PACKAGES = ("numpy", "opencv-python-headless", "ai-edge-litert")
MARK = re.compile(r"^insn-mark .* insns=(\d+) simd_fp=(\d+) dot=(\d+)$", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODELS")
    parser.add_argument("--result-json", type=Path, metavar="FILE", help="write every figure as JSON")
    options = parser.parse_args()
    models = options.models or [model_file(*cell, precision) for cell in CELLS for precision in PRECISIONS]
    candidates = read_candidates(models)
    counts = count_on_boards(candidates)
    environments = {board: environment for board, (environment, _) in counts.items()}
    results = [result for _, counted in counts.values() for result in counted]
    first = next(iter(environments.values()))
    processors = ", ".join(environment["processor"] for environment in environments.values())
    versions = f"{first['interpreter']} {first['interpreter_version']}, OpenCV {first['opencv']}"
    rows = [show(row_of(result)) for result in results]
    record(__file__, rows, notes=f"Emulated: {processors}; {versions}, Python {first['python']}.")
    if options.result_json:
        options.result_json.write_text(json.dumps({"environments": environments, "results": results}, indent=1) + "\n")


def arm_root() -> Path:
    """A folder with Bookworm for ARM and what our device side needs, in the versions of constraints.txt."""
    folder = WORK / "arm"
    if not (folder / ".installed").exists():
        pins = [line for line in (ROOT / "constraints.txt").read_text().split() if line.split("==")[0] in PACKAGES]
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([DATA / "tools" / "mkpi.sh", "-s", "bookworm", folder, *pins], check=True)
        (folder / ".installed").touch()
    return folder


def count_on_boards(candidates: list[Candidate]) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """`count` of every board: what else the machine does does not show, so two at once."""
    root = arm_root()
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(BOARDS, pool.map(lambda board: count(root, board, candidates), BOARDS), strict=True))


def count(root: Path, board: str, candidates: list[Candidate]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The machine that a board's emulator shows, and each file's figures on it."""
    script = Path(__file__).with_name("count_instructions.py")
    # Without a copy: a path that is not below the ARM system's folder is this machine's.
    paths = [candidate.path.resolve() for candidate in candidates]
    words = [DATA / "tools" / "piinsn.sh", "-b", board, root, script, ROOT / "edge", *paths]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{BOARDS[board]}: {done.stderr[-2000:]}")
    marks = [tuple(map(int, mark)) for mark in MARK.findall(done.stderr)]
    each, rest = divmod(len(marks), len(candidates))
    assert rest == 0, f"{len(marks)} marks of {len(candidates)} files"
    results = []
    for number, candidate in enumerate(candidates):
        last_round = marks[number * each : (number + 1) * each][-len(SECTIONS) :]
        results.append(
            {
                "board": board,
                "model": candidate.name,
                "alpha": candidate.alpha,
                "resolution": candidate.resolution,
                "precision": candidate.precision,
                "sha256": candidate.sha256,
                **{
                    name: dict(zip(("instructions", "simd", "dot_products"), figures, strict=True))
                    for name, figures in zip(SECTIONS[1:], last_round[1:], strict=True)
                },
            }
        )
    return json.loads(done.stdout), results


def row_of(result: dict[str, Any]) -> Row:
    int8 = result["precision"] == "int8"
    inference, prepared = result["inference"], result["preprocess"]
    return {
        "board": BOARDS[result["board"]],
        "cell": f"{result['alpha']}@{result['resolution']}",
        "precision": result["precision"],
        "instructions (million)": float(millions(inference)),
        "SIMD (%)": share(inference["simd"], inference) if int8 else None,
        "int8 dot products (%)": share(inference["dot_products"], inference) if int8 else None,
        "preprocessing (million)": float(millions(prepared)),
        "preprocessing, of all (%)": share(prepared["instructions"], result["total"]) if int8 else None,
    }


def millions(section: dict[str, int]) -> str:
    number = section["instructions"] / 1e6
    return f"{number:.2f}" if number < 10 else f"{number:.1f}"


def share(part: int, section: dict[str, int]) -> int:
    """Percent."""
    return round(100 * part / section["instructions"])


if __name__ == "__main__":
    main()
