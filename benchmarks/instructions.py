"""ARM instructions from a frame to its label, on the processors of a Pi 3, 4 and 5: the same number each time.

    python benchmarks/instructions.py [--result-json FILE] [--markdown FILE] [MODELS...]

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

from common import CELLS, DATA, ROOT, WORK, model_file

from edge_classify.benchmark.candidates import Candidate, read_candidates
from edge_classify.benchmark.tables import as_markdown

BOARDS = {"pi3": "Raspberry Pi 3", "pi4": "Raspberry Pi 4", "pi5": "Raspberry Pi 5"}
PRECISIONS = ("float32", "float16", "dynamic", "int8")
SECTIONS = ("before", "preprocess", "inference", "total")
PACKAGES = ("numpy", "opencv-python-headless", "ai-edge-litert")
MARK = re.compile(r"^insn-mark .* insns=(\d+) simd_fp=(\d+) dot=(\d+)$", re.MULTILINE)

TEXT = """\
# ARM instruction counts

How many instructions a Raspberry Pi executes per inference. Made by `benchmarks/instructions.py` from {count} model
files of Alien vs Predator, under emulation, 64 bits, one thread: {versions}.

- **float32, float16, dynamic, int8**: million instructions per inference.
- **int8: SIMD**, **int8: dot products**: the share of the int8 file's instructions that are SIMD or floating-point
  instructions, and that are int8 dot products.
- **preprocessing**: million instructions to resize a 640×480 frame and convert its colours. **of int8's total**: their
  share of all instructions from frame to label, for the int8 file.

The counts are exactly the same when the same files are run again, and within 0.02 % for other files. They do not depend
on what else the machine is doing.

**The counts show** which of two files is more work for a processor, and how much work special instructions save: a Pi 5
has int8 dot products, a Pi 3 and a Pi 4 have none. They also show changes of one percent in the software.

**They do not show** time. An instruction takes a fraction of a cycle, or waits a hundred for memory. Caches, memory
bandwidth, how many instructions a core starts at once, its clock, heat and threads are not counted. XNNPACK uses
different kernels on each of these processors, even in float32. So of two boards, or two precisions, the one with fewer
instructions need not be faster. For milliseconds, run `edge-benchmark` on the device.

**float16 arithmetic.** XNNPACK computes in float16 on a Pi 5, also for `Interpreter`, if a model file's metadata has
the entry `reduced_precision_support` with `fp16accfp16`; on processors without it, x86-64 included, nothing changes.
Counted on 2026-11-26 with the entry added to float32 files: 3.30 million instructions at 0.35@96 (without 5.85, int8
3.35) and 63.6 at 1.0@224 (without 120.4, int8 49.4). edge-convert does not write it: int8 files take about as many or
fewer, and a file is measured where it is made, in float32, while a Pi 5 would answer otherwise. In float16 files it
moved the answers to photos by up to 0.08, and those of the self-test by 0.02 to 0.12 (0.01 is allowed). Of 25 photos
of Alien vs Predator at 0.35@96 one got another label; with five other files none did, of 20 to 76 pictures each.

**Teaching.** `edge-teach` of 25 photos, 5 of each flower, to an int8 file at 0.5@160, counted on 2026-11-27 by
`benchmarks/count_teaching.py` for a Raspberry Pi 4: 16.5 billion instructions. Starting Python and loading
libraries took 1.5, the base's self-test 0.1, the features of 180 pictures (the photos, three views of each, and 80
synthetic ones) 8.7, of which the network is half; head and `unknown` 0.9; the new file, with its self-test's picture,
4.1; and the learning curve 1.2. Each photo more takes four pictures. 20 of each were not counted: under emulation, on a
busy machine, that took more than the eight minutes that there were. On a Pi 3 and a Pi 5 nothing was counted.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODELS")
    parser.add_argument("--result-json", type=Path, metavar="FILE", help="write every figure as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page docs/arm.md")
    options = parser.parse_args()
    models = options.models or [model_file(*cell, precision) for cell in CELLS for precision in PRECISIONS]
    candidates = read_candidates(models)
    environments, results = {}, []
    for board, (environment, counted) in count_on_boards(candidates).items():
        environments[board] = environment
        results += counted
        print(f"{BOARDS[board]}, {environment['processor']}\n\n{ratios(counted)}\n\n{table(counted)}")
    if options.result_json:
        options.result_json.write_text(json.dumps({"environments": environments, "results": results}, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(page(environments, results))


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


def table(results: list[dict[str, Any]]) -> str:
    """One board's: a row a cell, inference in million instructions a precision, then parts of int8's."""
    columns = ["alpha@resolution", *PRECISIONS, "int8: SIMD", "int8: dot products", "preprocessing", "of int8's total"]
    rows = []
    for cell in sorted({(result["alpha"], result["resolution"]) for result in results}):
        of_cell = {result["precision"]: result for result in results if (result["alpha"], result["resolution"]) == cell}
        rows.append([f"{cell[0]}@{cell[1]}"])
        rows[-1] += [millions(of_cell[name]["inference"]) if name in of_cell else "" for name in PRECISIONS]
        prepared = next(iter(of_cell.values()))["preprocess"]
        int8 = of_cell.get("int8")
        shares = (
            [share(int8["inference"][kind], int8["inference"]) for kind in ("simd", "dot_products")] if int8 else []
        )
        rows[-1] += [*(shares or ("", "")), millions(prepared)]
        rows[-1].append(share(int8["preprocess"]["instructions"], int8["total"]) if int8 else "")
    return as_markdown(columns, rows)


def ratios(results: list[dict[str, Any]]) -> str:
    """What part of float32's instructions the other precisions take, over the cells."""
    counts = {
        (result["alpha"], result["resolution"], result["precision"]): result["inference"]["instructions"]
        for result in results
    }
    parts = []
    for precision in PRECISIONS[1:]:
        of_float32 = [
            number / counts[alpha, resolution, "float32"]
            for (alpha, resolution, name), number in counts.items()
            if name == precision and (alpha, resolution, "float32") in counts
        ]
        if of_float32:
            parts.append(f"{precision} {min(of_float32):.2f} to {max(of_float32):.2f}")
    return f"Relative to float32: {', '.join(parts)}."


def millions(section: dict[str, int]) -> str:
    number = section["instructions"] / 1e6
    return f"{number:.2f}" if number < 10 else f"{number:.1f}"


def share(part: int, section: dict[str, int]) -> str:
    return f"{part / section['instructions']:.0%}"


def page(environments: dict[str, dict[str, Any]], results: list[dict[str, Any]]) -> str:
    """docs/arm.md."""
    first = next(iter(environments.values()))
    versions = (
        f"{first['interpreter']} {first['interpreter_version']}, OpenCV {first['opencv']}, Python {first['python']}"
    )
    parts = [TEXT.format(count=len(results) // len(environments), versions=versions)]
    for board, environment in environments.items():
        of_board = [result for result in results if result["board"] == board]
        parts.append(f"## {BOARDS[board]} ({environment['processor']})\n\n{ratios(of_board)}\n\n{table(of_board)}")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
