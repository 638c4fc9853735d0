"""What the servers left or show: the spans in the Collector's file, the samples on a page of metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .servers import fetch

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
MOVING = ("gen3d_snapshot_age", "gen3d_oldest_undelivered", "gen3d_data_dir_free")
"""Gauges that move by themselves, so that no two pages agree on them."""


def spans(path: Path) -> list[dict[str, Any]]:
    """Every span in a file of OTLP JSON lines; none where it does not exist yet."""
    return list(_every_span(path)) if path.exists() else []


def attribute(span: dict[str, Any], key: str) -> dict[str, Any]:
    """The value of an attribute, as OTLP writes it; empty without it."""
    return next((pair["value"] for pair in span.get("attributes", ()) if pair["key"] == key), {})


def own(url: str) -> dict[str, float]:
    """The samples of otel_gen on a page by name and labels, without those that move by themselves."""
    found = samples(fetch(url, OPENMETRICS))
    return {name: value for name, value in found.items() if not name.startswith(MOVING)}


def samples(page: str) -> dict[str, float]:
    """The samples of otel_gen on a page by name and labels, without exemplars and the agent's own labels."""
    lines = [line.split(" # ")[0] for line in page.splitlines() if line.startswith("gen3d_")]
    found = (re.match(r"(\w+)(?:\{(.*)\})? (\S+)", line) for line in lines if "_created" not in line)
    return {
        f"{name}{{{_labels(labels or '')}}}": float(value)
        for name, labels, value in (m.groups() for m in found)
    }


def _every_span(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                yield from scope["spans"]


def _labels(text: str) -> str:
    """Sorted labels; the edge of a bucket, which one prints as 30 and the other as 30.0, as a number."""
    pairs = re.findall(r'(\w+)="([^"]*)"', text)
    kept = [
        (key, value) for key, value in pairs if not key.startswith("otel_") and key not in ("job", "instance")
    ]
    return ",".join(sorted(f'{key}="{float(value) if key == "le" else value}"' for key, value in kept))
