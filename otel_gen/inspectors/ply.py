"""Read a Gaussian-splat PLY: its header, and statistics of its vertices in bounded time and memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from otel_gen.inspectors.ply_header import MAX_HEADER, PlyHeader, Property, header, parse
from otel_gen.inspectors.source import PathOrFd, Source, UnreadableError, reading
from otel_gen.inspectors.vertices import STATISTICS, VertexTotals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["STATISTICS", "PlyHeader", "Property", "header", "inspect"]

_CHUNK: Final = 131072
_CHUNK_BYTES: Final = 16 * 1024 * 1024


def inspect(
    path_or_fd: PathOrFd, *, deadline: float = 2.0, clock: Callable[[], float] = time.monotonic
) -> dict[str, object]:
    """Return `{"num_gaussians", "gaussian_stats"}`; every statistic is finite or None, `error` says why.

    Stops after `deadline` seconds with `partial` and the number of vertices `sampled`. Of a file that is cut
    short it describes the whole vertices that are there. Without numpy it tells the facts of the header.
    """
    stats: dict[str, object] = {"format": "ply"}
    count = None
    try:
        with reading(path_or_fd) as source:
            stats["bytes"] = source.size
            found = parse(source.read(MAX_HEADER, 0), source.size)
            count = found.present
            stats.update(_header_facts(found))
            stats.update(_statistics(source, found, clock() + deadline, clock))
    except UnreadableError as error:
        stats["error"] = str(error)
    except Exception as error:  # noqa: BLE001 - a file from outside is never a reason to fail
        stats["error"] = f"not understood: {type(error).__name__}"
    return {"num_gaussians": count, "gaussian_stats": stats}


def _header_facts(found: PlyHeader) -> dict[str, object]:
    return {
        "format": found.format,
        "n": found.present,
        "declared": found.count,
        "properties": len(found.properties),
        "trailing_bytes": found.trailing,
        "missing_bytes": found.missing,
        **dict.fromkeys(STATISTICS),
    }


def _statistics(
    source: Source, found: PlyHeader, until: float, clock: Callable[[], float]
) -> dict[str, object]:
    _check_readable(found)
    try:
        import numpy as np
    except ImportError as error:
        raise UnreadableError("numpy is not installed") from error
    totals = VertexTotals(np, found)
    with np.errstate(all="ignore"):
        for chunk in _chunks(source, found):
            totals.add(chunk)
            if clock() >= until:
                break
            time.sleep(0)  # another thread may run between two chunks
        return totals.result()


def _check_readable(found: PlyHeader) -> None:
    if not found.stride:
        raise UnreadableError("the vertices have no fixed place")
    names = [column.name for column in found.properties]
    if len(set(names)) < len(names):
        raise UnreadableError("a property occurs twice")


def _chunks(source: Source, found: PlyHeader) -> Iterator[bytes]:
    """Yield runs of whole vertices."""
    step = max(1, min(_CHUNK, _CHUNK_BYTES // found.stride))
    for first in range(0, found.present, step):
        count = min(step, found.present - first)
        data = source.read(count * found.stride, found.data_offset + first * found.stride)
        yield data[: len(data) - len(data) % found.stride]
