"""Commands that run at a change of state: the last state arrives, and nothing that a command does holds anything up."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from conftest import classify_here, stop
from edge_classify import Category, Classification, CommandHook, Frame, Result
from edge_classify.model.classifier import Timing
from edge_classify.outputs.on_change import find_command
from edge_classify.outputs.rare_warnings import RareWarnings
from edge_classify.pipeline.decision import Change
from edge_classify.pipeline.latency import StageTimes
from edge_classify.system import child_process

EDGE_CLASSIFY = str(Path(sys.executable).with_name("edge-classify"))
# Appends its input to a file; says so if another of its kind runs at the same time.
RECORD = """#!/bin/sh
mkdir "$0.lock" || echo overlap >> "$0.out"
cat >> "$0.out"
{pause}
rmdir "$0.lock"
"""


def change(number: int, state: str, model: str = "m", source: str = "0") -> Result:
    """A result that has changed the state."""
    found = Classification(state, 0.5, (Category(0, state, 0.5),), np.ones(1, np.float32), Timing(0, 1, 0))
    frame = Frame(np.zeros((2, 2, 3), np.uint8), number, 0.0, source)
    changed = Change(state, 0.5, None if number == 0 else f"{number - 1}", None if number == 0 else 1.5)
    return Result(frame, found, state, changed, StageTimes(0, 0, 1, 0, 1), 0.0, 0.0, False, model)


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.01)


def test_the_command_gets_each_change_and_in_the_end_the_last_one(command, tmp_path: Path) -> None:
    hook = script(tmp_path / "hook", RECORD.format(pause=""))
    done = command("edge-classify", "--camera", "demo", "--count", 150, "--json", "--on-change", hook)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    states = [state for state, _ in groupby(result["state"] for result in results)]
    events = [json.loads(line) for line in lines(tmp_path / "hook.out")]
    skipped = re.search(r"changes skipped while the hook ran: (\d+)", done.stderr)
    assert len(events) + int(skipped[1] if skipped else 0) == len(states) >= 2
    assert events[-1]["state"] == states[-1]
    for event in events:
        result = results[[result["frame"] for result in results].index(event["frame"])]
        assert event.items() >= {name: result[name] for name in ("time", "source", "model", "state")}.items()


def test_a_storm_of_changes_starts_one_process_at_a_time_and_ends_with_the_last_state(tmp_path: Path) -> None:
    hook = script(tmp_path / "hook", RECORD.format(pause="sleep 0.05"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with CommandHook(str(hook), live=True) as output:
        for number in range(20_000):
            for model in ("door", "bin"):
                output.append(change(number, f"{number}", model))
        assert output._queue.drain(60)
    events = [json.loads(line) for line in lines(tmp_path / "hook.out")]  # "overlap" is not JSON
    for model in ("door", "bin"):
        numbers = [event["frame"] for event in events if event["model"] == model]
        assert numbers == sorted(numbers)
        assert numbers[-1] == 19_999
    assert output.counts() == {
        "changes skipped while the hook ran": 40_000 - len(events),
        "hooks failed": 0,
        "changes not given to the hook": 0,
    }
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 20_000  # kB


def test_of_a_video_no_change_is_skipped(tmp_path: Path) -> None:
    hook = script(tmp_path / "hook", RECORD.format(pause=""))
    with CommandHook([str(hook)]) as output:
        for number in range(20):
            output.append(change(number, f"{number}"))
    assert [json.loads(line)["frame"] for line in lines(tmp_path / "hook.out")] == list(range(20))


def test_the_event_is_in_the_environment_and_our_settings_and_secrets_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EDGE_CLASSIFY_MQTT_PASSWORD", "EDGE_CLASSIFY_ON_CHANGE", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("PLACE", "kitchen")
    hook = script(tmp_path / "hook", '#!/bin/sh\nenv -0 > "$0.part"\nmv "$0.part" "$0.out"\n')
    label, source = 'it\'s "$(touch pwned)" 猫\n\0\ud800', os.fsdecode(b"/photos/caf\xe9")
    with CommandHook(str(hook)) as output:
        output.append(change(7, label, "door", source))
    found = dict(entry.split(b"=", 1) for entry in (tmp_path / "hook.out").read_bytes().split(b"\0") if entry)
    events = {name: value for name, value in found.items() if name.startswith(b"EVENT_")}
    assert events == {
        b"EVENT_STATE": 'it\'s "$(touch pwned)" 猫\n?\\ud800'.encode(),
        b"EVENT_PREVIOUS": b"6",
        b"EVENT_PREVIOUS_SECONDS": b"1.5",
        b"EVENT_SCORE": b"0.5",
        b"EVENT_MODEL": b"door",
        b"EVENT_SOURCE": b"/photos/caf\xe9",
        b"EVENT_TIME": b"1970-01-01T00:00:00.000Z",
        b"EVENT_FRAME": b"7",
        b"EVENT_SKIPPED": b"0",
    }
    assert found[b"PLACE"] == b"kitchen"
    assert b"secret" not in found.values()


def test_a_shell_sees_the_command_only_if_asked_and_a_label_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with CommandHook("touch a;touch$IFS'b c'") as output:
        output.append(change(0, "$(touch pwned)"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a;touch$IFSb c"]
    with CommandHook('echo "$EVENT_STATE" | tr a-z A-Z > out', shell=True) as output:
        output.append(change(0, "$(touch pwned); touch pwned"))
    assert lines(tmp_path / "out") == ["$(TOUCH PWNED); TOUCH PWNED"]
    assert not (tmp_path / "pwned").exists()


# What a command may do, and what is said of it; the next change must find everything as before.
MISBEHAVIOUR = {
    "prints a gigabyte": ("#!/bin/sh\nhead -c 1G /dev/zero\n", None),
    "prints a lot of errors": ("#!/bin/sh\nhead -c 20M /dev/zero | tr '\\0' x >&2\necho done >&2\n", None),
    "fails": (
        "#!/bin/sh\necho first >&2\necho 'no \033[31mroute' >&2\necho >&2\nexit 3\n",
        r"exit code 3: no \?\[31mroute",
    ),
    "crashes": ("#!/bin/sh\nkill -SEGV $$\n", "ended by SIGSEGV"),
    "reads nothing": ("#!/bin/sh\nexec <&-\n", None),
    "changes folder": ("#!/bin/sh\ncd /\n", None),
    "hangs": ("#!/bin/sh\necho waiting >&2\nexec sleep 1000\n", "still running after 1 s and was ended; .*: waiting"),
    "ignores TERM": ("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n", "still running after 1 s and was ended"),
    "leaves a child that hangs": ("#!/bin/sh\nsleep 1000 &\n", "still running after 1 s and was ended"),
    "leaves a child that ends": ("#!/bin/sh\nsleep 0.2 &\n", None),
    "leaves a child of its own session": ("#!/bin/sh\nsetsid sleep 3 &\n", None),
    "has no such interpreter": (
        "#!/no/such/shell\n",
        "could not be started: its first line .* names a program",
    ),
    "has Windows line ends": ("#!/bin/sh\r\nexit\r\n", "could not be started: its first line .* as on Windows"),
    "is no program": ("hello\n", "could not be started: it is no program, and has no first line"),
}


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_whatever_a_command_does_is_told_and_the_next_one_runs(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "_GRACE_S", 0.2)
    text, message = MISBEHAVIOUR[what]
    hook = script(tmp_path / "hook", text)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with CommandHook(str(hook), time_limit=1.0 if message and "still" in message else 60.0, live=True) as output:
        output.append(change(0, "first"))
        assert output._queue.drain(60)
        script(hook, RECORD.format(pause=""))
        output.append(change(1, "second"))
        assert output._queue.drain(60)
    assert json.loads((tmp_path / "hook.out").read_text())["state"] == "second"
    assert output.counts()["hooks failed"] == (message is not None)
    if message is None:
        assert caplog.messages == []
    else:
        (warning,) = caplog.messages
        assert re.search(rf"^hook {hook}: (was )?{message}", warning)
        assert warning.isprintable()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 20_000  # kB
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_program_ends_a_command_that_runs_and_says_so(how: signal.Signals, tmp_path: Path) -> None:
    hook = script(
        tmp_path / "hook", '#!/bin/sh\ntrap "" TERM\necho $$ > "$0.part"\nmv "$0.part" "$0.pid"\nsleep 1000\n'
    )
    process = subprocess.Popen(
        [EDGE_CLASSIFY, "--camera", "demo", "--on-change", hook, "--on-change-timeout", "1h"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background with Ctrl-C ignored; the tests may be run so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(tmp_path / "hook.pid")
    rest, errors = stop(process, how)
    assert f"warning: hook {hook}: was ended with edge-classify" in errors
    assert "hooks failed: 1" in rest
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "hook.pid").read_text()), 0)


def test_a_command_runs_behind_the_frames(tmp_path: Path) -> None:
    hook = script(tmp_path / "hook", '#!/bin/sh\nsleep 0.2\nnice > "$0.out"\n')
    with CommandHook(str(hook)) as output:
        output.append(change(0, "cup"))
    assert lines(tmp_path / "hook.out") == [str(min(19, os.nice(0) + 10))]


def test_the_same_failure_is_told_once_a_minute(caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    warnings = RareWarnings()
    for second in range(0, 90, 10):
        now[0] = float(second)
        warnings.warn(3, f"exit code 3: at {second}")
        warnings.warn(4, "exit code 4")
    assert [text for text in caplog.messages if "3" in text] == [
        "exit code 3: at 0",
        "exit code 3: at 60 (and 5 times before that)",
    ]
    assert len(caplog.messages) == 4


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--on-change", "gone-program"], 6, "--on-change gone-program: there is no such program: install it, or give"),
        (["--on-change", "{tmp}/gone now"], 6, "/gone: there is no such file: give the full path of a program"),
        (["--on-change", "{tmp}"], 6, ": this is a folder: give the path of a program"),
        (["--on-change", "{tmp}/plain"], 6, "/plain: it may not be executed: chmod +x "),
        (["--on-change", ""], 2, "--on-change: expected a command, found nothing"),
        (["--on-change", " ", "--on-change-shell"], 2, "--on-change: expected a command, found nothing"),
        (["--on-change", "a\0b"], 2, "--on-change: a command holds no NUL"),
        (["--on-change", "echo 'x"], 2, "--on-change echo 'x: No closing quotation"),
        (["--on-change", "echo x | cat"], 2, "--on-change: '|' needs a shell: add --on-change-shell"),
        (["--on-change", "echo $EVENT_STATE"], 2, "--on-change: '$EVENT_STATE' needs a shell: add --on-change-shell"),
        (["--on-change-shell"], 2, "--on-change-shell is for --on-change COMMAND: give that too"),
        (["--on-change-timeout", "30s"], 2, "--on-change-timeout is for --on-change COMMAND: give that too"),
        (["--on-change", "true", "--on-change-timeout", "0s"], 2, "expected a time such as 30s, 10m or 2h, found '0s'"),
        (["--on-change", "true", "--camera", "{tmp}/photo.jpg"], 2, "--on-change needs a camera or a video"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_opened(
    words: list[str], code: int, message: str, tmp_path: Path, capfd
) -> None:
    for name in ("plain", "photo.jpg"):
        (tmp_path / name).touch()
    given = [word.replace("{tmp}", str(tmp_path)) for word in words]
    camera = [] if "--camera" in words else ["--camera", "demo"]
    found, errors = classify_here(capfd, *camera, *given, "--model", "gone.tflite")
    assert found == code, errors
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_what_a_shell_of_its_own_will_see_is_not_refused() -> None:
    assert find_command("sh -c 'echo $EVENT_STATE | cat'", shell=False)[1:] == ["-c", "echo $EVENT_STATE | cat"]


def test_a_command_is_found_whatever_folder_it_is_named_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "hook", "#!/bin/sh\n")
    monkeypatch.chdir(tmp_path)
    assert find_command("./hook now", shell=False) == [str(tmp_path / "hook"), "now"]


def test_a_bug_leaves_no_thread_behind(tmp_path: Path) -> None:
    hook = script(tmp_path / "hook", "#!/bin/sh\n")
    before = threading.active_count()
    output = CommandHook(str(hook))
    output.append(change(0, "cup"))
    output.__exit__(RuntimeError, RuntimeError(), None)
    assert threading.active_count() == before
