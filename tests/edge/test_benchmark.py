"""edge-benchmark on real files, never asserting a time; its choices and comparisons on made-up times."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_classify.benchmark import turns as turns_module
from edge_classify.benchmark.candidates import Candidate, read_candidates
from edge_classify.benchmark.choice import choose, comparable
from edge_classify.benchmark.comparison import compare
from edge_classify.benchmark.statistics import Metric, latency_front, stage_figures
from edge_classify.benchmark.turns import Block, Length, Turn, take_turns
from edge_classify.errors import BudgetError, ComparisonError, ModelFileError
from edge_classify.model.interpreter import BUILTIN_MODEL, load_interpreter, running_operators
from edge_classify.model.model_file import read_model_file
from edge_classify.system.machine import System

P90, P50 = Metric("total", "p90"), Metric("total", "p50")


@pytest.fixture(scope="module")
def measured(command: Any, models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    """A short run over the drawn photos' files: what it printed, its JSON, and where its files are."""
    folder = tmp_path_factory.mktemp("benchmark")
    done = command(
        *("edge-benchmark", models / "manifest.json", "--num_threads", "1,2", "--rounds", 3, "--num_runs", 31),
        *("--result_json", folder / "r.json", "--csv", folder / "r.csv"),
        *("--markdown", folder / "r.md", "--plot", folder / "r.png"),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "r.json").read_text()), folder


def test_each_file_has_all_stages_and_statistics_and_its_own_accuracy(
    measured: tuple[str, dict[str, Any], Path], models: Path
) -> None:
    _, document, _ = measured
    files = sorted(path.stem for path in models.glob("*.tflite"))
    found = [(one["name"], one["num_threads"]) for one in document["results"]]
    assert sorted(found) == sorted((name, threads) for name in files for threads in (1, 2))
    for one in document["results"]:
        assert list(one["stages"]) == ["start", "preprocess", "inference", "postprocess", "total"]
        for figures in one["stages"].values():
            assert list(figures) == ["mean", "p50", "p90", "p99"]
            assert 0 < figures["p50"] <= figures["p90"] <= figures["p99"]
        assert one["latency"]["num_runs"] == 31
        assert len(one["rounds"]) == 3
        assert one["peak_memory_mb"] > 20
        assert one["frames_per_second"] == pytest.approx(1e3 / one["stages"]["total"]["mean"], rel=0.01)
        contract = read_model_file(one["model"]).contract
        assert contract is not None
        assert one["accuracy"] == contract["evaluation"]["accuracy"]
        assert one["multiply_adds"] == contract["model"]["multiply_adds"]
        assert one["xnnpack"]["partitions"] >= 1


def test_the_environment_is_told_before_during_and_after(measured: tuple[str, dict[str, Any], Path]) -> None:
    _, document, _ = measured
    environment = document["environment"]
    assert environment["cores"] == os.cpu_count()
    assert environment["kernel"] == os.uname().release
    assert environment["interpreter"] == "ai-edge-litert"
    assert environment["python"] == sys.version.split()[0]
    assert {"device", "processor", "features", "word_bits", "governor", "interpreter_version"} <= environment.keys()
    states = document["watch"]["states"]
    whens = [state["when"] for state in states]
    assert whens[0] == "before"
    assert whens[-1] == "after"
    assert whens.count("during") >= 3
    assert all({"clock_mhz", "celsius", "throttled", "throttled_bits"} <= state.keys() for state in states)


