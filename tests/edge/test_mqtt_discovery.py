"""The discovery message, against the rules of Home Assistant 2026.11 (its components/mqtt), written out here.

tests/system/test_home_assistant.py asks a real one.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_classify.outputs.broker.discovery import Device, discovery, encode, without
from edge_classify.outputs.broker.shown import shown_labels
from edge_classify.outputs.broker.topics import Topics, levels, slug

# Our abbreviations, as Home Assistant writes them out.
ABBREVIATIONS = {
    "dev": "device",
    "o": "origin",
    "avty": "availability",
    "cmps": "components",
    "ids": "identifiers",
    "mf": "manufacturer",
    "mdl": "model",
    "sw": "sw_version",
    "t": "topic",
    "p": "platform",
    "ic": "icon",
    "stat_t": "state_topic",
    "val_tpl": "value_template",
    "exp_aft": "expire_after",
    "dev_cla": "device_class",
    "ops": "options",
    "evt_typ": "event_types",
    "ent_cat": "entity_category",
    "unit_of_meas": "unit_of_measurement",
    "sug_dsp_prc": "suggested_display_precision",
    "stat_cla": "state_class",
    "uniq_id": "unique_id",
    "img_t": "image_topic",
    "cont_type": "content_type",
}
COMMON = {"platform", "name", "unique_id", "availability", "entity_category", "icon", "value_template", "state_topic"}
MEASURING = {
    *("device_class", "expire_after", "unit_of_measurement", "suggested_display_precision", "state_class"),
}
ALLOWED = {
    "sensor": COMMON | MEASURING | {"options"},
    "event": COMMON | {"event_types"},
    "binary_sensor": COMMON | {"device_class", "expire_after"},
    "image": (COMMON | {"image_topic", "content_type"}) - {"state_topic"},
}
UNITS = {"duration": {"ms", "s"}, "temperature": {"°C"}}
# States that say that there is no state.
RESERVED = {"unknown", "unavailable", "None", ""}

AWKWARD = (
    "unknown",
    "None",
    "unavailable",
    "a/b + #1",
    "x" * 300,
    "🐈 cat",
    'say "hi" \\ {{ }}',
    "none",
    "not_recognised",
)


def device(labels: tuple[str, ...] = ("cup", "keys"), models: tuple[str, ...] = ("drawn",)) -> Device:
    shown = {model: shown_labels(labels) for model in models}
    topics = Topics("edge-classify/front-door")
    where = levels(models)
    return Device("Front door", "front-door", topics, where, shown, "it", camera=True, image=True, temperature=True)


def written_out(value: Any) -> Any:
    if isinstance(value, dict):
        return {ABBREVIATIONS.get(key, key): written_out(entry) for key, entry in value.items()}
    return [written_out(entry) for entry in value] if isinstance(value, list) else value


def check_rules(message: dict[str, Any]) -> None:
    """What Home Assistant refuses."""
    assert set(message) == {"device", "origin", "availability", "components"}
    assert message["device"]["identifiers"]
    assert message["origin"]["name"]
    topics = [entry["topic"] for entry in message["availability"]]
    ids = []
    for name, entry in message["components"].items():
        assert re.fullmatch("[a-zA-Z0-9_-]+", name)
        assert set(entry) <= ALLOWED[entry["platform"]], name
        ids.append(entry["unique_id"])
        topics += [value for key, value in entry.items() if key.endswith("_topic")]
        if "options" in entry:
            assert entry["options"]
            assert entry["device_class"] == "enum"
            assert "state_class" not in entry
            assert len(set(entry["options"])) == len(entry["options"])
        if entry.get("device_class") in UNITS:
            assert entry["unit_of_measurement"] in UNITS[entry["device_class"]]
        if entry["platform"] == "event":
            assert entry["event_types"]
        # Else it is shown as an eye, as all others are.
        assert entry["platform"] != "sensor" or {"icon", "device_class"} & set(entry), name
        assert entry.get("entity_category", "diagnostic") == "diagnostic"
        assert not entry["name"].startswith(message["device"]["name"])
    assert len(set(ids)) == len(ids)
    for topic in topics:
        assert not set(topic) & set("+#\0")
        assert len(topic.encode()) < 65536


@pytest.mark.parametrize("models", [("drawn",), ("a/b", "a+b", "Größe", "größe", "🐈"), ("🐈", "🐕")])
@pytest.mark.parametrize("labels", [("cup",), AWKWARD, tuple(f"class number {n}" for n in range(1001))])
def test_the_message_is_as_home_assistant_wants_it(models: tuple[str, ...], labels: tuple[str, ...]) -> None:
    made = device(labels, models)
    message, with_labels = discovery(made)
    check_rules(written_out(message))
    assert with_labels == (len(encode(message)) <= 4096 and any("ops" in entry for entry in message["cmps"].values()))
    assert len(encode(message)) <= 4096 or len(models) > 2 or not with_labels


def test_a_usual_message_is_small_and_has_what_the_docs_name() -> None:
    message, with_labels = discovery(device(tuple(f"class {number}" for number in range(20))))
    assert with_labels
    assert len(encode(message)) < 4096
    kinds = {name: entry["p"] for name, entry in message["cmps"].items()}
    assert kinds == {
        **dict.fromkeys(("state", "unknown_share", "latency_p90", "frame_rate", "temperature"), "sensor"),
        **{"change": "event", "problem": "binary_sensor", "image": "image"},
    }
    # They must never change, or people's automations end.
    assert {entry["uniq_id"] for entry in message["cmps"].values()} == {f"edge_classify_front-door_{k}" for k in kinds}


def test_what_is_left_out_of_a_later_message_is_removed() -> None:
    former, _ = discovery(device(models=("a", "b")))
    now, _ = discovery(device())
    removal = without(now, json.loads(encode(former)))
    assert removal is not None
    assert {name for name, entry in removal["cmps"].items() if set(entry) == {"p"}} == {
        f"{kind}_{model}" for kind in ("state", "change", "unknown_share") for model in "ab"
    }
    assert without(now, json.loads(encode(now))) is None
    assert without(now, {"cmps": {"x": "y"}}) is None


def test_labels_that_home_assistant_reserves() -> None:
    shown = shown_labels(("cup", "unknown"))
    assert shown == {"cup": "cup", "unknown": "none"}
    shown = shown_labels(AWKWARD)
    assert shown["unknown"] == "not_recognised (2)"
    assert shown["None"] == "class None"
    assert shown["unavailable"] == "class unavailable"
    assert shown["a/b + #1"] == "a/b + #1"
    assert shown["x" * 300] == "x" * 99 + "…"
    assert shown["🐈 cat"] == "🐈 cat"


@given(st.lists(st.text() | st.sampled_from([*AWKWARD, "class None", "NONE", "x" * 301, "Unknown"]), unique=True))
def test_every_label_is_shown_as_something_of_its_own(labels: list[str]) -> None:
    shown = shown_labels(labels)
    assert set(shown) == {*labels, "unknown"}
    assert len(set(shown.values())) == len(shown)
    for text in shown.values():
        assert text not in RESERVED
        assert 0 < len(text) <= 100
        assert text.isprintable()
        assert text == text.strip() or text in labels


@given(st.lists(st.text(min_size=1), unique=True, min_size=1))
def test_every_model_has_a_topic_of_its_own(models: list[str]) -> None:
    where = levels(models)
    assert len(set(where.values())) == len(models)
    assert all(level and not set(level) & set("/+#\0") for level in where.values())


@given(st.text())
def test_a_slug_is_an_identifier(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9_-]{0,64}", slug(text))
    assert slug(slug(text)) == slug(text)
