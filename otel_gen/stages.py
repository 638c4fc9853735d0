"""Stages: the steps of a generation as a record shows them, their timing, the caller's own attributes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from otel_gen import semconv as sc
from otel_gen.clock import iso
from otel_gen.events import Began, Span
from otel_gen.fold import Generation

Record = dict[str, Any]
_loads = msgspec.json.Decoder().decode


def stages_part(gen: Generation) -> list[Record]:
    """Describe all stages by start; one that never ended is `interrupted`."""
    stages = [_ended(span) for span in gen.stages.values()]
    if gen.begun:
        stages += [_interrupted(began) for began in gen.unended()]
    stages.sort(key=lambda stage: (stage["start"], stage["span_id"]))
    return stages


def _ended(span: Span) -> Record:
    return {
        "name": span.attributes.get(sc.STAGE_NAME, span.name),
        "status": span.attributes.get(sc.STAGE_STATUS, "ok"),
        "start": iso(span.start),
        "duration_seconds": seconds(span.end - span.start),
        "span_id": span.span_id,
        "parent_span_id": span.parent_id or None,
        "attributes": _gpu(span.attributes)
        | custom(span.attributes)
        | (_error(span.attributes) if sc.ERROR_TYPE in span.attributes else {}),
    }


def _gpu(attributes: dict[str, Any]) -> Record:
    if sc.GPU_SAMPLES not in attributes:
        return {}
    return {name: attributes[key] for name, key in _GPU.items() if attributes.get(key) is not None}


_GPU = {
    "gpu_memory_peak_bytes": sc.GPU_MEMORY,
    "gpu_utilization_peak": sc.GPU_UTILIZATION,
    "gpu_samples": sc.GPU_SAMPLES,
}


def _error(attributes: dict[str, Any]) -> Record:
    keys = {"error_type": sc.ERROR_TYPE, "error_message": sc.ERROR_MESSAGE}
    return {name: attributes[key] for name, key in keys.items() if attributes.get(key) is not None}


def _interrupted(began: Began) -> Record:
    return {
        "name": began.name,
        "status": "interrupted",
        "start": iso(began.wall),
        "duration_seconds": None,
        "span_id": began.span_id,
        "parent_span_id": began.parent_id or None,
        "attributes": custom(began.attributes),
    }


def timing_part(gen: Generation, stages: list[Record]) -> Record:
    """Sum the seconds of each stage as `<name>_time`; `total_time` is from start to end, waits included."""
    timing: Record = {}
    for stage in stages:
        if stage["duration_seconds"] is None:
            continue
        name = stage["name"] if stage["name"].endswith("_time") else f"{stage['name']}_time"
        name = "total_stage_time" if name == "total_time" else name
        timing[name] = round(timing.get(name, 0.0) + stage["duration_seconds"], 6)
    end = gen.root.end if gen.root else gen.last_wall
    timing["total_time"] = seconds(end - gen.start)
    return timing | reported(gen.attributes)


def reported(attributes: dict[str, Any]) -> Record:
    """Collect what the caller measured himself, under `<name>_time`."""
    prefix = len(sc.TIMING)
    return {key[prefix:]: value for key, value in attributes.items() if key[:prefix] == sc.TIMING}


def custom(attributes: dict[str, Any]) -> Record:
    """Collect the caller's own attributes under their own names."""
    found: Record = {}
    for key, value in attributes.items():
        name = None if value is None else _own_name(key)
        if name is not None:
            found[name] = json_value(value, None) if key[:_STRUCTURED] == sc.STRUCTURED else value
    return found


@lru_cache(maxsize=4096)
def _own_name(key: str) -> str | None:
    for prefix in (sc.ATTRIBUTE, sc.STRUCTURED):
        if key.startswith(prefix):
            return key[len(prefix) :]
    return None


_STRUCTURED = len(sc.STRUCTURED)


def seconds(ns: int) -> float:
    """Nanoseconds as seconds with 6 decimals, never negative."""
    return round(max(ns, 0) / 1e9, 6)


def json_value(text: Any, default: Any) -> Any:
    """Read a canonical JSON attribute back; the default where there is none."""
    if not isinstance(text, str):
        return default
    try:
        return _loads(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return default


def json_object(text: Any) -> Record:
    """Read a canonical JSON attribute that has to be an object; an empty one where it is none."""
    found = json_value(text, {})
    return found if isinstance(found, dict) else {}
