"""Inspecting: fill gaussian statistics from a staged file, in the background, never a reason to fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from otel_gen import attributes as attrs
from otel_gen import semconv as sc
from otel_gen.errors import StorageError
from otel_gen.files import Folder
from otel_gen.inspectors import ply, spz
from otel_gen.job import Job

_INSPECTORS: dict[str, Callable[..., dict[str, Any]]] = {"ply": ply.inspect, "spz": spz.inspect}


def inspect_job(open_staging: Callable[[], Folder], job: Job) -> dict[str, Any]:
    """Look into a staged PLY or SPZ; returns gen3d attributes, empty for what is none."""
    look = _INSPECTORS.get(job.kind)
    if look is None or not job.digest:
        return {}
    if not job.name:
        return _from_head(job)
    folder = open_staging()
    try:
        fd = folder.open(job.name)
    except (OSError, StorageError):
        return {}  # delivered already, or something else stands there
    finally:
        folder.close()
    try:
        return _described(look(fd))
    finally:
        os.close(fd)


def _from_head(job: Job) -> dict[str, Any]:
    header = ply.header(job.head, job.size) if job.kind == "ply" else None
    return {} if header is None else {sc.NUM_GAUSSIANS: header.count}


def _described(found: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if found.get("num_gaussians") is not None:
        shown[sc.NUM_GAUSSIANS] = found["num_gaussians"]
    if found.get("gaussian_stats"):
        shown[sc.GAUSSIAN_STATS] = attrs.structured(found["gaussian_stats"])
    return shown
