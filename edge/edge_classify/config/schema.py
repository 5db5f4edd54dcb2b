"""The JSON Schema of configuration files, for editors and checkers, generated from the options themselves."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .settings import Setting, settings

SCHEMA_FILE = Path(__file__).with_name("edge-classify.schema.json")


def json_schema(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The schema of what `read_file` accepts, as far as one value at a time can tell."""
    tables: dict[str, Any] = {}
    for setting in settings(parser):
        table = tables.setdefault(setting.table, {"type": "object", "additionalProperties": False, "properties": {}})
        table["properties"][setting.key] = _property(setting, parser)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of edge-classify",
        "type": "object",
        "additionalProperties": False,
        "properties": tables,
    }


def _property(setting: Setting, parser: argparse.ArgumentParser) -> dict[str, Any]:
    value = setting.json_schema()
    if setting.repeatable:
        value = {"anyOf": [value, {"type": "array", "items": value}]}
    # With the defaults in it, as --help has them.
    text = parser._get_formatter()._expand_help(setting.action)
    return {"description": " ".join(text.split()), **value}
