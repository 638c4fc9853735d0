"""Config history: real differences of the miner's settings, told by the file itself."""

from __future__ import annotations

from typing import Any

from otel_gen.clock import iso
from otel_gen.events import Configured
from otel_gen.lines import CONFIG_HISTORY, Lines
from otel_gen.record import Record, seal
from otel_gen.restore import parsed
from otel_gen.tree import Tree

_START = "start-"
"""How the event ids of lines begin that tell with which settings the application started."""


class ConfigLog:
    """Know the settings last in force and write a line when they change."""

    def __init__(self, tree: Tree) -> None:
        self.hash = ""
        self.config: dict[str, Any] = {}
        self._started: dict[str, Any] = {}
        self._told: set[str] = set()
        for line in parsed(Lines(tree.root, CONFIG_HISTORY)):
            changes = line.get("changes")
            if isinstance(changes, dict) and all(isinstance(change, dict) for change in changes.values()):
                self._take(line, changes)

    def _take(self, line: Record, changes: dict[str, Any]) -> None:
        event_id = str(line.get("event_id"))
        if "miner_config_hash" in line or "event_id" not in line:
            self.hash = line.get("miner_config_hash", "")
            _apply(self.config, changes)
        elif event_id.startswith(_START):
            _apply(self._started, changes)
        else:
            self._follow(changes)
        self._told.add(event_id)

    def _follow(self, changes: dict[str, Any]) -> None:
        """Know a change that the application told, so that the next record does not tell it again."""
        _apply(self.config, {key: change for key, change in changes.items() if key in self.config})

    def told(self, event_id: str, event: Configured) -> list[bytes]:
        """Give the line of a change, or of a start, that the application told itself."""
        start = event.kind == "start"
        event_id = f"{_START if start else ''}{event_id}"
        changes = _differences(self._started, event.changes) if start else event.changes
        if event_id in self._told or not changes:
            return []
        line = {
            "timestamp": iso(event.wall),
            "event": "config_change",
            "changes": changes,
            "reason": event.reason,
            "event_id": event_id,
        }
        self._take(line, changes)
        return [seal(line)]

    def line(self, record: Record) -> list[bytes]:
        """Give the line, if the settings of this record differ from those before.

        What was recorded elsewhere, and comes in any order, says nothing of the settings in force here.
        """
        if record["metadata"].get("source"):
            return []
        found, config = record["miner_config_hash"], record["miner_config"]
        if not found or found == self.hash or not isinstance(config, dict):
            return []
        changes = _differences(self.config, config)
        first, self.hash, self.config = not self.hash, found, dict(config)
        if not changes:
            return []
        return [
            seal(
                {
                    "timestamp": record["metadata"]["timestamp"],
                    "event": "config_change",
                    "changes": changes,
                    "reason": "first settings seen" if first else "settings changed",
                    "miner_config_hash": found,
                    "event_id": f"config-{record['metadata']['generation_id']}",
                }
            )
        ]


def _differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    keys = [*old, *(key for key in new if key not in old)]
    return {key: {"old": old.get(key), "new": new.get(key)} for key in keys if old.get(key) != new.get(key)}


def _apply(config: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, change in changes.items():
        if change.get("new") is None:
            config.pop(key, None)
        else:
            config[key] = change["new"]