def test_the_table_the_csv_and_the_markdown_tell_the_same(measured: tuple[str, dict[str, Any], Path]) -> None:
    printed, document, folder = measured
    with (folder / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(document["results"])
    for row, one in zip(rows, document["results"], strict=True):
        assert float(row["inference_p99"]) == one["stages"]["inference"]["p99"]
    markdown = (folder / "r.md").read_text()
    for one in document["results"]:
        if one["num_threads"] == 1:
            (line,) = [line for line in markdown.splitlines() if line.startswith(f"| {one['name']} |")]
            p50 = f"{one['stages']['total']['p50']:.2f}"
            assert p50 in line
            (line,) = [line for line in printed.splitlines() if line.startswith(f"{one['name']} ") and "," not in line]
            assert p50 in line.split()
    assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")


def test_sustained_tells_each_slice_with_the_machine_s_state(command: Any, tmp_path: Path) -> None:
    once = ("--rounds", 1, "--num_runs", 10, "--num_threads", 1)
    done = command("edge-benchmark", BUILTIN_MODEL, *once, "--sustained", "1s", "--result_json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads((tmp_path / "r.json").read_text())["sustained"]
    seconds = [piece["seconds"] for piece in told["slices"]]
    assert seconds == sorted(seconds)
    assert len(seconds) == 20
    assert told["ratio"] >= 1
    assert all({"clock_mhz", "celsius", "throttled", "stages"} <= piece.keys() for piece in told["slices"])
    assert "of its fastest slice's time" in done.stdout


def test_litert_benchmark_s_flags_and_keys_are_ours_too(command: Any, tmp_path: Path) -> None:
    flags = ("--model", BUILTIN_MODEL, "--num_runs", 12, "--warmup_runs", 3, "--num_threads", 2, "--use_cpu")
    results = {}
    for program in ("litert-benchmark", "edge-benchmark"):
        if not Path(sys.executable).with_name(program).exists():
            pytest.skip(f"{program} is not installed here")
        rounds = ("--rounds", 1) if program == "edge-benchmark" else ()
        done = command(program, *flags, *rounds, "--result_json", tmp_path / program)
        assert done.returncode == 0, done.stderr
        results[program] = json.loads((tmp_path / program).read_text())
    theirs, ours = results["litert-benchmark"], results["edge-benchmark"]
    assert theirs.keys() <= ours.keys()
    assert theirs["latency"].keys() <= ours["latency"].keys()
    same = ("model", "model_size_mb", "accelerators", "num_threads", "fully_accelerated")
    assert {key: theirs[key] for key in same} == {key: ours[key] for key in same}
    counts = ("num_runs", "num_warmup_runs")
    assert [theirs["latency"][key] for key in counts] == [ours["latency"][key] for key in counts] == [12, 3]


def test_every_round_has_all_files_in_another_order_and_threads_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, list[int], int | None]] = []

    def take(path: Path, threads: list[int], length: Length) -> Turn:
        seen.append((path.name, threads, length.frames))
        return turn(1.0)

    monkeypatch.setattr(turns_module, "take_turn", take)
    names = list("abcdef")
    taken = take_turns([Path(name) for name in names], [1, 2, 4], 3, Length(frames=50))
    rounds = [seen[start : start + 6] for start in (0, 6, 12)]
    assert all(sorted(name for name, _, _ in one) == names for one in rounds)
    assert len({tuple(name for name, _, _ in one) for one in rounds}) == 3
    assert [one[0][1] for one in rounds] == [[1, 2, 4], [2, 4, 1], [4, 1, 2]]
    assert [one[0][2] for one in rounds] == [17, 17, 16]
    assert all(len(turns) == 3 for turns in taken.values())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no model file"),
        (["gone.tflite"], 4, "gone.tflite: there is no such model file"),
        ([BUILTIN_MODEL, "--use_gpu"], 2, "ask litert-benchmark"),
        ([BUILTIN_MODEL, "--rounds", 0], 2, "--rounds is 0: it must be at least 1"),
        ([BUILTIN_MODEL, "--budget-ms", 0], 2, "the budget is 0 ms: it must be above 0"),
        ([BUILTIN_MODEL, "--budget-ms", 5, "--metric", "total.p95"], 2, "total.p95: no such metric"),
        ([BUILTIN_MODEL, "--budget-ms", "0.001"], 8, "no model file fits total.p90 of 0.001 ms here"),
        (["--compare", "gone.json", "gone.json"], 6, "gone.json: No such file"),
    ],
)
def test_an_error_is_one_line_and_has_its_exit_code(
    command: Any, arguments: list[object], code: int, message: str
) -> None:
    done = command("edge-benchmark", *arguments)
    assert done.returncode == code
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in error
    assert "Traceback" not in done.stderr


