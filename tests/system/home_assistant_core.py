"""A real Home Assistant core, for tests: run by its own Python.

    python home_assistant_core.py FOLDER

FOLDER keeps what has been set up, and the registries, from one start to the next. Prints a line of JSON when it has
started: the address of its REST API, and a token of its owner, who may add integrations as the dialogs do. Then for
each line of standard input one line of JSON: all states, with their attributes, and all devices; and the warnings of
its log since the last.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from pathlib import Path

from homeassistant import auth, bootstrap, config_entries, core, loader
from homeassistant.auth.const import GROUP_ID_ADMIN
from homeassistant.components.config import config_entries as dialogs
from homeassistant.helpers import device_registry
from homeassistant.helpers import entity_registry as entities
from homeassistant.setup import async_setup_component


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


async def log_in(hass: core.HomeAssistant) -> str:
    """A token of the owner, who is made at the first start."""
    known = [user for user in await hass.auth.async_get_users() if not user.system_generated]
    owner = known[0] if known else await hass.auth.async_create_user("owner", group_ids=[GROUP_ID_ADMIN])
    refresh = await hass.auth.async_create_refresh_token(owner, client_id="http://127.0.0.1/")
    return hass.auth.async_create_access_token(refresh)


async def main(folder: Path) -> None:
    (folder / "configuration.yaml").touch()
    warnings = Warnings()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger().addHandler(warnings)
    hass = core.HomeAssistant(str(folder))
    hass.config.skip_pip = True
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth.auth_manager_from_config(hass, [{"type": "homeassistant"}], [])
    port = free_port()
    assert await async_setup_component(hass, "http", {"http": {"server_host": "127.0.0.1", "server_port": port}})
    # The whole component would want the frontend.
    dialogs.async_setup(hass)
    for entry in hass.config_entries.async_entries():
        assert await hass.config_entries.async_setup(entry.entry_id), warnings.lines
    await hass.async_start()
    await hass.async_block_till_done()
    print(json.dumps({"address": f"http://127.0.0.1:{port}", "token": await log_in(hass)}), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(snapshot(hass, warnings), flush=True)
    await hass.async_stop(force=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
