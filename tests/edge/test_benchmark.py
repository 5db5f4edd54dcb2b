"""edge-benchmark on real files, never asserting a time; its choices on made-up times."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import ROOT
from edge_classify.benchmark.candidates import Candidate, read_candidates
from edge_classify.benchmark.choice import choose
from edge_classify.benchmark.cli import main
from edge_classify.benchmark.metric import Metric
from edge_classify.benchmark.result import ModelResult
from edge_classify.benchmark.rule import as_accurate_as, best_of, cheapest, choose_for_boards, comparable
from edge_classify.benchmark.statistics import latency_front, model_result
from edge_classify.benchmark.tables import as_markdown, as_text, overview
from edge_classify.benchmark.turns import Block, Length, Turn, plan_rounds
from edge_classify.errors import BudgetError, ModelFileError
from edge_classify.model.answers import Answers, pack
from edge_classify.model.interpreter import BUILTIN_MODEL, load_interpreter, running_operators
from edge_classify.system.checksum import file_sha256
from edge_classify.system.machine import System

P90 = Metric("total", "p90")

# alpha, accuracy and multiply-adds of the folder's files: all are the built-in model, and only say something else.
# 0.5 is measurably the most accurate: it gets all validation photos right that another does, and more.
GRID = {"0.35": (0.8, 10_000_000), "0.5": (0.9, 20_000_000), "0.75": (0.85, 40_000_000)}


def write_model(path: Path, **changes: dict[str, Any]) -> None:
    """The built-in model with other entries in its edge.json: changes of its sections."""
    data = BUILTIN_MODEL.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
        model = data[: min(part.header_offset for part in archive.infolist())]
    contract = json.loads(parts["edge.json"])
    for section, entries in changes.items():
        contract[section] |= entries
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, "a") as archive:
        for name, part in parts.items():
            archive.writestr(name, json.dumps(contract) if name == "edge.json" else part)
    path.write_bytes(file.getvalue())


def first_right(share: float) -> Answers:
    """Of 400 photos, the first ones are answered correctly."""
    return pack("validation", (photo < 400 * share for photo in range(400)))


def make_folder(folder: Path) -> Path:
    """A folder of model files with a manifest."""
    folder.mkdir()
    entries = []
    for alpha, (accuracy, multiply_adds) in GRID.items():
        path = folder / f"mobilenet_v2_{alpha}_96_int8.tflite"
        model = {"alpha": float(alpha), "multiply_adds": multiply_adds}
        evaluation = {"accuracy": accuracy, "accuracy_with_unknown": accuracy, "photos": 200}
        write_model(path, model=model, evaluation=evaluation, decision={"validation": first_right(accuracy).encode()})
        entries.append(
            {
                "file": path.name,
                "sha256": file_sha256(path),
                "bytes": path.stat().st_size,
                "resolution": 96,
                "precision": "int8",
                "parameters": 1,
                "figures": {"photos": 200, "accuracy": accuracy},
                **model,
            }
        )
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": entries}))
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "grid")


@pytest.fixture(scope="module")
def measured(command: Any, files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    """A short run over the folder's files: what it printed, its JSON, and where its files are."""
    folder = tmp_path_factory.mktemp("benchmark")
    done = command(
        "edge-benchmark",
        files / "manifest.json",
        "--num-threads=1,2",
        "--rounds=2",
        "--num-runs=15",
        f"--result-json={folder / 'r.json'}",
        f"--csv={folder / 'r.csv'}",
        f"--markdown={folder / 'r.md'}",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "r.json").read_text()), folder


def test_each_file_has_all_stages_and_statistics_and_its_own_accuracy(
    measured: tuple[str, dict[str, Any], Path],
) -> None:
    _, document, _ = measured
    assert [(result["alpha"], result["num_threads"]) for result in document["results"]] == [
        (float(alpha), threads) for alpha in GRID for threads in (1, 2)
    ]
    for result in document["results"]:
        assert list(result["stages"]) == ["start", "preprocess", "inference", "postprocess", "total"]
        for statistics in result["stages"].values():
            assert list(statistics) == ["mean", "p50", "p90", "p99"]
            assert 0 < statistics["p50"] <= statistics["p90"] <= statistics["p99"]
        assert result["frames"] == 15
        assert len(result["rounds"]) == 2
        assert result["slowest_ms"] >= result["stages"]["total"]["p50"]
        assert result["peak_memory_mb"] > 20
        assert result["frames_per_second"] == pytest.approx(1e3 / result["stages"]["total"]["mean"], rel=0.01)
        assert (result["accuracy"], result["multiply_adds"]) == GRID[str(result["alpha"])]
        assert result["photos"] == 200
        assert result["sha256"] == file_sha256(Path(result["model"]))
        assert result["xnnpack"]["partitions"] >= 1