def test_a_file_that_fails_its_self_test_ends_it_with_that_error(command: Any, tmp_path: Path) -> None:
    from test_model_file import parts_of, rebuild

    whole = BUILTIN_MODEL.read_bytes()
    contract = json.loads(parts_of(whole)[1]["edge.json"])
    contract["test_card"]["scores"] = contract["test_card"]["scores"][::-1]
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(rebuild(whole, edge=json.dumps(contract).encode()))
    done = command("edge-benchmark", broken)
    assert done.returncode == 5
    assert "error: " in done.stderr
    assert "does not give the probabilities recorded in it" in done.stderr


def test_a_manifest_s_file_with_other_bytes_is_refused(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    first, second, *_ = sorted((tmp_path / "models").glob("*.tflite"))
    shutil.copy(second, first)
    with pytest.raises(ModelFileError, match="not those that the manifest tells of"):
        read_candidates([tmp_path / "models" / "manifest.json"])


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
    rest = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert rest.endswith("stopped\n")
    assert "Traceback" not in rest
    deadline = time.monotonic() + 30
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
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


def test_plot_without_matplotlib_says_so_before_measuring() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; from edge_classify.benchmark.cli import main; sys.exit(main())"
    )
    words = [sys.executable, "-c", code, str(BUILTIN_MODEL), "--plot", "x.png"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --plot needs matplotlib: pip install 'edge-classify[plot]'")
    assert not done.stdout


def test_measuring_needs_nothing_of_the_desktop() -> None:
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'matplotlib', 'tqdm', 'flatbuffers', 'edge_train', 'edge_convert'):\n"
        "    sys.modules[name] = None\n"
        "from edge_classify.benchmark.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", code, str(BUILTIN_MODEL), "--rounds", "1", "--num_runs", "10"]
    subprocess.run(words, check=True, timeout=60, capture_output=True)


def test_xnnpack_takes_the_built_in_model_as_one_partition() -> None:
    running = running_operators(load_interpreter(BUILTIN_MODEL))
    assert running is not None
    assert running.count("DELEGATE") == 1
    assert "CONV_2D" not in running


# Choices, on made-up times.


def turn(milliseconds: float, start: float = 100.0) -> Turn:
    frames = np.tile([0.1 * milliseconds, 0.85 * milliseconds, 0.05 * milliseconds], (20, 1))
    return Turn((Block(1, frames[:2], frames),), start, 0, 1.0, 1, "", None)


def candidate(name: str, accuracy: float | None, multiply_adds: int, precision: str = "int8") -> Candidate:
    return Candidate(
        path=Path(f"{name}.tflite"),
        sha256=name,
        alpha=1.0,
        resolution=96,
        precision=precision,
        multiply_adds=multiply_adds,
        accuracy=accuracy,
        photos=200,
        labels=("cup", "unknown"),
        data_fingerprint="photos",
    )


def grid() -> dict[Candidate, float]:
    """20 cells in two precisions, and the time of each: in float32 the double."""
    rng = np.random.default_rng(1)
    times = {}
    for number in range(20):
        adds = int(5e6 * 1.3**number)
        for precision, factor in (("int8", 1), ("float32", 2)):
            accuracy = 0.8 + 0.008 * number + rng.normal(0, 0.01)
            file = candidate(f"{number} {precision}", float(accuracy), adds, precision)
            times[file] = factor * adds / 1e6 * float(rng.uniform(0.95, 1.05))
    return times


def test_the_most_accurate_that_fits_is_found_in_a_third_of_the_turns() -> None:
    times = grid()
    for budget in np.geomspace(min(times.values()) * 1.01, max(times.values()) * 1.01, 25).tolist():
        taken: list[Candidate] = []

        def measure(one: Candidate, taken: list[Candidate] = taken) -> Turn:
            taken.append(one)
            return turn(times[one])

        choice = choose(list(times), P90, budget, 1, measure)
        best = max((one for one in times if times[one] <= budget), key=lambda one: one.accuracy or 0)
        assert choice.candidate == best
        assert len(taken) <= 5 * len(times) / 3
        assert choice.measured[best].turns >= 3
        assert set(choice.skipped) == set(times) - set(taken)


def test_one_turn_that_other_work_fell_into_does_not_rule_a_file_out() -> None:
    quick, slow = candidate("quick", 0.8, 10), candidate("slow", 0.9, 20)
    turns = iter([30.0, 9.0, 9.1, 9.0, 9.0, 9.0])
    choice = choose([quick, slow], P90, 10, 1, lambda one: turn(next(turns) if one is slow else 5.0))
    assert choice.candidate == slow


