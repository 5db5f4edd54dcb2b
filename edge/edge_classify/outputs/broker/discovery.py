"""The message by which Home Assistant finds the device: one, retained, with everything that it can show.

Its rules are Home Assistant's own of 2026.11, which tests/edge/test_mqtt_discovery.py writes out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import __version__
from .topics import Topics, distinct, slug

# States are told again so often, and are no longer shown when they were not for so long; in seconds.
HEARTBEAT_S = 60
EXPIRE_AFTER_S = 180

# With more labels than fit, the state is shown as any text, and changes without their label.
_MAX_BYTES = 4096


@dataclass(frozen=True)
class Device:
    """What is shown.

    name: the device's, as people read it. slug: the same for identifiers, which never change.
    models: by name, the level of its topic, and what each of its labels is shown as.
    description: the model files, in words.
    """

    name: str
    slug: str
    topics: Topics
    levels: Mapping[str, str]
    shown: Mapping[str, Mapping[str, str]]
    description: str
    camera: bool
    image: bool
    temperature: bool


def discovery(device: Device) -> tuple[dict[str, Any], bool]:
    """The message, and whether it lists the labels.

    A message with all labels has at most 4,096 bytes, or the labels are left out: more is more than some readers take.
    """
    message = _message(device, with_labels=True)
    if len(encode(message)) <= _MAX_BYTES:
        return message, True
    return _message(device, with_labels=False), False


def encode(message: Mapping[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def without(message: Mapping[str, Any], former: Mapping[str, Any]) -> dict[str, Any] | None:
    """A message that removes what a former one had and this one has not; None if there is no such thing."""
    components: dict[str, Any] = message["cmps"]
    gone = {
        name: {"p": entry["p"]}
        for name, entry in former.get("cmps", {}).items()
        if name not in components and isinstance(entry, dict) and isinstance(entry.get("p"), str)
    }
    return {**message, "cmps": {**components, **gone}} if gone else None


def _message(device: Device, *, with_labels: bool) -> dict[str, Any]:
    # Abbreviated as Home Assistant defines it: a device with several models should still fit.
    return {
        "dev": {
            "ids": [f"edge_classify_{device.slug}"],
            "name": device.name,
            "mf": "edge-classify",
            "mdl": device.description,
            "sw": __version__,
        },
        "o": {"name": "edge-classify", "sw": __version__},
        "avty": [{"t": device.topics.availability}],
        "cmps": _components(device, with_labels=with_labels),
    }


def _components(device: Device, *, with_labels: bool) -> dict[str, Any]:
    components: dict[str, Any] = {}
    several = len(device.levels) > 1
    ends = distinct(map(slug, device.levels), "model") if several else [""]
    for number, (model, end) in enumerate(zip(device.levels, ends, strict=True)):
        for name, entry in _of_model(device, model, number, with_labels=with_labels).items():
            if several:
                entry["name"] = f"{model}: {entry['name']}"
            components[f"{name}_{end}" if several else name] = entry
    components |= _of_device(device)
    return {name: {**entry, "uniq_id": f"edge_classify_{device.slug}_{name}"} for name, entry in components.items()}


def _of_model(device: Device, model: str, number: int, *, with_labels: bool) -> dict[str, dict[str, Any]]:
    topics, shown = device.topics, device.shown[model]
    options: list[str] = list(shown.values())
    renamed = {label: text for label, text in shown.items() if label != text}
    state: dict[str, Any] = {
        "p": "sensor",
        "name": "State",
        "ic": "mdi:eye",
        "stat_t": topics.classification(device.levels[model]),
        "exp_aft": EXPIRE_AFTER_S,
    }
    if with_labels:
        state |= {"dev_cla": "enum", "ops": options, "val_tpl": f"{{{{ {_template(renamed)}.get(value, value) }}}}"}
    else:
        short = {label: text for label, text in renamed.items() if len(label) <= 255}
        state["val_tpl"] = f"{{{{ {_template(short)}.get(value, value)[:255] }}}}"
    change: dict[str, Any] = {
        "p": "event",
        "name": "Change",
        "stat_t": topics.event,
        "evt_typ": options if with_labels else ["changed"],
    }
    if len(device.levels) > 1:
        change["val_tpl"] = f"{{{{ value if value_json.model == {_template(model)} else '' }}}}"
    share = f"value_json.models[{number}].unknown_share"
    unknown = _measured(topics, "Share of unknown", f"({share} * 100) | round(1) if {share} is number else None", "%")
    return {"state": state, "change": change, "unknown_share": {**unknown, "ic": "mdi:help-circle-outline"}}


def _of_device(device: Device) -> dict[str, dict[str, Any]]:
    topics = device.topics
    components = {
        "latency_p90": _measured(topics, "Latency", "value_json.latency_p90_ms", "ms", "duration"),
        "frame_rate": {
            **_measured(topics, "Frame rate", "value_json.frames_per_second", "fps"),
            "ic": "mdi:speedometer",
        },
    }
    if device.temperature:
        components["temperature"] = _measured(
            topics, "Processor temperature", "value_json.temperature_celsius", "°C", "temperature"
        )
    if device.camera:
        # It must be there exactly when all else is unavailable.
        components["problem"] = {
            "p": "binary_sensor",
            "name": "Camera",
            "dev_cla": "problem",
            "ent_cat": "diagnostic",
            "stat_t": topics.problem,
            "exp_aft": EXPIRE_AFTER_S,
            "avty": [],
        }
    if device.image:
        components["image"] = {
            "p": "image",
            "name": "Picture",
            "img_t": topics.image,
            "cont_type": "image/jpeg",
        }
    return components


def _measured(topics: Topics, name: str, expression: str, unit: str, device_class: str | None = None) -> dict[str, Any]:
    entry = {
        "p": "sensor",
        "name": name,
        "stat_t": topics.attributes,
        "val_tpl": f"{{{{ {expression} }}}}",
        "unit_of_meas": unit,
        "sug_dsp_prc": 1,
        "stat_cla": "measurement",
        "ent_cat": "diagnostic",
        "exp_aft": EXPIRE_AFTER_S,
    }
    return entry if device_class is None else {**entry, "dev_cla": device_class}


def _template(value: str | Mapping[str, str]) -> str:
    """As a literal of Jinja, whose strings know JSON's escapes."""
    return json.dumps(value, ensure_ascii=False)


def described(contracts: Sequence[Mapping[str, Any] | None], names: Sequence[str]) -> str:
    """The models in a few words: what they are made of, or their names."""
    words = []
    for contract, name in zip(contracts, names, strict=True):
        model = contract["model"] if contract is not None else None
        words.append("{family} {alpha}@{resolution} {precision}".format_map(model) if model else name)
    return ", ".join(words)[:200]
