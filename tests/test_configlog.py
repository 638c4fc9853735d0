"""The config history: real differences, each told once."""

from __future__ import annotations

import hashlib
import json

from otel_gen import semconv as sc


def under(worker, config):
    text = json.dumps(config, sort_keys=True)
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return worker.start(**{sc.MINER_CONFIG: text, sc.MINER_CONFIG_HASH: digest}).end()


def changes(world):
    return [line["changes"] for line in world.lines("miner_config_history.jsonl")]


def test_only_what_changed_is_told_and_a_restart_tells_nothing_again(world):
    worker = world.worker()
    for config in (
        {"steps": 4, "cfg": 7.5},
        {"steps": 4, "cfg": 7.5},
        {"steps": 8, "cfg": 7.5},
        {"steps": 8},
    ):
        under(worker, config)
        world.step()
        world.restart()
        world.step()
    assert changes(world) == [
        {"steps": {"old": None, "new": 4}, "cfg": {"old": None, "new": 7.5}},
        {"steps": {"old": 4, "new": 8}},
        {"cfg": {"old": 7.5, "new": None}},
    ]


def test_a_generation_without_settings_changes_nothing(world):
    worker = world.worker()
    under(worker, {"steps": 4})
    worker.start().end()
    under(worker, {"steps": 4})
    world.step()
    assert len(changes(world)) == 1


def test_a_change_whose_line_was_lost_in_a_crash_is_told_by_the_next_record(world):
    worker = world.worker()
    under(worker, {"steps": 4})
    world.step()
    (world.path / "miner_config_history.jsonl").unlink()
    world.restart()
    under(worker, {"steps": 4})
    world.step()
    assert changes(world) == [{"steps": {"old": None, "new": 4}}]