def test_where_none_fits_the_fastest_is_told() -> None:
    times = grid()
    fastest = min(times, key=lambda one: times[one])
    with pytest.raises(BudgetError, match=rf"the fastest that was measured is {fastest.path} with"):
        choose(list(times), P90, min(times.values()) / 2, 1, lambda one: turn(times[one]))


def test_only_files_of_one_purpose_are_compared(caplog: pytest.LogCaptureFixture) -> None:
    known, silent = candidate("known", 0.9, 1), candidate("silent", None, 1)
    assert comparable([known, silent]) == [known]
    assert "silent.tflite does not tell its accuracy: left out" in caplog.text
    with pytest.raises(ModelFileError, match="has other labels than"):
        comparable([known, read_candidates([BUILTIN_MODEL])[0]])


def test_edge_classify_chooses_once_and_remembers_for_these_files(
    command: Any, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(models, tmp_path / "models")

    def classify(folder: Path, *arguments: object) -> tuple[str, str]:
        words = ("--camera", "demo", "--count", 2, "--json", "--models", folder, "--budget-ms", 60_000, *arguments)
        done = command("edge-classify", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[0])["model"], done.stderr

    chosen, told = classify(tmp_path / "models")
    assert "choosing among 4 model files for total.p90 of 60000 ms, once for this device" in told
    best = max(read_candidates([models]), key=lambda one: one.accuracy or 0)
    assert {one.name: one.accuracy for one in read_candidates([models])}[chosen] == best.accuracy
    again, told = classify(tmp_path / "models")
    assert (again, "choosing" in told) == (chosen, False)
    (tmp_path / "models").rename(tmp_path / "moved")
    again, told = classify(tmp_path / "moved")
    assert (again, "choosing" in told) == (chosen, False)
    assert "choosing" in classify(tmp_path / "moved", "--metric", "inference.mean")[1]
    other, another, _ = (path for path in (tmp_path / "moved").glob("*.tflite") if path.stem != chosen)
    other.touch()
    assert "choosing" not in classify(tmp_path / "moved")[1]
    other.write_bytes(another.read_bytes())
    assert "choosing among 3 model files" in classify(tmp_path / "moved")[1]


def test_the_choice_is_written_with_what_was_measured(command: Any, models: Path, tmp_path: Path) -> None:
    done = command("edge-benchmark", models, "--budget-ms", 60_000, "--result_json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    assert "within the budget of 60000 ms" in done.stdout
    document = json.loads((tmp_path / "r.json").read_text())
    choice = document["choice"]
    assert Path(choice["model"]).parent == models
    assert choice["margin_ms"] == pytest.approx(60_000 - choice["value_ms"], abs=0.001)
    assert {one["name"] for one in document["results"]} == {one["model"] for one in choice["measured"]}
    assert len(choice["measured"]) + len(choice["not_measured"]) == len(list(models.glob("*.tflite")))


@pytest.mark.parametrize("arguments", [("--models", "m"), ("--budget-ms", 3), ("--model", "x", "--models", "m")])
def test_models_and_budget_go_together(command: Any, arguments: tuple[object, ...]) -> None:
    done = command("edge-classify", "--camera", "demo", *arguments)
    assert done.returncode == 2
    assert "--models and --budget-ms go together" in done.stderr


# Comparisons.


@pytest.fixture
def results() -> Callable[..., dict[str, Any]]:
    """Makes results of two files, whose rounds take so many milliseconds."""

    def make(*rounds: float, **environment: object) -> dict[str, Any]:
        entries = [
            {
                "name": name,
                "num_threads": 1,
                "sha256": name,
                "xnnpack": {"partitions": 1},
                "rounds": [stage_figures([turn(factor * one)], 1) for one in rounds],
            }
            for name, factor in (("small", 1), ("large", 9))
        ]
        machine = dict.fromkeys(("device", "processor", "machine", "kernel", "interpreter", "python", "numpy"), "x")
        machine |= dict.fromkeys(("governor", "interpreter_version", "opencv", "edge_classify"), "y")
        states = [{"when": "during", "clock_mhz": 1500}]
        return {
            "format": 1,
            "environment": {**machine, "features": [], "cores": 4, "word_bits": 64, **environment},
            "watch": {"throttled": False, "others": 0.1, "stolen": 0.0, "states": states},
            "results": entries,
        }

    return make


def test_a_ratio_comes_with_its_interval(results: Callable[..., dict[str, Any]]) -> None:
    lines = compare(results(10, 10.1, 9.9, 10, 10.2), results(12, 12.1, 11.9, 12.2, 12), P50).splitlines()
    for name in ("small, 1 thread", "median of all"):
        (line,) = [line for line in lines if line.startswith(name)]
        ratio, low, _, high, verdict = line.removeprefix(name).split()[-5:]
        assert float(low) <= float(ratio) <= float(high)
        assert float(ratio) == pytest.approx(1.2, abs=0.01)
        assert float(high) - float(low) < 0.06
        assert verdict == "slower"
    noisy = compare(results(10, 14, 9, 12, 10), results(12, 9, 13, 10, 11), P50)
    assert noisy.count("no difference seen") == 3
    assert "fewer than 3 rounds" in compare(results(10, 10), results(10, 10), P50)


def test_other_software_is_told_and_another_machine_refused(results: Callable[..., dict[str, Any]]) -> None:
    told = compare(results(1, 1, 1), results(1, 1, 1, interpreter_version="3.0"), P50)
    assert told.startswith("note: interpreter_version differs: y → 3.0")
    with pytest.raises(ComparisonError, match=r"cores was 4, is 2; .*governor was y, is powersave"):
        compare(results(1, 1, 1), results(1, 1, 1, cores=2, governor="powersave", word_bits=32), P50)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"throttled": True}, "the processor was throttled while new was measured"),
        ({"others": 1.2}, "other programs took 1.2 of 4 cores while new was measured"),
        ({"states": [{"when": "during", "clock_mhz": 600}]}, "the clock was 1500 MHz, is 600 MHz"),
    ],
)
def test_a_machine_in_another_state_is_refused(
    results: Callable[..., dict[str, Any]], change: dict[str, Any], reason: str
) -> None:
    old, new = results(10, 10, 10), results(10, 10, 10)
    new["watch"] |= change
    with pytest.raises(ComparisonError, match=reason):
        compare(old, new, P50)
    assert f"warning: not comparable: {reason}" in compare(old, new, P50, anyway=True)


