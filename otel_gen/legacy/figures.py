"""Figures of a data_dir as the legacy logger gave them, from its files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from otel_gen import index, room, sanitize
from otel_gen.errors import OtelGenError
from otel_gen.files import Folder
from otel_gen.older import part
from otel_gen.readers.records import read
from otel_gen.store import IMAGES, OUTPUTS, SAMPLES
from otel_gen.tree import DOT
from otel_gen.waiting import on_event_loop

_GIGA = 1e9
_PATIENCE = 1.0
_PAUSE = 0.01


def stats(data_dir: str, last: str = "") -> dict[str, Any]:
    """Count the records of a data_dir; `last`, if given, is awaited for a moment, off the event loop."""
    if last and not on_event_loop():
        _await(data_dir, last)
    total = accepted = 0
    clips: list[float] = []
    for record in _records(data_dir):
        total += 1
        accepted += bool(record["validator_feedback"].get("accepted"))
        quality = part(record["generation"]["output"], "quality_metrics")
        clip = sanitize.number(quality.get("clip_score"))
        clips += [] if clip is None else [clip]
    if not total:
        return {"total_generations": 0}
    return {
        "total_generations": total,
        "accepted": accepted,
        "acceptance_rate": round(100 * accepted / total, 1),
        "average_clip": round(sum(clips) / len(clips), 4) if clips else 0.0,
    }


def _records(data_dir: str) -> Iterator[dict[str, Any]]:
    try:
        yield from read(data_dir)
    except (OtelGenError, OSError):
        return  # nothing is recorded yet, or nothing can be read: what was counted so far stands


def _await(data_dir: str, last: str) -> None:
    """Wait until the record of a generation is written: readers see what was finalised before."""
    until = time.monotonic() + _PATIENCE
    while not _is_delivered(data_dir, last) and time.monotonic() < until:
        time.sleep(_PAUSE)


def _is_delivered(data_dir: str, id_: str) -> bool:
    try:
        dot = Folder.root(os.path.join(data_dir, DOT), create=False)
    except OtelGenError:
        return False
    try:
        reader = index.open_reader(dot)
        if reader is None:
            return False
        try:
            return reader.is_delivered(id_)
        finally:
            reader.close()
    finally:
        dot.close()


def storage(data_dir: str) -> dict[str, Any]:
    """Measure free space, and what images, kept outputs and the sample of rejected ones take."""
    images = _sizes(data_dir, IMAGES)
    kept, rejected = _sizes(data_dir, OUTPUTS), _sizes(data_dir, OUTPUTS, SAMPLES)
    free, size = _space(data_dir)
    return {
        "disk_free_gb": round(free / _GIGA, 3),
        "disk_free_percent": round(100 * free / size, 1) if size else 0.0,
        "images_gb": sum(images) / _GIGA,
        "images_count": len(images),
        "ply_accepted_gb": sum(kept) / _GIGA,
        "ply_rejected_gb": sum(rejected) / _GIGA,
        "ply_rejected_count": len(rejected),
        "ply_total_gb": (sum(kept) + sum(rejected)) / _GIGA,
        "ply_count": len(kept) + len(rejected),
    }


def _sizes(*parts: str) -> list[int]:
    try:
        with os.scandir(os.path.join(*parts)) as found:
            return [one.stat().st_size for one in found if one.is_file(follow_symlinks=False)]
    except OSError:
        return []


def _space(path: str) -> tuple[int, int]:
    try:
        return room.space(path)
    except OSError:
        return 0, 0
