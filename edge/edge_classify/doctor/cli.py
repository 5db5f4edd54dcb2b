"""The command `edge-doctor`: what is wrong with this machine, its cameras, a model file, and what mends it."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from .. import __version__
from ..command import run
from ..errors import UsageError
from ..system.machine import System
from .machine_checks import Finding, check_machine, check_software

SERVICE = Path(__file__).with_name("edge-classify.service")
_SERVICE_PREFIX = "/opt/edge-classify"
_COLORS = {"green": "32", "yellow": "33", "red": "31"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    if options.print_service:
        return run(lambda: _print_service(Path(sys.prefix)))
    return run(lambda: _report(options), quiet=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-doctor",
        description="Say what keeps edge-classify from working here, or from working well, and what mends it.",
        epilog="Exit code: 0 without a red line, else that of the first one, as edge-classify's: "
        "1 machine, 3 camera, 4 model file, 5 self-test.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a .tflite file to look into, test and time")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument(
        "--print-service", action="store_true", help="print a systemd unit that runs edge-classify at boot"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def diagnose(model: str | None = None, system: System | None = None) -> Iterator[Finding]:
    """Look at the machine, and at the model file if one is given; the findings come as they are made."""
    system = system or System()
    broken = False
    for finding in check_software(system):
        broken = broken or finding.level == "red"
        yield finding
    if model is not None and broken:
        yield Finding("yellow", "model", f"{model} was not looked at", "mend the red lines above first")
    elif model is not None:
        from .model_checks import check_model

        yield from check_model(model, system)
    yield from check_machine(system)


def _report(options: argparse.Namespace) -> int:
    findings = []
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for finding in diagnose(options.model):
        findings.append(finding)
        if not options.json:
            _show(finding, color)
    exit_code = next((finding.exit_code for finding in findings if finding.level == "red"), 0)
    counts = {level: sum(finding.level == level for finding in findings) for level in _COLORS}
    if options.json:
        lines = [
            {key: value for key, value in asdict(finding).items() if value and key != "exit_code"}
            for finding in findings
        ]
        print(json.dumps({**counts, "exit_code": exit_code, "findings": lines}, ensure_ascii=False))
    else:
        print(", ".join(f"{count} {level}" for level, count in counts.items()))
    return exit_code


def _show(finding: Finding, color: bool) -> None:
    level = f"{finding.level:<7}"
    if color:
        level = f"\x1b[{_COLORS[finding.level]}m{level}\x1b[0m"
    print(f"{level} {finding.check:<12} {finding.text}", flush=True)
    if finding.remedy:
        print(f"{'':20} → {finding.remedy}", flush=True)


def _print_service(prefix: Path) -> int:
    """The unit, with the paths of this installation."""
    if prefix.is_relative_to("/home") or prefix.is_relative_to("/root"):
        raise UsageError(
            f"{prefix} is in a home folder, where a service cannot read: install into {_SERVICE_PREFIX} "
            "(sudo python3 -m venv, then sudo bin/pip install) and ask its edge-doctor, as docs/service.md says"
        )
    if prefix.is_relative_to("/tmp") or prefix.is_relative_to("/var/tmp"):
        print(
            f"warning: a service has a /tmp of its own, so it does not start from {prefix}: install into "
            f"{_SERVICE_PREFIX}, as docs/service.md says",
            file=sys.stderr,
        )
    print(SERVICE.read_text("utf-8").replace(_SERVICE_PREFIX, str(prefix)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
