"""edge-doctor, on folders that look like other machines, and on this one."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from edge_classify.cli import make_parser
from edge_classify.doctor import cli as doctor
from edge_classify.doctor import model_checks
from edge_classify.doctor.config_checks import check_config
from edge_classify.doctor.finding import Finding
from edge_classify.doctor.machine_checks import check_machine, check_software
from edge_classify.model import classifier, interpreter
from edge_classify.model.interpreter import BUILTIN_MODEL, convolutions_in_xnnpack, interpreter_class, load_interpreter
from edge_classify.model.model_file import read_model_file
from edge_classify.system.checksum import file_sha256
from edge_classify.system.machine import System, is_throttled

Machine = Callable[..., System]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Makes a machine of the files in it; what lies in `bin` are its programs, shell scripts."""

    def make(files: dict[str, str], **facts: object) -> System:
        (tmp_path / "bin").mkdir(exist_ok=True)
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("->"):
                path.symlink_to(content[2:])
            else:
                path.write_text(content)
                path.chmod(0o755)
        system = System(
            root=tmp_path,
            search_path=str(tmp_path / "bin"),
            machine="aarch64",
            cores=4,
            user="pi",
            may_open=lambda _: True,
            free_bytes=lambda _: 8 * 10**9,
        )
        return replace(system, **facts)

    return make


def pi(model: str, throttled: str, **others: str) -> dict[str, str]:
    return {
        "proc/device-tree/model": f"Raspberry Pi {model}\0",
        "bin/vcgencmd": f'#!/bin/sh\n[ "$1" = get_throttled ] && echo throttled={throttled}\n',
        **others,
    }


WEBCAM = {
    "dev/video0": "",
    "dev/video1": "",
    "sys/class/video4linux/video0/name": "HD Webcam: HD Webcam\n",
    "sys/class/video4linux/video0/index": "0\n",
    "sys/class/video4linux/video1/name": "HD Webcam: HD Webcam\n",
    "sys/class/video4linux/video1/index": "1\n",
}
CODECS = {
    "dev/video19": "",
    "sys/class/video4linux/video19/name": "rpi-hevc-dec\n",
    "sys/class/video4linux/video19/index": "0\n",
    "dev/video20": "",
    "sys/class/video4linux/video20/name": "pispbe-input\n",
    "sys/class/video4linux/video20/index": "0\n",
}
LISTING = """#!/bin/sh
cat <<'END'
[0:12:34.567890123] [1234]  INFO Camera camera_manager.cpp:327 libcamera v0.5.0
Available cameras
-----------------
0 : imx708 [4608x2592 10-bit RGGB] (/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a)
    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]
1 : ov5647 [2592x1944 10-bit GBRG] (/base/axi/pcie@1000120000/rp1/i2c@80000/ov5647@36)
END
"""


def levels(findings: object, *checks: str) -> dict[str, str]:
    return {found.check: found.level for found in findings if found.check in checks or not checks}


def of(findings: list[Finding], check: str) -> list[Finding]:
    return [finding for finding in findings if finding.check == check]


def test_a_pi_4_in_trouble_gets_each_cause_and_its_remedy(machine: Machine) -> None:
    system = machine(
        pi("4 Model B Rev 1.4", "0x50005")
        | WEBCAM
        | {
            "sys/class/thermal/thermal_zone0/temp": "83212\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver": "cpufreq-dt\n",
            "proc/meminfo": "MemTotal:         998000 kB\nMemFree:           12000 kB\nMemAvailable:      60000 kB\n",
        },
        free_bytes=lambda _: 50 * 10**6,
    )
    findings = list(check_machine(system))
    assert levels(findings) == {
        "camera": "green",
        "modules": "green",
        "power": "red",
        "throttling": "yellow",
        "temperature": "yellow",
        "governor": "yellow",
        "memory": "red",
        "disk": "yellow",
    }
    assert all(finding.remedy for finding in findings if finding.level != "green")
    assert of(findings, "power")[0].text.startswith("undervoltage now")
    assert of(findings, "throttling")[0].text == "throttled now"
    assert "power supply" in of(findings, "throttling")[0].remedy
    assert "83 °C" in of(findings, "temperature")[0].text
    assert is_throttled(system)


