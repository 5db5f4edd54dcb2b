"""The service's unit and the drop-in that fits it to a configuration, as systemd judges them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import needs_programs
from edge_classify.doctor import cli as doctor
from edge_classify.doctor import network_needs
from edge_classify.model.interpreter import BUILTIN_MODEL


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose edge-classify does nothing."""
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/true", tmp_path / "bin" / "edge-classify")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path


def drop_in(capsys: pytest.CaptureFixture[str], folder: Path, config: str) -> tuple[list[str], str]:
    """The lines of the drop-in for this configuration, and the warnings."""
    path = folder / "edge-classify.toml"
    path.write_text(config)
    assert doctor.main(["--print-drop-in", "--config", str(path)]) == 0
    printed = capsys.readouterr()
    lines = [line for line in printed.out.splitlines() if line[0] != "#"]
    assert lines[:2] == ["[Service]", "ExecStart="]
    assert lines[2] == f"ExecStart={folder}/bin/edge-classify --config {path}"
    return lines[3:], "\n".join(line for line in printed.err.splitlines() if "/tmp of its own" not in line)


def exposure(unit: Path) -> float:
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
    # Newer than Bookworm's systemd, and ignored by it.
    known = ("RestartSteps", "RestartMaxDelaySec")
    complaints = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert not [line for line in complaints if not any(key in line for key in known)]
    words = ["systemd-analyze", "security", "--offline=yes", "--no-pager", unit]
    looked = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
    score = re.search(r"Overall exposure level for \S+: (\d+\.\d)", looked.stdout)
    assert score, looked.stdout + looked.stderr
    return float(score[1])


@pytest.mark.parametrize(
    ("config", "most"),
    [
        (None, 1.5),
        ("[camera]\ncamera = 0\n", 1.5),
        ('[camera]\ncamera = "rtsp://192.168.1.5/x"\n[output]\nevents = "/var/lib/edge-classify/e"\n', 1.5),
    ],
)
def test_systemd_accepts_the_unit_and_finds_it_little_exposed(
    installed: Path, capsys: pytest.CaptureFixture[str], config: str | None, most: float
) -> None:
    needs_programs("systemd-analyze")
    assert doctor.main(["--print-service"]) == 0
    unit = installed / "edge-classify.service"
    unit.write_text(capsys.readouterr().out)
    if config is not None:
        folder = installed / "edge-classify.service.d"
        folder.mkdir()
        lines, _ = drop_in(capsys, installed, config)
        (folder / "configuration.conf").write_text("\n".join(["[Service]", *lines]) + "\n")
    assert exposure(unit) <= most


def test_a_service_is_not_made_for_programs_in_a_home_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "prefix", "/home/pi/edge-classify/.venv")
    assert doctor.main(["--print-service"]) == 2
    assert "docs/service.md" in capsys.readouterr().err
    # PrivateTmp gives the service another /tmp.
    monkeypatch.setattr(sys, "prefix", "/tmp/venv")
    assert doctor.main(["--print-service"]) == 0
    assert "cannot start from /tmp/venv" in capsys.readouterr().err


def test_a_camera_of_this_machine_needs_no_network(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, warnings = drop_in(capsys, installed, '[camera]\ncamera = 0\n[output]\nevents = "-"\n')
    assert lines == ["IPAddressAllow=", "RestrictAddressFamilies=~AF_INET AF_INET6"]
    assert warnings == ""


@pytest.mark.parametrize(
    ("host", "addresses", "allowed"),
    [
        ("127.0.0.1", None, "127.0.0.1"),
        ("192.168.1.5", None, "192.168.1.5"),
        ("hub", ["127.0.0.1"], "localhost 9.9.9.9"),
        ("198.51.100.7", None, "198.51.100.7"),
        ("[2001:db8::7]", None, "2001:db8::7"),
        ("door.lan", ["10.0.0.3"], "link-local 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 9.9.9.9"),
        ("cam.example", ["198.51.100.7"], "any"),
        ("gone.example", [], "any"),
    ],
)
def test_exactly_the_addresses_of_the_configuration_are_let_out(
    installed: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    addresses: list[str] | None,
    allowed: str,
) -> None:
    def resolve(name: str, _port: object) -> list[tuple[object, ...]]:
        assert name == host
        if not addresses:
            raise OSError("no such name")
        return [(0, 0, 0, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(network_needs.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(network_needs, "_name_servers", lambda: iter([network_needs.ipaddress.ip_address("9.9.9.9")]))
    lines, warnings = drop_in(capsys, installed, f'[camera]\ncamera = "rtsp://me:p@ss/w@{host}:554/x"\n')
    assert lines[:2] == ["IPAddressAllow=", f"IPAddressAllow={allowed}"]
    assert lines[2:] == ["DeviceAllow=", "DeviceAllow=/dev/vcio rw"]
    assert ("every address is allowed" in warnings) == (allowed == "any")
    assert "p@ss" not in warnings


def test_files_are_readable_and_writable_for_the_service(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, labels, shared = installed / "model.tflite", installed / "labels.txt", installed / "shared"
    shutil.copy(BUILTIN_MODEL, model)
    model.chmod(0o600)
    labels.write_text("a\n")
    labels.chmod(0o600)
    shared.mkdir(mode=0o755)
    config = f'[model]\nmodel = "{model}"\nlabels = "{labels}"\n[output]\nevents = "{{}}"\n'
    lines, warnings = drop_in(capsys, installed, config.format("/var/lib/edge-classify/a/events.jsonl"))
    assert f"LoadCredential=labels.txt:{labels}" in lines
    assert "Environment=EDGE_CLASSIFY_LABELS=%d/labels.txt" in lines
    assert lines[-1] == "StateDirectory=edge-classify/a"
    assert warnings == f"warning: model: {model}: the service's user may not read it: sudo chmod a+r {model}"


def test_a_secret_address_in_the_env_file_is_handed_over_and_counts(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = installed / "edge-classify.env"
    secrets.write_text("# secret\nEDGE_CLASSIFY_CAMERA='rtsp://me:hunter2@198.51.100.7/x'\nOTHER=1\n")
    lines, warnings = drop_in(capsys, installed, "[camera]\ncamera = 0\n")
    assert "IPAddressAllow=198.51.100.7" in lines
    assert lines[-1] == f"EnvironmentFile={secrets}"
    assert "hunter2" not in "\n".join(lines) + warnings


def test_a_file_of_metrics_can_be_written(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, warnings = drop_in(capsys, installed, '[metrics]\nmetrics = "/usr/share/metrics.prom"\n')
    assert lines[-1] == "ReadWritePaths=/usr/share"
    assert "metrics: /usr/share: the service's user may not write there" in warnings
    lines, warnings = drop_in(capsys, installed, '[metrics]\nmetrics = "/run/edge-classify/x.prom"\n')
    assert lines[-1] == "RuntimeDirectory=edge-classify"
    assert warnings == ""


def test_a_folder_for_photos_that_is_not_there_yet_is_made(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, _ = drop_in(capsys, installed, '[collect]\ncollect = "/var/log/edge-classify"\n')
    assert lines[-1] == "LogsDirectory=edge-classify"


def test_a_wrong_value_does_not_empty_the_drop_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "edge-classify.toml"
    path.write_text('[camera]\nfps = 0\n[output]\nevents = "/run/edge-classify/events"\n')
    assert doctor.main(["--print-drop-in", "--config", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "RuntimeDirectory=edge-classify"
    assert "[camera] fps: expected a number, more than 0" in printed.err
