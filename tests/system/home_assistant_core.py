"""A real Home Assistant core with its MQTT integration and nothing else, for tests: run by its own Python.

    python home_assistant_core.py FOLDER PORT

FOLDER keeps its registries from one start to the next. The broker is on 127.0.0.1:PORT. Prints "up" when it has
started; then for each line of standard input one line of JSON: all states, with their attributes, and all devices; and
the warnings of its log since the last.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from pathlib import Path

from homeassistant import auth, bootstrap, config_entries, core, loader
from homeassistant.helpers import device_registry
from homeassistant.helpers import entity_registry as entities
from homeassistant.setup import async_setup_component

ENTRY = "01JTEST0000000000000000000"


def write_entry(folder: Path, port: int) -> None:
    """What the dialog of the MQTT integration stores."""
    storage = folder / ".storage"
    storage.mkdir(parents=True, exist_ok=True)
    (folder / "configuration.yaml").touch()
    path = storage / "core.config_entries"
    if path.exists():
        return
    entry = {
        "created_at": "2026-01-01T00:00:00+00:00",
        "modified_at": "2026-01-01T00:00:00+00:00",
        "data": {"broker": "127.0.0.1", "port": port, "discovery": True, "discovery_prefix": "homeassistant"},
        "disabled_by": None,
        "discovery_keys": {},
        "domain": "mqtt",
        "entry_id": ENTRY,
        "minor_version": 2,
        "options": {},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "subentries": [],
        "title": "broker",
        "unique_id": None,
        "version": 1,
    }
    document = {"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [entry]}}
    path.write_text(json.dumps(document))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Warnings(logging.Handler):
    """Keeps warnings and errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")


def snapshot(hass: core.HomeAssistant, warnings: Warnings) -> str:
    states = {state.entity_id: [state.state, dict(state.attributes)] for state in hass.states.async_all()}
    names = {entry.entity_id: entry.unique_id for entry in entities.async_get(hass).entities.values()}
    devices = [
        {"name": device.name, "model": device.model, "sw": device.sw_version, "maker": device.manufacturer}
        for device in device_registry.async_get(hass).devices.values()
    ]
    lines, warnings.lines = warnings.lines, []
    return json.dumps({"states": states, "unique_ids": names, "devices": devices, "warnings": lines}, default=str)


async def main(folder: Path, port: int) -> None:
    write_entry(folder, port)
    warnings = Warnings()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger().addHandler(warnings)
    hass = core.HomeAssistant(str(folder))
    hass.config.skip_pip = True
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth.auth_manager_from_config(hass, [{"type": "homeassistant"}], [])
    # The image platform serves its pictures by it.
    assert await async_setup_component(hass, "http", {"http": {"server_host": "127.0.0.1", "server_port": free_port()}})
    hass.config.components.add("file_upload")
    assert await hass.config_entries.async_setup(ENTRY), warnings.lines
    await hass.async_start()
    await hass.async_block_till_done()
    print("up", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(snapshot(hass, warnings), flush=True)
    await hass.async_stop(force=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