def test_another_path_through_xnnpack_is_refused(results: Callable[..., dict[str, Any]]) -> None:
    old, new = results(10, 10, 10), results(10, 10, 10)
    new["results"][0]["xnnpack"] = {"partitions": 12}
    with pytest.raises(ComparisonError, match="small: XNNPACK computes another part of it"):
        compare(old, new, P50)
    new["results"][0]["sha256"] = "converted anew"
    assert "small, 1 thread (another file)" in compare(old, new, P50)


def test_compare_reads_what_was_written_and_exits_with_7(
    command: Any, measured: tuple[str, dict[str, Any], Path], tmp_path: Path
) -> None:
    _, document, _ = measured
    old = deepcopy(document)
    old["watch"] |= {"others": 0.0, "stolen": 0.0, "throttled": False}
    new = deepcopy(old)
    new["environment"]["processor"] = "another"
    for name, content in (("old", old), ("new", new)):
        (tmp_path / name).write_text(json.dumps(content))
    paths = (tmp_path / "old", tmp_path / "new")
    done = command("edge-benchmark", "--compare", *paths)
    assert done.returncode == 7
    assert done.stderr.startswith("error: not comparable (processor was ")
    done = command("edge-benchmark", "--compare", *paths, "--anyway", "--metric", "inference.p90")
    assert done.returncode == 0, done.stderr
    assert "warning: not comparable: processor was " in done.stdout
    assert "1.000" in done.stdout


def test_the_front_has_the_files_that_none_beats() -> None:
    entries = [
        {"accuracy": accuracy, "stages": {"total": {"p50": time}}}
        for accuracy, time in ((0.8, 5), (0.9, 9), (0.7, 6), (0.9, 12), (None, 1))
    ]
    assert [one["accuracy"] for one in latency_front(entries)] == [0.8, 0.9]


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