def test_the_machine_is_described_and_watched(measured: tuple[str, dict[str, Any], Path]) -> None:
    _, document, _ = measured
    environment = document["environment"]
    assert environment["cores"] == os.cpu_count()
    assert environment["kernel"] == os.uname().release
    assert environment["interpreter"] == "ai-edge-litert"
    assert environment["python"] == sys.version.split()[0]
    states = document["watch"]["states"]
    assert [state["when"] for state in states] == ["before", "during", "during", "after"]
    assert all({"clock_mhz", "celsius", "throttled", "throttled_bits"} <= state.keys() for state in states)


def test_table_csv_markdown_and_json_agree(measured: tuple[str, dict[str, Any], Path]) -> None:
    printed, document, folder = measured
    assert printed.splitlines()[-3:] == [f"wrote {folder / name}" for name in ("r.json", "r.csv", "r.md")]
    with (folder / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(document["results"])
    for row, result in zip(rows, document["results"], strict=True):
        assert float(row["inference_p99"]) == result["stages"]["inference"]["p99"]
    markdown = (folder / "r.md").read_text()
    for result in document["results"]:
        if result["num_threads"] == 1:
            name = result["name"].removeprefix("mobilenet_v2_")
            p50 = f"{result['stages']['total']['p50']:.2f}"
            (line,) = [line for line in markdown.splitlines() if line.startswith(f"| {name} |")]
            assert p50 in line
            (line,) = [line for line in printed.splitlines() if line.startswith(f"{name} ")]
            assert p50 in line.split()


def test_a_sustained_run_reports_each_slice_with_the_machine_s_state(command: Any, tmp_path: Path) -> None:
    once = ("--rounds", 1, "--num-runs", 10, "--num-threads", 1)
    done = command("edge-benchmark", BUILTIN_MODEL, *once, "--sustained", "1s", "--result-json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    (sustained,) = json.loads((tmp_path / "r.json").read_text())["sustained"]
    seconds = [part["seconds"] for part in sustained["slices"]]
    assert seconds == sorted(seconds)
    assert len(seconds) == 20
    assert sustained["ratio"] >= 1
    assert all({"clock_mhz", "celsius", "throttled", "stages"} <= part.keys() for part in sustained["slices"])
    assert "times as long as in the fastest slice" in done.stdout


def test_each_round_measures_every_file_in_another_order_and_shares_the_frames() -> None:
    paths = [Path(name) for name in "abcdef"]
    rounds = plan_rounds(paths, [1, 2, 4], 3, Length(frames=50))
    orders = [[planned.path for planned in planned_turns] for planned_turns in rounds]
    assert all(sorted(order) == paths for order in orders)
    assert len(set(map(tuple, orders))) == 3
    # Whatever comes first in a process, it is not always the same number of threads.
    assert [planned_turns[0].threads for planned_turns in rounds] == [[1, 2, 4], [2, 4, 1], [4, 1, 2]]
    assert [planned_turns[0].length.frames for planned_turns in rounds] == [17, 17, 16]
    assert len(plan_rounds(paths, [1], 5, Length(frames=2))) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "the following arguments are required: MODEL"),
        (["gone.tflite"], 4, "gone.tflite: there is no such model file"),
        (["gone.json"], 4, "no gone.json in this folder"),
        ([BUILTIN_MODEL, "--num_threads", 2], 2, "unrecognized arguments: --num_threads 2"),
        (
            [BUILTIN_MODEL, "--num-threads", "2,0"],
            2,
            "--num-threads: expected a whole number, several such as 1,2,4, or auto",
        ),
        ([BUILTIN_MODEL, "--rounds", 0], 2, "--rounds: expected a whole number, 1 or more, found '0'"),
        ([BUILTIN_MODEL, "--csv", "/"], 2, "--csv: expected a file name, but / is a folder"),
        ([BUILTIN_MODEL, "--metric", "total.p90"], 2, "--metric needs --budget-ms"),
        ([BUILTIN_MODEL, "--budget-ms", 0], 2, "--budget-ms: expected a number, more than 0, found '0'"),
        ([BUILTIN_MODEL, "--budget-ms", 5, "--metric", "total.p95"], 2, "--metric: expected STAGE.STATISTIC such as"),
        ([BUILTIN_MODEL, "--budget-ms", 5, "--num-threads", "1,2"], 2, "--budget-ms needs a single number of threads"),
        ([BUILTIN_MODEL, "--budget-ms", 5, "--input-size", 64], 2, "--input-size cannot be used with --budget-ms"),
        ([BUILTIN_MODEL, "--csv", "gone/x.csv"], 2, "--csv: there is no folder gone to write x.csv into"),
        ([BUILTIN_MODEL, "--labels", "gone.txt"], 6, "gone.txt: labels cannot be read"),
        ([BUILTIN_MODEL, "--budget-ms", 5, "--csv", "x"], 2, "--csv cannot be used with --budget-ms"),
        ([BUILTIN_MODEL, "--budget-ms", "0.001"], 8, "no model file has a total.p90 of at most 0.001 ms"),
    ],
)
def test_an_error_is_one_line_and_has_its_exit_code(
    capsys: pytest.CaptureFixture[str], arguments: list[object], code: int, message: str
) -> None:
    try:
        found = main([str(argument) for argument in arguments])
    except SystemExit as exit_:  # argparse's own
        found = int(exit_.code or 0)
    assert found == code
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in error