def test_a_pi_5_in_order_shows_its_cameras_and_no_codecs(machine: Machine) -> None:
    system = machine(
        pi("5 Model B Rev 1.0", "0x0")
        | WEBCAM
        | CODECS
        | {
            "bin/rpicam-vid": LISTING,
            "sys/class/thermal/thermal_zone0/temp": "48500\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
            "proc/meminfo": "MemTotal:        8000000 kB\nMemAvailable:    7000000 kB\n",
        }
    )
    findings = [*check_software(system), *check_machine(system)]
    assert set(levels(findings).values()) == {"green"}
    assert of(findings, "machine")[0].text == "Raspberry Pi 5 Model B Rev 1.0, aarch64, 4 cores, 64 bits"
    (camera,) = of(findings, "camera")
    assert camera.text == "/dev/video0, HD Webcam: HD Webcam: user pi can open it"
    modules = [found.text for found in of(findings, "modules")]
    assert modules == ["csi:0, imx708 [4608x2592 10-bit RGGB]", "csi:1, ov5647 [2592x1944 10-bit GBRG]"]
    assert not is_throttled(system)


def test_a_machine_with_none_of_it_lacks_a_camera_and_no_more(machine: Machine) -> None:
    system = machine({})
    findings = [*check_software(system), *check_machine(system)]
    assert [found.check for found in findings if found.level != "green"] == ["camera"]
    assert not is_throttled(system)


def test_a_pi_whose_module_is_not_found_gets_where_to_look(machine: Machine) -> None:
    listing = {"bin/rpicam-vid": "#!/bin/sh\necho 'No cameras available!'\n"}
    findings = list(check_machine(machine(pi("5", "0x0") | CODECS | listing)))
    (finding,) = of(findings, "camera")
    assert (finding.level, finding.exit_code) == ("red", 3)
    assert finding.text == "no camera found (2 /dev/video* devices are codecs and the like)"
    assert "ribbon cable" in of(findings, "modules")[0].remedy


@pytest.mark.parametrize(
    ("bits", "power", "throttling", "now"),
    [
        ("0x0", "green", "green", False),
        ("0x50000", "yellow", "yellow", False),
        ("0x10001", "red", "green", True),
        ("0xe0008", "green", "yellow", True),
    ],
)
def test_the_firmware_s_bits_are_reported_as_now_and_since_boot(
    machine: Machine, bits: str, power: str, throttling: str, now: bool
) -> None:
    system = machine(pi("4 Model B", bits))
    found = list(check_machine(system))
    assert levels(found, "power", "throttling") == {"power": power, "throttling": throttling}
    assert of(found, "power")[0].figures == {"get_throttled": int(bits, 16)}
    assert is_throttled(system) is now


def test_without_vcgencmd_the_kernel_s_alarm_is_used(machine: Machine) -> None:
    broken = {"bin/vcgencmd": '#!/bin/sh\necho "Can\'t open device file: /dev/vcio"\n'}
    alarm = {"sys/class/hwmon/hwmon2/name": "rpi_volt\n", "sys/class/hwmon/hwmon2/in0_lcrit_alarm": "1\n"}
    assert levels(check_machine(machine(broken | alarm)), "power") == {"power": "red"}


def test_a_processor_cooled_by_slowing_down_is_throttled_a_fan_is_not(machine: Machine) -> None:
    cooling = "sys/class/thermal/cooling_device"
    assert not is_throttled(machine({f"{cooling}0/type": "pwm-fan\n", f"{cooling}0/cur_state": "3\n"}))
    assert is_throttled(machine({f"{cooling}1/type": "cpufreq-cpu0\n", f"{cooling}1/cur_state": "1\n"}))


