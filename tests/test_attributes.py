"""Attributes: keywords become bounded, sanitised gen3d attributes."""

from __future__ import annotations

import hashlib
import json
from uuid import UUID

import pytest

from otel_gen import attributes as attrs
from otel_gen import semconv as sc
from otel_gen.settings import Settings
from otel_gen.shown import filtered


def test_scalars_keep_their_kind_and_the_rest_is_canonical_json():
    found = attrs.custom(
        {"a": 1, "b": 1.5, "c": True, "d": "x", "e": {"z": 1, "a": [None]}, "f": None, "g": float("nan")}
    )
    assert found == {
        "gen3d.attributes.a": 1,
        "gen3d.attributes.b": 1.5,
        "gen3d.attributes.c": True,
        "gen3d.attributes.d": "x",
        "gen3d.json.e": '{"a":[null],"z":1}',
        "gen3d.json.f": "null",
        "gen3d.json.g": "null",
    }


def test_a_configs_hash_does_not_depend_on_the_order_of_its_keys():
    one, two = attrs.config_attributes({"a": 1, "b": [2]}), attrs.config_attributes({"b": [2], "a": 1})
    assert one == two
    assert one[sc.MINER_CONFIG_HASH] == "sha256:" + hashlib.sha256(b'{"a":1,"b":[2]}').hexdigest()
    assert attrs.config_attributes(None) == {}


@pytest.mark.parametrize(
    "value",
    [
        *(0, True, -1.5, -0.0, float("nan"), float("-inf"), 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**70),
        *("", "é", "\ud800", 'q"\\\n\0', "v" * 129, None, [1], {"a": {1}}, object()),
    ],
)
@pytest.mark.parametrize("key", ["k", "", "é", "\ud800", "k" * 129, "k" * 300, 'q"', 7])
def test_a_config_is_written_as_the_sanitiser_would_write_it(key, value):
    config = {"first": 1, key: value}
    assert attrs.config_attributes(config)[sc.MINER_CONFIG] == attrs.structured(config)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("t-1", "t-1"),
        (7, "7"),
        (UUID(int=1), str(UUID(int=1))),
        ("", None),
        (None, None),
        (True, None),
        ([], None),
        (object(), None),
    ],
)
def test_a_task_id_is_a_text_a_number_or_a_uuid(given, found):
    assert attrs.task_id(given) == found


@pytest.mark.parametrize("letter", ["x", "é"])
def test_long_task_ids_that_begin_alike_are_two_tasks(letter):
    whole = letter * (128 // len(letter.encode()))
    assert attrs.task_id(whole) == whole
    one, other = (attrs.task_id(whole * 50 + end) for end in ("1", "2"))
    assert one != other
    assert one[:40] == other[:40] == whole[:40]
    assert max(len(one.encode()), len(other.encode())) <= 128
    assert attrs.task_id(one) == one
    assert attrs.task({"task_id": whole * 50}).get(sc.TRUNCATED)
    assert sc.TRUNCATED not in attrs.task({"task_id": whole})


def test_a_long_prompt_is_cut_and_says_so_with_its_true_length():
    found = attrs.prompt_text("é" * 100_000)
    assert found[sc.PROMPT_LENGTH] == 100_000
    assert found[sc.TRUNCATED] is True
    assert len(found[sc.PROMPT].encode()) <= attrs.MAX_PROMPT
    assert attrs.prompt_text(None) == {sc.PROMPT_LENGTH: 0}


def test_only_numbers_ids_and_closed_sets_are_shown_to_others():
    hidden = {
        sc.PROMPT: "p",
        sc.ENHANCED_PROMPT: "p",
        sc.NEGATIVE_PROMPT: "p",
        sc.VALIDATOR_HOTKEY: "p",
        sc.MINER_HOTKEY: "p",
        sc.MINER_CONFIG: "p",
        sc.REJECTION_REASON: "p",
        sc.ERROR_MESSAGE: "p",
        sc.ERROR_STACK: "p",
        sc.ERROR_CLASS: "p",
        sc.ERROR_STAGE: "p",
        sc.LATER_ERROR: "p",
        sc.RENDER_STATS: "p",
        sc.GAUSSIAN_STATS: "p",
        sc.STAGE_NAME: "p",
        "gen3d.attributes.x": "p",
        "gen3d.json.x": "p",
        "gen3d.feedback.rejection_reason": "p",
        "gen3d.artifact.ply.staged": "p",
        "gen3d.attributes.a red chair": 0.3,
        "gen3d.feedback.a red chair": 1,
        "gen3d.attributes.5F3sa2TJAWMqDhXG6jhV4N8ko9SxwGy8TpaNS1repo5EYjQX": 1,
        f"gen3d.attributes.{'x' * 65}": 1,
        sc.TASK_ID: "not an id: p",
    }
    shown = {sc.TASK_ID: "t-1", sc.NUM_GAUSSIANS: 5, "gen3d.attributes.n": 1.5, "gen3d.artifact.ply.size": 7}
    assert filtered(hidden) == {}
    assert filtered(hidden | shown) == shown
    words = filtered({sc.TASK_TYPE: "my secret", sc.ERROR_TYPE: "weights missing"})
    assert words == {sc.TASK_TYPE: "other", sc.ERROR_TYPE: "other"}


def test_identity_is_what_the_settings_say_and_no_more():
    assert attrs.identity(Settings()) == {}
    assert attrs.identity(Settings(miner_uid=0, network="main")) == {sc.MINER_UID: 0, sc.NETWORK: "main"}


def test_structured_values_are_bounded():
    assert len(attrs.structured({"a": "x" * 100_000})) < 40_000
    json.loads(attrs.structured([[[[]] * 1000] * 1000]))


class Unhashable(type):
    def __hash__(cls):
        raise RuntimeError("a class of the caller's that has no hash")


def test_settings_of_a_class_without_a_hash_are_described_like_any_other():
    value = Unhashable("Value", (), {})()
    assert attrs.config_attributes({"steps": 4, "odd": value}) == attrs.config_attributes(
        {"steps": 4, "odd": {"type": "Value"}}
    )
