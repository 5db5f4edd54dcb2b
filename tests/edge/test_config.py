"""Configuration files and EDGE_CLASSIFY_* variables: what counts, what is refused, and the schema for editors."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from conftest import ROOT, Command, classify_here
from edge_classify.cli import make_parser
from edge_classify.config.layers import layer
from edge_classify.config.schema import SCHEMA_FILE
from edge_classify.config.settings import settings
from edge_classify.model.interpreter import BUILTIN_MODEL

PAGE = (ROOT / "docs" / "configuration.md").read_text()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "edge-classify.toml"
    path.write_text(text)
    return path


def values(*words: object, **environment: str) -> dict[str, object]:
    """What edge-classify would run with."""
    parser = make_parser()
    options = parser.parse_args([str(word) for word in words])
    layer(parser, options, environment, {"sources": "camera"})
    return vars(options)


def test_the_page_s_example_is_fine(command: Command, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(\[camera\].*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    path = write(tmp_path, example)
    (tmp_path / "model.tflite").write_bytes(BUILTIN_MODEL.read_bytes())
    # From another folder: paths are the file's.
    done = command("edge-classify", "--config", path, "--check-config", cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert schema_says(path) == ""
    (tmp_path / "model.tflite").unlink()
    assert command("edge-classify", "--config", path, "--check-config").returncode == 4


def test_a_file_s_options_are_those_of_the_run(command: Command, tmp_path: Path) -> None:
    path = write(tmp_path, '[camera]\ncamera = "demo"\ncount = 5\n[output]\nevents = "events.jsonl"\n')
    done = command("edge-classify", "--config", path, "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert (tmp_path / "events.jsonl").read_text().count("\n") >= 1


def test_a_file_of_metrics_is_relative_to_the_configuration_and_an_address_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/pi")
    for text, place in (
        ("m.prom", str(tmp_path / "m.prom")),
        ("~/m.prom", "/home/pi/m.prom"),
        ("127.0.0.1:9464", "127.0.0.1:9464"),
    ):
        path = write(tmp_path, f'[metrics]\nmetrics = "{text}"\n')
        assert str(values("--config", path)["metrics"]) == place


def test_option_goes_before_environment_before_file_before_default(tmp_path: Path) -> None:
    path = write(tmp_path, '[camera]\nfps = 1\nmax-fps = 1\nfast = true\n[model]\nmodel = ["a=x", "b=/y"]\n')
    found = values("--config", path, "--fps", 3, EDGE_CLASSIFY_FPS="2", EDGE_CLASSIFY_FAST="false")
    assert (found["fps"], found["max_fps"], found["fast"]) == (3, 1, False)
    assert found["model"] == [f"a={tmp_path}/x", "b=/y"]
    found = values(EDGE_CLASSIFY_CONFIG=str(path), EDGE_CLASSIFY_MAX_FPS="2", EDGE_CLASSIFY_MODEL="c=z\nd=w")
    assert (found["fps"], found["max_fps"], found["top_k"], found["model"]) == (1, 2, 1, ["c=z", "d=w"])
    assert values("--config", path, "--model", "z")["model"] == ["z"], "an option replaces the file's list"
    assert values("--config", path, EDGE_CLASSIFY_FPS="")["fps"] == 1, "an empty variable is not set"


def test_a_source_given_replaces_that_of_the_file(tmp_path: Path, command: Command) -> None:
    path = write(tmp_path, '[camera]\ncamera = "rtsp://user:secret@nowhere.invalid/"\n')
    done = command("edge-classify", "demo", "--config", path, "--count", 1)
    assert done.returncode == 0, done.stderr
    done = command("edge-classify", "--list-cameras", "--config", path)
    assert done.returncode == 0, done.stderr


def test_what_is_shown_can_be_saved_and_hides_secrets(command: Command, tmp_path: Path) -> None:
    options = ["--camera", "demo", "--size", "64x48", "--crop", "0,0,1,0.5", "--dwell", "1.5s", "--num-threads", "2"]
    options += ["--model", "a=x", "--model", "b=y", "--input-range", "-1..1", "--rotate", "90", "--json"]
    shown = command(
        "edge-classify", *options, "--show-config", cwd=tmp_path, env={**os.environ, "EDGE_CLASSIFY_FPS": "5"}
    )
    assert shown.returncode == 0, shown.stderr
    assert (
        'size = "64x48"  # command line\nfps = 5  # EDGE_CLASSIFY_FPS in the environment\nrotate = 90  #'
        in shown.stdout
    )
    assert "# smoothing = 1  # default" in shown.stdout
    path = write(tmp_path, shown.stdout)
    assert schema_says(path) == ""
    again = values("--config", path)
    once = values(*options, "--fps", 5)
    assert {**once, "model": [f"a={tmp_path}/x", f"b={tmp_path}/y"], "config": str(path), "show_config": False} == again
    shown = command("edge-classify", "--camera", "rtsp://me:hunter2@door/x", "--show-config")
    assert "hunter2" not in shown.stdout + shown.stderr
    assert "the secret in --camera is masked: remove the line, and set EDGE_CLASSIFY_CAMERA in the" in shown.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[camera]\nsize = 5", "[camera] size: expected a string, found 5"),
        ('[camera]\nsize = "640"', "[camera] size: expected 2 numbers such as 640x480, found '640'"),
        ('[camera]\nfps = "30"', '[camera] fps: expected a number, found "30"'),
        ("[camera]\nfps = 2026-01-01", "[camera] fps: expected a number, found a date"),
        ("[camera]\nfps = true", "[camera] fps: expected a number, found true"),
        ("[camera]\nfps = 0", "[camera] fps: expected a number, more than 0, found '0'"),
        ("[camera]\ncount = 1.0", "[camera] count: expected a whole number, found 1.0"),
        ("[camera]\nfast = 1", "[camera] fast: expected true or false, found 1"),
        ("[camera]\nrotate = 45", "[camera] rotate: invalid choice: 45"),
        ("[decision]\nthreshold = nan", "[decision] threshold: expected a number, 0 or more and at most 1"),
        ('[model]\nmodel = ["a", 3]', "[model] model: expected a string, or an array of them, found 3"),
        ("[model]\nbudget_ms = 4", "[model] has no key budget_ms: did you mean budget-ms?"),
        ("[camera]\nbudget-ms = 4", "[camera] has no key budget-ms: did you mean budget-ms in [model]?"),
        ("[decision]\nthreshhold = 1", "[decision] has no key threshhold: did you mean threshold?"),
        ("[camera]\nlist-cameras = true", "[camera] has no key list-cameras"),
        ("[camra]", "there is no table [camra]: did you mean [camera]?"),
        ("[extra]", "there is no table [extra]: remove it"),
        ("fps = 3", "fps stands in no table: put [camera] on a line above it, and fps = below"),
        ('model = "x"', "model: expected a table: put [model] on a line above it"),
        ("[camera\n", "not TOML: Expected ']' at the end of a table declaration (at line 1, column 8)"),
        ("[camera]\ncamera = demo", "not TOML: Invalid value (at line 2, column 10): text needs quotation marks"),
        ("[camera]\nsize = 640x480", "(at line 2, column 11): text needs quotation marks"),
        ('[camera]\n"a\\nb" = 1', "[camera] has no key a\\nb"),
        ('[model]\nmodel = "\\u0000"', "[model] model: no value can have a null character"),
        (f"a = {'[' * 9999}", "nested too deeply"),
        (f"[camera]\nfps = {'1' * 9999}", "not TOML: Exceeds the limit"),
        ("[camera]\nfps = 0\nsize = 5", "(and 1 more: edge-doctor --config "),
        ('[output]\njson = true\nevents = "-"', "--events - and --json both need standard output"),
        ('[model]\nmodels = "x"\nmodel = "y"', "without --model (--model: "),
    ],
)
def test_a_mistake_in_the_file_is_one_line(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)
    code, said = classify_here(capfd, "--camera", "demo", "--config", path)
    assert code == 2
    (line,) = said.splitlines()
    assert line.startswith("error: ")
    assert str(path) in line
    assert message in line


def test_a_file_that_cannot_be_read_is_one_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes('[camera]\nname = "\xe9"'.encode("latin-1"))
    for name, message in (
        ("", "a folder"),
        ("gone.toml", "no such configuration file"),
        ("/dev/zero", "larger"),
        ("latin.toml", "not UTF-8"),
    ):
        code, said = classify_here(capfd, "--config", tmp_path / name)
        assert code == 2
        (line,) = said.splitlines()
        assert message in line
    (tmp_path / "empty.toml").touch()
    assert classify_here(capfd, "--config", tmp_path / "empty.toml", "--check-config") == (0, "")


def test_a_wrong_variable_is_an_error_and_an_unknown_one_is_told(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_CLASSIFY_TRESHOLD", "1")
    code, said = classify_here(capfd, "--check-config")
    assert code == 0
    assert (
        said == "warning: EDGE_CLASSIFY_TRESHOLD: no option has this variable: did you mean EDGE_CLASSIFY_THRESHOLD?\n"
    )
    monkeypatch.setenv("EDGE_CLASSIFY_THRESHOLD", "2")
    code, said = classify_here(capfd, "--check-config")
    assert code == 2
    assert "EDGE_CLASSIFY_THRESHOLD: expected a number, 0 or more and at most 1, found '2'" in said


def test_every_option_has_a_key_and_a_variable_of_its_own() -> None:
    known = settings(make_parser())
    assert len({(setting.table, setting.key) for setting in known}) == len({setting.variable for setting in known})
    for setting in known:
        assert not str(setting.action.help).endswith("and exit"), f"{setting.option}: only_on_command_line"


@pytest.mark.parametrize(
    "text",
    ["[camra]", "[camera]\nsize = 5", "[camera]\nfps = 0", "[model]\nmodel = [3]", "[camera]\nrotate = 45", "x = 1"],
)
def test_the_schema_refuses_what_the_program_refuses(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert tomllib.loads(text)
    assert schema_says(path) != ""


def schema_says(path: Path) -> str:
    """The first thing that is wrong with a file, by the schema alone; empty if nothing is."""
    schema = json.loads(SCHEMA_FILE.read_text())
    Draft202012Validator.check_schema(schema)
    contents = tomllib.loads(path.read_text())
    return next((error.message for error in Draft202012Validator(schema).iter_errors(contents)), "")
