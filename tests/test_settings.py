"""Settings: keywords, then variables, then defaults; what is wrong or unknown is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_gen.errors import SettingsError
from otel_gen.settings import Settings, explicit, resolve


def test_keywords_win_over_variables_and_those_over_defaults(tmp_path):
    environ = {
        "OTEL_GEN_MINER_UID": "7",
        "OTEL_GEN_STORE_PLY": "off",
        "OTEL_GEN_DATA_DIR": str(tmp_path),
        "OTEL_GEN_NETWORK": "",
    }
    found = resolve({"miner_uid": 226}, environ)
    assert (found.miner_uid, found.store_ply, found.data_dir, found.network) == (
        226,
        False,
        str(tmp_path),
        None,
    )
    assert found.deadline == Settings().deadline


def test_only_what_variables_set_is_explicit():
    assert explicit({"OTEL_GEN_FEEDBACK_TIMEOUT": "0", "OTEL_GEN_OTLP": "", "PATH": "x"}) == {
        "feedback_timeout": 0.0
    }


@pytest.mark.parametrize(
    ("name", "near"), [("datadir", "data_dir"), ("miner_id", "miner_uid"), ("durable", "durability")]
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(name, near):
    with pytest.raises(SettingsError, match=f"unknown setting '{name}'; did you mean '{near}'"):
        resolve({name: 1}, {})


def test_a_name_like_no_other_is_refused_with_all_names():
    with pytest.raises(SettingsError, match="known are data_dir, miner_uid"):
        resolve({"qqqq": 1}, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_dir", 5),
        ("data_dir", ""),
        ("data_dir", "a\0b"),
        ("miner_uid", -1),
        ("miner_uid", 65_536),
        ("miner_uid", 1.5),
        ("miner_uid", True),
        ("miner_version", 1.0),
        ("network", "a\nb"),
        ("network", "x" * 300),
        ("durability", "fast"),
        ("deadline", -1),
        ("deadline", "nan"),
        ("deadline", 61),
        ("feedback_timeout", "inf"),
        ("feedback_timeout", None),
        ("store_images", "maybe"),
        ("store_ply", 2),
        ("ply_min_score", 1.1),
        ("rejected_sample_rate", -0.1),
        ("rejected_sample_max_bytes", 1.5),
        ("max_artifact_bytes", "1GB"),
        ("undecided_keep", -1),
        ("capture_content", "x"),
        ("metrics_port", 70_000),
        ("stats_interval", "x"),
        ("disk_free_alert_ratio", 2),
    ],
)
def test_a_wrong_value_is_refused_and_named(name, value):
    with pytest.raises(SettingsError, match=name):
        resolve({name: value}, {})
    if isinstance(value, str) and value and "\0" not in value:
        with pytest.raises(SettingsError, match=f"OTEL_GEN_{name.upper()}"):
            resolve({}, {f"OTEL_GEN_{name.upper()}": value})


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("ON", True), ("1", True), ("no", False), (" False ", False), ("0", False)],
)
def test_a_switch_has_the_usual_words(text, value):
    assert resolve({"otlp": text}, {}).otlp is value


def test_a_data_dir_is_a_path_of_any_kind_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert resolve({}, {}).data_dir == str(tmp_path / "data")
    assert resolve({"data_dir": Path("x")}, {}).data_dir == str(tmp_path / "x")
    assert resolve({"data_dir": b"y"}, {}).data_dir == str(tmp_path / "y")
    assert resolve({"data_dir": "~/z"}, {}).data_dir == "/home/me/z"


def test_the_policy_is_the_part_that_decides_about_generations():
    policy = resolve({"miner_uid": 3, "undecided_keep": 5, "data_dir": "x"}, {}).policy()
    assert (policy.miner_uid, policy.undecided_keep, policy.store_ply) == (3, 5.0, True)
