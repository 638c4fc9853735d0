"""Overlay: a record with its amendments, for a reader's eyes or folded into the file."""

from __future__ import annotations

from typing import Any

from otel_gen.afterwords import KIND
from otel_gen.record import Record


def merge(target: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Lay nested changes over a copy; a null overwrites, dicts merge."""
    merged = dict(target)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return merged


def overlay(record: Record, amendments: list[Record]) -> Record:
    """Give the record as its applied amendments make it."""
    for amendment in amendments:
        if amendment["applied"]:
            record = merge(record, amendment.get("changes", {}))
    return record


def fold_into(record: Record, amendments: list[Record]) -> Record:
    """Give the record with its amendments folded in; what was written first is kept for the counters."""
    first = {
        "settled_outcome": record.get("settled_outcome", record["outcome"]),
        "settled_feedback": record.get("settled_feedback", record["validator_feedback"]),
        "settled_failure": record.get("settled_failure", record["failure_analysis"]),
    }
    if any(amendment["applied"] and amendment["kind"] == KIND for amendment in amendments):
        first["settled_generation"] = record.get("settled_generation", record["generation"])
    kept = [{k: v for k, v in amendment.items() if k != "checksum"} for amendment in amendments]
    folded = overlay(record, amendments)
    if any(amendment["applied"] for amendment in amendments):
        folded = folded | first
    return folded | {"amendments": [*record.get("amendments", ()), *kept]}