def test_a_file_that_fails_its_self_test_ends_it_with_that_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with zipfile.ZipFile(BUILTIN_MODEL) as archive:
        scores = json.loads(archive.read("edge.json"))["test_card"]["scores"]
    write_model(tmp_path / "broken.tflite", test_card={"scores": scores[::-1]})
    assert main([str(tmp_path / "broken.tflite")]) == 5
    assert "error: " in capsys.readouterr().err


def test_one_unusable_file_does_not_end_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_model(tmp_path / "a.tflite")
    with zipfile.ZipFile(BUILTIN_MODEL) as archive:
        scores = json.loads(archive.read("edge.json"))["test_card"]["scores"]
    write_model(tmp_path / "broken.tflite", test_card={"scores": scores[::-1]})
    (tmp_path / "empty.tflite").write_bytes(b"")
    assert main([str(tmp_path), "--rounds", "2", "--num-runs", "4", "--num-threads", "1"]) == 4
    printed = capsys.readouterr()
    assert "\na " in printed.out
    assert "2 of 3 files left out" in printed.err
    assert "empty.tflite: not a TFLite model" in caplog.text + printed.err
    assert main([str(tmp_path), "--budget-ms", "1000", "--num-runs", "4"]) == 0
    assert "/a.tflite: 98.0% of 12000 held-out photos correct" in capsys.readouterr().out


def test_a_file_of_others_is_measured_with_what_it_does_not_say_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    cases = ROOT / "tests" / "cases" / "models"
    (tmp_path / "labels.txt").write_text("off\non\n")
    short = ["--rounds", "2", "--num-runs", "4", "--num-threads", "1"]
    assert main([str(cases / "one_sigmoid.tflite"), "--labels", str(tmp_path / "labels.txt"), *short]) == 0
    assert "\none_sigmoid " in capsys.readouterr().out
    # What is assumed is said once, as by edge-classify: a time is that of an input's size.
    assert main([str(cases / "dynamic_hw.tflite"), *short]) == 0
    assert (caplog.text + capsys.readouterr().err).count("assuming 224x224") == 1
    caplog.clear()
    assert main([str(cases / "dynamic_hw.tflite"), "--input-size", "64", *short]) == 0
    assert "assuming" not in caplog.text + capsys.readouterr().err


