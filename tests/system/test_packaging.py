"""What packaging/ offers: files for cloud-init, containers and Home Assistant."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML

from conftest import ROOT
from edge_classify import __version__
from edge_classify.cli import make_parser
from edge_classify.config.settings import settings

PACKAGING = ROOT / "packaging"
USER_DATA = PACKAGING / "cloud-init" / "user-data"
DOCKERFILES = sorted(PACKAGING.rglob("Dockerfile"))
APP = YAML(typ="safe").load((PACKAGING / "home-assistant" / "config.yaml").read_text())


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUN = load(PACKAGING / "home-assistant" / "run.py")
HEALTHCHECK = PACKAGING / "container" / "healthcheck.py"


def assert_valid(command, config: str, folder: Path, **variables: str) -> None:
    """edge-classify takes this configuration, with these variables."""
    (folder / "edge.toml").write_text(config)
    words = ("edge-classify", "--config", "edge.toml", "--check-config")
    done = command(*words, cwd=folder, env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr


def written_by_user_data() -> dict[str, str]:
    files = YAML(typ="safe").load(USER_DATA.read_text())["write_files"]
    return {file["path"]: file["content"] for file in files}


@pytest.mark.nightly
def test_cloud_init_takes_the_user_data() -> None:
    if shutil.which("cloud-init") is None:
        pytest.skip("no cloud-init → apt install cloud-init, on a machine that you can throw away")
    words = ["cloud-init", "schema", "--config-file", str(USER_DATA)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_user_data_has_a_valid_configuration_with_and_without_a_model(
    command, small_models: Path, tmp_path: Path
) -> None:
    files = written_by_user_data()
    assert_valid(command, files["/etc/edge-classify.toml"], tmp_path)
    (added,) = re.findall(r"printf '(.*)' >>", files["/usr/local/sbin/edge-classify-setup"])
    model = small_models / "mobilenet_v2_1.0_96_int8.tflite"
    with_model = files["/etc/edge-classify.toml"] + added.replace("\\n", "\n")
    assert_valid(command, with_model.replace("/opt/edge-classify/model.tflite", str(model)), tmp_path)


def test_the_script_of_the_user_data_is_one_and_calls_our_commands_right(command, tmp_path: Path) -> None:
    script = written_by_user_data()["/usr/local/sbin/edge-classify-setup"]
    subprocess.run(["sh", "-n"], input=script, text=True, timeout=60, check=True)
    calls = re.findall(r"/opt/edge-classify/bin/(edge-doctor) (--[a-z-]+) >", script)
    assert len(calls) == 2
    (tmp_path / "edge.toml").write_text(written_by_user_data()["/etc/edge-classify.toml"])
    for name, option in calls:
        done = command(name, option, "--config", tmp_path / "edge.toml")
        assert done.stdout.startswith(("#", "[")), done.stderr


def test_an_apps_options_are_keys_of_a_configuration_file() -> None:
    known = {(setting.table, setting.key) for setting in settings(make_parser())}
    offered = {(table, key) for part in ("options", "schema") for table, keys in APP[part].items() for key in keys}
    assert offered <= known
    assert {(table, key) for table, keys in APP["options"].items() for key in keys} <= {
        (table, key) for table, keys in APP["schema"].items() for key in keys
    }


def test_an_apps_options_become_a_valid_configuration(command, tmp_path: Path) -> None:
    options: dict[str, dict[str, Any]] = json.loads(json.dumps(APP["options"]))
    options["web"]["token-file"] = str(tmp_path / "token")
    options["camera"] |= {"crop": "", "rotate": 90}
    options["decision"] = {"threshold": 0.5}
    options["mqtt"] = {"device": 'a "quoted" näme'}
    text = RUN.as_toml(options)
    assert "crop" not in text
    found = {"host": "core-mosquitto", "port": 1883, "ssl": False, "username": "addons@ha", "password": "p:w/d"}
    variables = RUN.as_variables(found)
    assert variables["EDGE_CLASSIFY_MQTT"] == "mqtt://addons%40ha@core-mosquitto:1883"
    assert_valid(command, text.replace('a \\"quoted\\" näme', "hall"), tmp_path, **variables)


def test_every_option_of_an_app_becomes_a_valid_one_whatever_its_type(
    command, small_models: Path, tmp_path: Path
) -> None:
    values: dict[tuple[str, str], Any] = {
        ("camera", "camera"): "0",
        ("camera", "size"): "640x480",
        ("camera", "crop"): "0.1,0.1,0.5,0.5",
        ("model", "model"): str(small_models / "mobilenet_v2_1.0_96_int8.tflite"),
        ("decision", "dwell"): "2s",
        ("web", "address"): "0.0.0.0:8080",
        ("web", "proxy"): "172.30.32.2",
        ("web", "host"): "homeassistant.local",
        ("web", "frame"): "http://homeassistant.local:8123",
    }
    options = {
        table: {key: values.get((table, key), smallest(kind.removesuffix("?"))) for key, kind in keys.items()}
        for table, keys in APP["schema"].items()
    }
    assert_valid(command, RUN.as_toml(options), tmp_path, EDGE_CLASSIFY_MQTT="mqtt://core-mosquitto")


def smallest(kind: str) -> str | bool | int | float:
    """A value that Home Assistant takes for this type of an option."""
    name, _, limits = kind.rstrip(")").partition("(")
    if name == "bool":
        return True
    if name == "list":
        return limits.split("|")[0]
    if name in ("int", "float"):
        return (int if name == "int" else float)(limits.split(",")[0])
    return "text"


def test_ingress_and_the_page_agree() -> None:
    """The Supervisor asks at the port that the page is at, from the address that the page lets through."""
    assert APP["ingress"]
    assert APP["options"]["web"]["address"].endswith(f":{APP['ingress_port']}")
    assert APP["options"]["web"]["proxy"] == "172.30.32.2"
    assert APP["ports"] == {f"{APP['ingress_port']}/tcp": None}


def test_versions_are_ours() -> None:
    assert APP["version"] == __version__
    text = (PACKAGING / "home-assistant" / "Dockerfile").read_text()
    assert re.findall(r"^ARG VERSION=(.+)$", text, re.MULTILINE) == [__version__]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_what_an_image_copies_is_there_and_let_in(path: Path) -> None:
    context = ROOT if path.parent.name == "container" else path.parent
    rules = (ROOT / ".dockerignore").read_text().split() if context == ROOT else []
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text(), re.MULTILINE)
    assert copied
    for name in " ".join(copied).split():
        assert (context / name).exists(), name
        assert not rules or any(fnmatch(name, rule) or name.startswith(f"{rule}/") for rule in let_in), name


def test_the_container_is_not_root_and_says_whether_it_is_well() -> None:
    text = (PACKAGING / "container" / "Dockerfile").read_text()
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", text, re.MULTILINE)


def test_the_health_check_is_well_while_frames_come() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    check = [sys.executable, str(HEALTHCHECK), f"http://127.0.0.1:{port}/metrics"]
    assert subprocess.run(check, capture_output=True, timeout=60, check=False).returncode == 1
    program = Path(sys.executable).with_name("edge-classify")
    words = [program, "--camera", "demo", "--metrics", f"127.0.0.1:{port}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        ended = [subprocess.run(check, capture_output=True, timeout=60, check=False) for _ in range(5)]
        process.kill()
    assert 0 in [done.returncode for done in ended], ended[-1].stdout
