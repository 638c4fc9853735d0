"""Config history: real differences of the miner's settings, told by the file itself."""

from __future__ import annotations

from typing import Any

from otel_gen.lines import CONFIG_HISTORY, Lines
from otel_gen.record import Record, seal
from otel_gen.restore import parsed
from otel_gen.tree import Tree


class ConfigLog:
    """Know the settings last in force and write a line when they change."""

    def __init__(self, tree: Tree) -> None:
        self.hash = ""
        self.config: dict[str, Any] = {}
        for line in parsed(Lines(tree.root, CONFIG_HISTORY)):
            changes = line.get("changes")
            if isinstance(changes, dict) and all(isinstance(change, dict) for change in changes.values()):
                self._take(line, changes)

    def _take(self, line: Record, changes: dict[str, Any]) -> None:
        self.hash = line.get("miner_config_hash", "")
        for key, change in changes.items():
            if change.get("new") is None:
                self.config.pop(key, None)
            else:
                self.config[key] = change["new"]

    def line(self, record: Record) -> list[bytes]:
        """Give the line, if the settings of this record differ from those before."""
        found, config = record["miner_config_hash"], record["miner_config"]
        if not found or found == self.hash or not isinstance(config, dict):
            return []
        changes = self._changes(config)
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

    def _changes(self, config: dict[str, Any]) -> dict[str, Any]:
        keys = [*self.config, *(key for key in config if key not in self.config)]
        old, new = self.config.get, config.get
        return {key: {"old": old(key), "new": new(key)} for key in keys if old(key) != new(key)}