def test_32_bits_under_a_64_bit_kernel_are_reported(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_classify.doctor.machine_checks.find_spec", lambda _: None)
    findings = list(check_software(machine(pi("4 Model B", "0x0"), word_bits=32, python=(3, 9))))
    assert levels(findings, "python", "machine") == {"python": "red", "machine": "red"}
    (found,) = of(findings, "machine")
    assert "32 bits under a 64-bit kernel: LiteRT has no 32-bit build" in found.text
    assert "64-bit Raspberry Pi OS" in found.remedy


def test_a_user_without_permission_for_the_camera_gets_the_group(machine: Machine) -> None:
    files = WEBCAM | {"etc/group": f"video:x:{os.getegid()}:motion,pi\n"}
    system = machine(files, may_open=lambda _: False)
    (in_group,) = of(list(check_machine(system)), "camera")
    (outside,) = of(list(check_machine(replace(system, user="eve"))), "camera")
    assert outside.text.endswith("user eve has no permission (allowed: root, group video)")
    assert (in_group.level, in_group.exit_code, in_group.remedy) == ("red", 3, "log out and in again")
    assert outside.remedy == "sudo usermod -aG video eve, then log out and in again"


def test_the_program_that_holds_the_camera_is_named(machine: Machine) -> None:
    system = machine(WEBCAM | {"proc/412/comm": "motion\n", "proc/412/fd/7": "->/dev/video0"})
    (finding,) = of(list(check_machine(system)), "camera")
    assert finding.level == "yellow"
    assert "in use by motion (412)" in finding.text


def test_a_program_that_hangs_is_left_after_the_time_limit(machine: Machine) -> None:
    system = machine({"bin/rpicam-vid": "#!/bin/sh\nexec sleep 60\n"})
    program = system.program("libcamera-vid", "rpicam-vid")
    assert program is not None
    with pytest.raises(TimeoutError, match="did not answer within"):
        system.run(program, seconds=0.2)


def test_whether_xnnpack_is_in_use_is_detected() -> None:
    delegated, convolutions = convolutions_in_xnnpack(load_interpreter(BUILTIN_MODEL)) or (0, 0)
    assert delegated == convolutions > 50
    assert convolutions_in_xnnpack(without_xnnpack(BUILTIN_MODEL)) == (0, convolutions)


def without_xnnpack(path: Path, num_threads: int = 1, *_: object) -> Any:
    """The file's interpreter in a runtime that has no XNNPACK."""
    without = sys.modules[interpreter_class().__module__].OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    plain = interpreter_class()(model_path=str(path), num_threads=num_threads, experimental_op_resolver_type=without)
    plain.allocate_tensors()
    return plain


def test_a_runtime_without_xnnpack_is_reported_once(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    for module in (interpreter, classifier, model_checks):
        monkeypatch.setattr(module, "load_interpreter", without_xnnpack)
    monkeypatch.setattr(model_checks, "_TIMED_S", 0)
    findings = list(doctor.diagnose(str(BUILTIN_MODEL), machine({})))
    (slow,) = [finding for finding in findings if "XNNPACK" in finding.text]
    assert slow.check == "interpreter"
    assert of(findings, "test card")[0].level == "green"


def test_a_file_that_xnnpack_does_not_run_is_reported(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    def load(path: Path, num_threads: int = 1) -> Any:
        return load_interpreter(path, num_threads) if path == BUILTIN_MODEL else without_xnnpack(path)

    monkeypatch.setattr(model_checks, "load_interpreter", load)
    monkeypatch.setattr(model_checks, "_TIMED_S", 0)
    copy = machine({}).root / "copy.tflite"
    shutil.copy(BUILTIN_MODEL, copy)
    (slow,) = of(list(doctor.diagnose(str(copy), machine({}))), "xnnpack")
    assert slow.level == "yellow"
    assert slow.text.startswith("XNNPACK runs only 0 of ")


def edge_doctor(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "edge_classify.doctor", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, **options)


def test_a_model_file_s_card_is_shown_tested_and_timed() -> None:
    done = edge_doctor(BUILTIN_MODEL, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == report["exit_code"]
    assert done.stderr == ""
    found = {finding["check"]: finding for finding in report["findings"]}
    for check in ("model", "preprocessing", "labels", "accuracy", "provenance", "test card"):
        assert found[check]["level"] == "green", check
    assert " correct as shown on 12000 held-out photos" in found["accuracy"]["text"]
    assert found["labels"]["text"] == "11: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, unknown"
    assert {"p50", "p90"} == set(found["latency"]["figures"]["threads"]["1"])
    assert re.match(r"\d threads? \(auto: an inference takes ", found["threads"]["text"])
    assert report["red"] == sum(finding["level"] == "red" for finding in report["findings"])


def test_a_file_of_others_is_tested_with_what_it_does_not_say_itself(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("off\nmiddle\non\n")
    options = ("--labels", tmp_path / "labels.txt", "--input-range", "0..255", "--input-size", "64x48")
    report = json.loads(
        edge_doctor(ROOT / "tests" / "cases" / "models" / "dynamic_hw.tflite", *options, "--json").stdout
    )
    found = {finding["check"]: finding for finding in report["findings"]}
    assert found["labels"]["text"] == "3: off, middle, on"
    assert "64×48" in found["test card"]["text"]
    assert "assumed" not in found
    assert "latency" in found


def test_everything_that_is_wrong_with_a_configuration_is_listed(tmp_path: Path) -> None:
    config = tmp_path / "edge-classify.toml"
    config.write_text('[camera]\nsize = 5\nfsp = 3\ncamera = "rtsp://me:secret@door/"\n')
    config.chmod(0o644)
    done = edge_doctor("--config", config, "--json")
    assert "secret@" not in done.stdout
    found = [finding for finding in json.loads(done.stdout)["findings"] if finding["check"] == "configuration"]
    assert [finding["level"] for finding in found] == ["red", "red", "yellow"]
    assert done.returncode == 2
    config.write_text('[camera]\ncamera = "demo"\nskip-still = true\n')
    found = json.loads(edge_doctor("--config", config, "--json").stdout)["findings"]
    assert [finding["text"] for finding in found if finding["check"] == "configuration"] == [f"{config}: 2 options"]


def test_each_output_of_a_configuration_is_checked(tmp_path: Path) -> None:
    config = tmp_path / "edge-classify.toml"
    (tmp_path / "photos").touch()
    config.write_text(
        '[camera]\ncamera = "demo"\n[output]\nevents = "gone/events"\n[metrics]\nmetrics = "gone/m.prom"\n'
        '[collect]\ncollect = "photos"\n[hooks]\non-change = "no-such-program"\n'
    )
    found = of(list(check_config(str(config), make_parser())), "configuration")
    assert [finding.level for finding in found] == ["red"] * 4
    for finding, option in zip(found, ("--events", "--metrics", "--on-change", "--collect"), strict=True):
        assert f"{config}: {option}" in finding.text


def test_a_folder_that_systemd_will_make_is_no_error(tmp_path: Path) -> None:
    config = tmp_path / "edge-classify.toml"
    config.write_text('[metrics]\nmetrics = "/run/edge-classify/m.prom"\n')
    found = list(check_config(str(config), make_parser()))
    assert levels(found) == {"configuration": "green", "metrics": "yellow"}
    assert "systemd makes the folder when the service starts" in found[-1].text


def test_a_page_whose_port_is_taken_is_told_of(tmp_path: Path) -> None:
    config = tmp_path / "edge-classify.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(f'[camera]\ncamera = "demo"\n[web]\nweb = true\naddress = "127.0.0.1:{port}"\n')
        found = list(check_config(str(config), make_parser()))
        assert levels(found) == {"configuration": "green", "page": "yellow"}
        assert f"127.0.0.1:{port} is in use" in found[-1].text
    assert levels(list(check_config(str(config), make_parser()))) == {"configuration": "green", "page": "green"}


@pytest.mark.parametrize("source", ["demo", "rtsp://me:hunter2@door.lan/x"])
def test_no_camera_is_missed_if_the_configuration_has_none(machine: Machine, tmp_path: Path, source: str) -> None:
    config = tmp_path / "edge-classify.toml"
    config.write_text(f'[camera]\ncamera = "{source}"\n')
    (camera,) = of(list(doctor.diagnose(None, machine({}), config=str(config))), "camera")
    assert camera.level == "green"
    assert "hunter2" not in camera.text
    config.write_text("[camera]\ncamera = 1\n")
    (camera,) = of(list(doctor.diagnose(None, machine({}), config=str(config))), "camera")
    assert camera.level == "red"


def test_the_exit_code_is_that_of_the_first_red_line(tmp_path: Path) -> None:
    gone = edge_doctor(tmp_path / "gone.tflite")
    assert gone.returncode == 4
    assert re.search(r"^red +model .*gone.tflite: there is no such model file$", gone.stdout, re.MULTILINE)
    data = bytearray(BUILTIN_MODEL.read_bytes())
    data[len(data) // 2] ^= 255
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(data)
    assert edge_doctor(damaged).returncode == 4


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colour_is_for_terminals_and_no_color_is_respected(no_color: str) -> None:
    reader, writer = pty.openpty()
    words = [sys.executable, "-m", "edge_classify.doctor"]
    process = subprocess.Popen(words, stdout=writer, stderr=writer, env={**os.environ, "NO_COLOR": no_color})
    os.close(writer)
    shown = b""
    try:
        while part := os.read(reader, 4096):
            shown += part
    except OSError:  # how a terminal signals its end
        pass
    process.wait(timeout=60)
    os.close(reader)
    assert b"green" in shown
    assert (b"\x1b[32mgreen" in shown) is not bool(no_color)
    if no_color:
        assert b"\x1b" not in shown


def test_versions_for_a_bug_report_name_neither_user_host_folder_nor_label(command, int8_model: Path) -> None:
    environment = {**os.environ, "EDGE_CLASSIFY_MQTT": "mqtt://me:secret@broker/home"}
    done = command("edge-doctor", "--versions", int8_model, env=environment)
    assert done.returncode == 0, done.stderr
    found = dict(re.split(" {2,}", line, maxsplit=1) for line in done.stdout.splitlines())
    for package in ("numpy", "ai-edge-litert", "opencv-python-headless"):
        assert re.search(rf"\b{package} \d", found["packages"]), package
    assert os.uname().machine in found["machine"]
    assert "EDGE_CLASSIFY_MQTT" in found["variables"]
    labels = read_model_file(int8_model).labels
    assert labels is not None
    assert f"sha256 {file_sha256(int8_model)}, {len(labels)} labels, format 1, hub 1.0 at 96, int8" in found["model"]
    private = {socket.gethostname(), str(Path.home()), sys.prefix, int8_model.stem, "secret", "broker", *labels}
    assert not [word for word in private if word in done.stdout]
    done = command("edge-doctor", "--versions", "--json", "gone.tflite")
    assert json.loads(done.stdout)["model"] == "the file: there is no such model file"
