"""Starts edge-classify as a Home Assistant app: its options become a TOML file, its broker the Supervisor's."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

OPTIONS, CONFIG = Path("/data/options.json"), Path("/data/edge-classify.toml")
BROKER = "http://supervisor/services/mqtt"


def as_toml(options: Mapping[str, Any]) -> str:
    """Tables of numbers, texts and truth values, as TOML; what is empty is left out."""
    lines = []
    for table, values in options.items():
        lines += [f"[{table}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if value not in ("", None)]
    return "\n".join(lines) + "\n"


def broker(token: str) -> dict[str, str]:
    """The variables of edge-classify for the broker that the Supervisor offers; none if it offers none."""
    try:
        with urlopen(Request(BROKER, headers={"Authorization": f"Bearer {token}"}), timeout=10) as answer:
            found = json.load(answer)["data"]
    except HTTPError as error:
        print(f"no MQTT broker from Home Assistant ({error.code}): going on without", file=sys.stderr)
        return {}
    return as_variables(found)


def as_variables(found: Mapping[str, Any]) -> dict[str, str]:
    """The broker as the Supervisor describes it, in edge-classify's variables."""
    user = f"{quote(found['username'], safe='')}@" if found.get("username") else ""
    scheme = "mqtts" if found.get("ssl") else "mqtt"
    variables = {"EDGE_CLASSIFY_MQTT": f"{scheme}://{user}{found['host']}:{found['port']}"}
    if found.get("password"):
        variables["EDGE_CLASSIFY_MQTT_PASSWORD"] = found["password"]
    return variables


def main() -> None:
    """Become edge-classify."""
    CONFIG.write_text(as_toml(json.loads(OPTIONS.read_text())))
    if token := os.environ.get("SUPERVISOR_TOKEN"):
        os.environ.update(broker(token))
    os.environ["XDG_CACHE_HOME"] = "/data"
    os.execvp("edge-classify", ["edge-classify", "--config", str(CONFIG)])


if __name__ == "__main__":
    main()