def test_an_unusable_file_is_left_out_of_a_choice() -> None:
    def measure(file: Candidate) -> Turn:
        if file.path.stem == "bad":
            raise ModelFileError("bad.tflite: damaged")
        return turn(5)

    files = [candidate("good", 0.8, 100), candidate("bad", 0.9, 100)]
    assert choose(files, Metric("total", "p90"), 10, measure).candidate == files[0]
    with pytest.raises(ModelFileError, match="damaged"):
        choose(files[1:], Metric("total", "p90"), 10, measure)


def test_a_file_that_is_not_the_one_in_its_manifest_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "models")
    first, second, *_ = sorted(folder.glob("*.tflite"))
    first.write_bytes(second.read_bytes())
    with pytest.raises(ModelFileError, match=r"0\.35_96_int8\.tflite: not the file that the manifest lists"):
        read_candidates([folder / "manifest.json"])


def test_ctrl_c_ends_it_and_its_process() -> None:
    program = str(Path(sys.executable).with_name("edge-benchmark"))
    process = subprocess.Popen(
        [program, str(BUILTIN_MODEL), "--verbose", "--rounds", "10000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert rest.endswith("stopped\n")
    assert "Traceback" not in rest
    deadline = time.monotonic() + 60
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(process.pid)


def alive(group: int) -> list[str]:
    """The group's processes; one that has ended and was not yet asked for its exit code is not alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # gone meanwhile
            continue
        if int(of_group) == group and state != "Z":
            found.append(path.parent.name)
    return found


def test_measuring_needs_nothing_of_the_desktop() -> None:
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'matplotlib', 'tqdm', 'edge_train', 'edge_convert'):\n"
        "    sys.modules[name] = None\n"
        "from edge_classify.benchmark.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", code, str(BUILTIN_MODEL), "--rounds", "1", "--num-runs", "10"]
    subprocess.run(words, check=True, timeout=120, capture_output=True)


def test_xnnpack_takes_the_built_in_model_as_one_partition() -> None:
    running = running_operators(load_interpreter(BUILTIN_MODEL))
    assert running is not None
    assert running.count("DELEGATE") == 1
    assert "CONV_2D" not in running


# Choices, on made-up times.


def turn(milliseconds: float, start: float = 100.0) -> Turn:
    frames = np.tile([0.1 * milliseconds, 0.85 * milliseconds, 0.05 * milliseconds], (20, 1))
    return Turn((Block(1, frames),), start, 0, None)


def candidate(
    name: str,
    accuracy: float | None,
    multiply_adds: int,
    precision: str = "int8",
    validation: Answers | None = None,
) -> Candidate:
    return Candidate(
        path=Path(f"{name}.tflite"),
        sha256=name,
        bytes=multiply_adds // 10 + (1000 if precision == "float32" else 0),
        alpha=1.0,
        resolution=96,
        precision=precision,
        multiply_adds=multiply_adds,
        accuracy=accuracy,
        photos=200,
        labels=("cup", "unknown"),
        data_fingerprint="photos",
        validation=validation,
    )


def grid(*, paired: bool = True) -> dict[Candidate, float]:
    """20 cells in two precisions, and the time of each: in float32 the double."""
    rng = np.random.default_rng(1)
    # Some photos are hard for all cells.
    difficulty = rng.uniform(0, 1, 600)
    times = {}
    for number in range(20):
        adds = int(5e6 * 1.3**number)
        share = 0.8 + (0.004 if paired else 0.008) * number
        validation = pack("validation", difficulty + rng.normal(0, 0.03, 600) < share) if paired else None
        for precision, factor in (("int8", 1), ("float32", 2)):
            file = candidate(f"{number} {precision}", float(share + rng.normal(0, 0.01)), adds, precision, validation)
            times[file] = factor * adds / 1e6 * float(rng.uniform(0.95, 1.05))
    return times


@pytest.mark.parametrize("paired", [True, False])
def test_the_rule_s_file_is_found_in_a_third_of_the_turns(*, paired: bool) -> None:
    times = grid(paired=paired)
    rivals = []
    for budget in np.geomspace(min(times.values()) * 1.01, max(times.values()) * 1.01, 25).tolist():
        taken: list[Candidate] = []

        def measure(file: Candidate, taken: list[Candidate] = taken) -> Turn:
            taken.append(file)
            return turn(times[file])

        choice = choose(list(times), P90, budget, measure)
        fitting = [file for file in times if times[file] <= budget]
        as_accurate = as_accurate_as(best_of(fitting), fitting)
        assert choice.candidate == cheapest(as_accurate, times.__getitem__, lambda file: file.bytes)
        assert len(taken) <= 5 * len(times) / 3
        assert choice.measured[choice.candidate].turns >= 3
        assert set(choice.skipped) == set(times) - set(taken)
        rivals.append(len(as_accurate))
    assert max(rivals) > 4 if paired else max(rivals) == 1, rivals


def test_one_disturbed_turn_does_not_rule_a_file_out() -> None:
    quick, slow = candidate("quick", 0.8, 10), candidate("slow", 0.9, 20)
    turns = iter([30.0, 9.0, 9.1, 9.0, 9.0, 9.0])
    choice = choose([quick, slow], P90, 10, lambda file: turn(next(turns) if file is slow else 5.0))
    assert choice.candidate == slow


def test_a_file_fits_with_the_fewest_threads_that_are_nearly_as_fast_as_the_best() -> None:
    small, large = candidate("small", 0.8, 10), candidate("large", 0.9, 20)
    times = {small: {1: 8.0, 2: 7.9, 4: 7.8}, large: {1: 16.0, 2: 8.5, 4: 8.2}}

    def measure(file: Candidate) -> Turn:
        blocks = (Block(count, turn(time).blocks[0].frames) for count, time in times[file].items())
        return Turn(tuple(blocks), 100.0, 0, None)

    choice = choose([small, large], P90, 10, measure)
    assert choice.candidate == large
    assert str(choice.measured[large].threads).startswith("2 threads (auto: an inference takes 13.6 ms with 1, ")
    assert choice.measured[large].value_ms == pytest.approx(8.5)


def test_if_none_fits_the_fastest_is_named() -> None:
    times = grid()
    fastest = min(times, key=lambda file: times[file])
    with pytest.raises(BudgetError, match=rf"the fastest one measured, {fastest.path}, takes"):
        choose(list(times), P90, min(times.values()) / 2, lambda file: turn(times[file]))


def test_only_files_for_the_same_classes_are_compared(caplog: pytest.LogCaptureFixture) -> None:
    known, silent = candidate("known", 0.9, 1), candidate("silent", None, 1)
    assert comparable([known, silent]) == [known]
    assert "silent.tflite: ignored, because it does not say how accurate it is" in caplog.text
    with pytest.raises(ModelFileError, match="its labels differ from those of"):
        comparable([known, read_candidates([BUILTIN_MODEL])[0]])


def test_edge_classify_chooses_once_for_these_files(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = make_folder(tmp_path / "models")

    def classify(folder: Path, *arguments: object) -> tuple[str, bool]:
        """The model that was used, which is said with the reason, and whether it was chosen anew."""
        options = ("--camera", "demo", "--count", 1, "--json", "--models", folder, "--budget-ms", 60_000)
        done = command("edge-classify", *options, "--num-threads", 1, *arguments)
        assert done.returncode == 0, done.stderr
        model = json.loads(done.stdout.splitlines()[0])["model"]
        assert re.search(f"tak(e|ing) {model}, ", done.stderr)
        assert "no other file within 60000 ms is as accurate" in done.stderr
        return model, "choosing from" in done.stderr

    best = "mobilenet_v2_0.5_96_int8"
    assert classify(folder) == (best, True)
    assert classify(folder) == (best, False)
    moved = folder.rename(tmp_path / "moved")
    other, another = (moved / f"mobilenet_v2_{alpha}_96_int8.tflite" for alpha in ("0.35", "0.75"))
    other.touch()
    assert classify(moved) == (best, False)
    assert classify(moved, "--metric", "inference.mean") == (best, True)
    other.write_bytes(another.read_bytes())
    assert classify(moved) == (best, True)


def test_the_choice_is_written_with_what_was_measured(
    capsys: pytest.CaptureFixture[str], files: Path, tmp_path: Path
) -> None:
    assert main([str(files), "--budget-ms", "60000", "--result-json", str(tmp_path / "r.json")]) == 0
    assert "below the budget of 60000 ms" in capsys.readouterr().out
    document = json.loads((tmp_path / "r.json").read_text())
    choice = document["choice"]
    assert Path(choice["model"]) == files / "mobilenet_v2_0.5_96_int8.tflite"
    assert choice["margin_ms"] == pytest.approx(60_000 - choice["value_ms"], abs=0.001)
    assert {result["name"] for result in document["results"]} == {file["name"] for file in choice["measured"]}
    assert len(choice["measured"]) + len(choice["not_measured"]) == len(GRID)


@pytest.mark.parametrize("arguments", [("--models", "m"), ("--budget-ms", 3), ("--model", "x", "--models", "m")])
def test_edge_classify_wants_models_and_budget_together(command: Any, arguments: tuple[object, ...]) -> None:
    done = command("edge-classify", "--camera", "demo", *arguments)
    assert done.returncode == 2
    assert "--models" in done.stderr
    assert "--budget-ms" in done.stderr


# Tables, of made-up times.


def made_result(name: str, accuracy: float | None, milliseconds: float) -> ModelResult:
    file = replace(candidate(name, accuracy, 1), path=BUILTIN_MODEL)
    result = model_result(file, 1, [turn(milliseconds)])
    result["name"] = result["model"] = name
    return result


def test_the_front_leaves_out_files_that_do_not_say_how_accurate_they_are() -> None:
    results = [made_result("a", 0.8, 5), made_result("b", 0.9, 9), made_result("c", None, 1), made_result("d", 0.7, 6)]
    assert [result["name"] for result in latency_front(results)] == ["a", "b"]
    _, rows = overview(results)
    assert [row[:2] for row in rows] == [["a", "*"], ["b", "*"], ["c", ""], ["d", ""]]


def test_a_table_of_our_own_files_fits_a_terminal_of_100_columns() -> None:
    names = [f"mobilenet_v2_{cell}_float32" for cell in ("0.35_96", "1.0_224")]
    results = [made_result(name, 0.9, 12.3) for name in names]
    headings, rows = overview([*results, *({**result, "num_threads": 2} for result in results)])
    text = as_text(headings, rows)
    assert max(map(len, text.splitlines())) <= 100
    assert "1.0_224_float32" in text
    assert as_markdown(headings, rows).startswith("| mobilenet_v2_… |  | accuracy % | start | preprocess | inference |")


# Other machines.

PI = """processor\t: 0
Features\t: fp asimd evtstrm crc32 cpuid asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""


def test_a_pi_s_processor_clock_and_load_are_read(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": PI,
        "proc/stat": "cpu  100 20 30 4000 50 6 7 80 0 0\ncpu0 1 2 3\n",
        "proc/self/status": "Name:\tpython\nVmHWM:\t   51200 kB\n",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1500000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    system = System(root=tmp_path)
    assert system.processor() == "Cortex-A76"
    assert system.features() == ["asimd", "asimddp", "asimdhp"]
    assert system.clocks_mhz() == [1500]
    assert system.governor() == "ondemand"
    assert system.peak_memory() == 50 * 2**20
    tick = os.sysconf("SC_CLK_TCK")
    assert system.processor_time() == pytest.approx(((100 + 20 + 30 + 6 + 7) / tick, 80 / tick))
    bare = System(root=tmp_path / "nothing")
    assert (bare.processor(), bare.features(), bare.clocks_mhz(), bare.processor_time()) == (None, [], [], None)


def test_every_place_takes_the_same_file_of_one_folder(
    command: Any, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one precision, one cell is measurably the best: neither the time nor the board matters."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    best = "mobilenet_v2_0.5_96_int8"
    assert {choice.candidate.name for choice in choose_for_boards(comparable(read_candidates([files])))} == {best}
    once = ("--rounds", 1, "--num-runs", 10, "--num-threads", 1)
    benchmark = command("edge-benchmark", files, *once)
    within = command("edge-benchmark", files, "--budget-ms", 60_000, "--num-runs", 10)
    live = ("--camera", "demo", "--count", 1, "--models", files, "--budget-ms", 60_000)
    classify = command("edge-classify", *live)
    for done, said in ((benchmark, benchmark.stdout), (within, within.stdout), (classify, classify.stderr)):
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in said.splitlines() if re.match("tak(e|ing) mobilenet", line)]
        assert re.match(f"tak(e|ing) {best}, 90.0% among the classes in validation: no other file", line)
