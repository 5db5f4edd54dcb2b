"""The command `edge-doctor`: check this machine, its cameras and a model file, and suggest fixes."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from ..errors import CameraError, EdgeClassifyError, ModelFileError, SelfTestError, UsageError
from ..options import Parser, add_third_party_options
from ..outputs import mqtt
from ..outputs.metrics import destination
from ..system.command import run
from ..system.machine import System
from .finding import Finding
from .machine_checks import check_machine, check_software
from .network_checks import check_network

SERVICE_CONFIG = Path("/etc/edge-classify.toml")
SERVICE = Path(__file__).with_name("edge-classify.service")
_SERVICE_PREFIX = "/opt/edge-classify"

# ANSI codes.
_COLORS = {"green": "32", "yellow": "33", "red": "31"}
# Columns of the longest level and check.
_LEVEL_WIDTH = 7
_CHECK_WIDTH = 13


class _MachineError(EdgeClassifyError):
    """The exit code of a red finding about the machine, for --help; never raised."""

    meaning = "a problem with this machine"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.model is None and (options.labels or options.input_range or options.input_size):
        parser.error("--labels, --input-range and --input-size are for a model file: name one with MODEL")
    if options.versions:
        return run(lambda: _print_versions(options.model, options.json), quiet=True, traceback=options.traceback)
    if options.print_service:
        return run(lambda: _print_service(Path(sys.prefix)), traceback=options.traceback)
    if options.print_drop_in:
        return run(lambda: _print_drop_in(options.config or str(SERVICE_CONFIG)), traceback=options.traceback)
    return run(lambda: _diagnose(parser, options), quiet=True, traceback=options.traceback)


def _parser() -> Parser:
    parser = Parser(
        "edge-doctor",
        "Diagnose this machine, its cameras and optionally a model file, and suggest fixes.\n"
        "Each line is green (fine), yellow (could be better) or red (does not work). The exit\n"
        "code is 0 if no line is red, otherwise that of the first red line.",
        usage="edge-doctor [MODEL] [options]",
        examples=[
            ("edge-doctor", "check this machine and its cameras"),
            ("edge-doctor models/mobilenet_v2_0.5_160_int8.tflite", "also test a model file and time it here"),
        ],
        errors=[_MachineError, CameraError, ModelFileError, SelfTestError],
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a .tflite file to inspect, test and time")
    add_third_party_options(parser)
    mqtt.add_broker_options(parser.add_argument_group("mqtt"), "also test whether we can tell Home Assistant")
    parser.add_argument(
        "--metrics",
        type=destination,
        metavar="ADDRESS|FILE",
        help="also check where edge-classify --metrics serves or writes",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="configuration file of edge-classify to check (default: /etc/edge-classify.toml, if it is there)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument(
        "--versions",
        action="store_true",
        help="print what a bug report needs about this installation, and about MODEL, and exit",
    )
    parser.add_argument(
        "--print-service", action="store_true", help="print a systemd unit that runs edge-classify at boot, and exit"
    )
    parser.add_argument(
        "--print-drop-in",
        action="store_true",
        help="print what the configuration file needs beyond that unit, as a systemd drop-in, and exit",
    )
    parser.add_common_options()
    return parser


def diagnose(
    model: str | None = None,
    system: System | None = None,
    *,
    labels: str | None = None,
    input_range: str | None = None,
    input_size: tuple[int, int] | None = None,
    config: str | None = None,
) -> Iterator[Finding]:
    """Check the machine, and the model file and the configuration if they are given; findings come as they are made.

    labels, input_range, input_size: of the model file, as `Classifier` takes them.
    """
    system = system or System()
    source = "0"
    broken = False
    for finding in check_software(system):
        broken = broken or finding.level == "red"
        yield finding
    if model is not None and broken:
        yield Finding("yellow", "model", f"{model} was not checked", "fix the red lines above first")
    elif model is not None:
        from .model_checks import check_model

        yield from check_model(model, system, labels=labels, input_range=input_range, input_size=input_size)
    if config is not None and not broken:
        from ..cli import make_parser
        from .config_checks import check_config

        source = yield from check_config(config, make_parser())
    yield from check_machine(system, source)


def _diagnose(parser: Parser, options: argparse.Namespace) -> int:
    parser.check_belonging(options)
    mqtt.check_broker_options(options)
    findings = []
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    third_party = {"labels": options.labels, "input_range": options.input_range, "input_size": options.input_size}
    config = options.config or (str(SERVICE_CONFIG) if SERVICE_CONFIG.exists() else None)
    for finding in chain(diagnose(options.model, **third_party, config=config), check_network(options)):
        findings.append(finding)
        if not options.json:
            _print_finding(finding, color)
    exit_code = next((finding.exit_code for finding in findings if finding.level == "red"), 0)
    counts = {level: sum(finding.level == level for finding in findings) for level in _COLORS}
    if options.json:
        entries = [
            {key: value for key, value in asdict(finding).items() if value and key != "exit_code"}
            for finding in findings
        ]
        print(json.dumps({**counts, "exit_code": exit_code, "findings": entries}, ensure_ascii=False))
    else:
        print(", ".join(f"{count} {level}" for level, count in counts.items()))
    return exit_code


def _print_finding(finding: Finding, color: bool) -> None:
    level = f"{finding.level:<{_LEVEL_WIDTH}}"
    if color:
        level = f"\x1b[{_COLORS[finding.level]}m{level}\x1b[0m"
    print(f"{level} {finding.check:<{_CHECK_WIDTH}} {finding.text}", flush=True)
    if finding.remedy:
        print(f"{'':{_LEVEL_WIDTH + _CHECK_WIDTH + 1}} → {finding.remedy}", flush=True)


def _print_versions(model: str | None, as_json: bool) -> int:
    from .versions import versions

    found = versions(model, System())
    width = max(map(len, found))
    lines = "\n".join(f"{name:<{width}}  {text}" for name, text in found.items())
    print(json.dumps(found, ensure_ascii=False) if as_json else lines)
    return 0


def _print_service(prefix: Path) -> int:
    """Print the unit with the paths of this installation."""
    if prefix.is_relative_to("/home") or prefix.is_relative_to("/root"):
        raise UsageError(
            f"{prefix} is in a home folder, which a service cannot read: install edge-classify into "
            f"{_SERVICE_PREFIX} and run the edge-doctor there, see docs/service.md"
        )
    if prefix.is_relative_to("/tmp") or prefix.is_relative_to("/var/tmp"):
        print(
            f"warning: a service has its own /tmp, so it cannot start from {prefix}: install edge-classify into "
            f"{_SERVICE_PREFIX}, see docs/service.md",
            file=sys.stderr,
        )
    print(SERVICE.read_text("utf-8").replace(_SERVICE_PREFIX, str(prefix)), end="")
    return 0


def _print_drop_in(config: str) -> int:
    """Print the drop-in on standard output, and what else has to be done on standard error."""
    from ..cli import make_parser
    from ..config.layers import from_environment
    from ..config.settings import settings
    from ..config.toml_file import read_file
    from .drop_in import as_text, drop_in, read_variables

    parser = make_parser()
    known = settings(parser)
    contents = read_file(config, known, parser)
    path = Path(config).absolute()
    secrets = path.with_suffix(".env")
    environment = from_environment(known, read_variables(secrets), parser) if secrets.exists() else {}
    needs = drop_in(path, known, {**contents.values, **environment}, default=SERVICE_CONFIG)
    if secrets.exists():
        needs.add(f"EnvironmentFile={secrets}")
    print(as_text(needs, path), end="")
    for note in needs.notes:
        print(f"warning: {note}", file=sys.stderr)
    # What is printed may be on its way into a file already: better a drop-in without these than an empty one.
    for problem in contents.problems:
        print(f"error: {problem}", file=sys.stderr)
    return UsageError.exit_code if contents.problems else 0
