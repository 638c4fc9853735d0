"""Statistics of the vertices of a Gaussian splat, added up chunk by chunk."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from otel_gen.inspectors.ply_header import PlyHeader

__all__ = ["SATURATED", "STATISTICS", "TRANSPARENT", "VertexTotals"]

STATISTICS: Final = (
    *("non_finite", "opacity_mean", "opacity_std", "opacity_min", "opacity_max", "opacity_in_unit_range"),
    *("opacity_saturated_share", "alpha_mean", "alpha_transparent_share"),
    *("scale_mean", "scale_std", "scale_max", "bbox_min", "bbox_max"),
)
"""What is computed from the vertices: opacity as the stored logit, scale as the stored logarithm."""

TRANSPARENT: Final = 1e-3
"""An alpha below this is nearly transparent to validators."""

SATURATED: Final = 9.21
"""The logit of alpha 0.9999 is 9.2103: opacities stored as alpha and converted twice pile up there."""

_WANTED: Final = ("opacity", "x", "y", "z", "scale_0", "scale_1", "scale_2")


class VertexTotals:
    """The statistics of all chunks so far.

    Works on few, large arrays: each numpy call gives up the interpreter lock, and beside a busy thread comes
    back only after the switch interval (5 ms).
    """

    def __init__(self, np: Any, found: PlyHeader) -> None:
        self.np = np
        self.found = found
        names = [column.name for column in found.properties]
        self.places = {name: names.index(name) for name in _WANTED if name in names}
        self.moments = _Moments(np, len(_WANTED) + 1)
        self.sampled = 0
        self.non_finite = 0
        self.transparent = 0
        self.saturated = 0

    def add(self, chunk: bytes) -> None:
        """Add a run of whole vertices."""
        np = self.np
        columns = self.columns(chunk)
        self.sampled += len(chunk) // self.found.stride
        self.non_finite += sum(values.size - int(np.count_nonzero(np.isfinite(values))) for values in columns)
        table = self.table(columns, len(chunk) // self.found.stride)
        self.transparent += int(np.count_nonzero(table[-1] < TRANSPARENT))
        self.saturated += int(np.count_nonzero(np.abs(table[0]) >= SATURATED))
        self.moments.add(table)

    def columns(self, chunk: bytes) -> list[Any]:
        """Return a view of each property, or one of all (vertex, property) where they are of one type."""
        np, found = self.np, self.found
        kinds = {column.type for column in found.properties}
        if len(kinds) == 1:
            return [np.frombuffer(chunk, found.byte_order + kinds.pop()).reshape(-1, len(found.properties))]
        layout = np.dtype(
            {
                "names": [column.name for column in found.properties],
                "formats": [found.byte_order + column.type for column in found.properties],
                "offsets": [column.offset for column in found.properties],
                "itemsize": found.stride,
            }
        )
        vertices = np.frombuffer(chunk, layout)
        return [vertices[name] for name in layout.names]

    def table(self, columns: list[Any], count: int) -> Any:
        """Return the wanted columns and alpha as rows of float64, NaN where there is no finite value."""
        np = self.np
        table = np.full((len(_WANTED) + 1, count), math.nan)
        for row, name in enumerate(_WANTED):
            if name in self.places:
                place = self.places[name]
                table[row] = columns[0][:, place] if columns[0].ndim == 2 else columns[place]
        if self.non_finite:
            table[~np.isfinite(table)] = math.nan
        table[-1] = 1 / (1 + np.exp(-table[0]))
        return table

    def result(self) -> dict[str, object]:
        """Return every statistic by name, and how far they reach where that is not all vertices."""
        opacity, *axes = range(4)
        scales, alpha = range(4, 7), 7
        moments = self.moments
        partial = {"partial": True, "sampled": self.sampled} if self.sampled < self.found.present else {}
        low, high = moments.low[opacity], moments.high[opacity]
        scale_mean, scale_std = moments.pooled(scales)
        return {
            "non_finite": self.non_finite,
            "opacity_mean": _finite(moments.pooled([opacity])[0]),
            "opacity_std": _finite(moments.pooled([opacity])[1]),
            "opacity_min": _finite(low),
            "opacity_max": _finite(high),
            "opacity_in_unit_range": bool(low >= 0 and high <= 1) if moments.count[opacity] else None,
            "opacity_saturated_share": self.share(self.saturated),
            "alpha_mean": _finite(moments.pooled([alpha])[0]),
            "alpha_transparent_share": self.share(self.transparent),
            "scale_mean": _finite(scale_mean),
            "scale_std": _finite(scale_std),
            "scale_max": _finite(max(moments.high[list(scales)])),
            "bbox_min": _corner(moments.low[axes]),
            "bbox_max": _corner(moments.high[axes]),
            **partial,
        }

    def share(self, part: int) -> float | None:
        count = float(self.moments.count[0])
        return _finite(part / count) if count else None


class _Moments:
    """Count, mean, sum of squared deviations and range of the finite values in each row."""

    def __init__(self, np: Any, rows: int) -> None:
        self.np = np
        self.count = np.zeros(rows)
        self.mean = np.zeros(rows)
        self.squares = np.zeros(rows)
        self.low = np.full(rows, math.inf)
        self.high = np.full(rows, -math.inf)

    def add(self, table: Any) -> None:
        """Merge a table by Chan's parallel update: plain sums of squares would cancel far from zero."""
        np = self.np
        finite = np.isfinite(table)
        where = True if finite.all() else finite
        count = finite.sum(axis=1)
        mean = table.sum(axis=1, where=where) / np.maximum(count, 1)
        squares = np.square(table - mean[:, None]).sum(axis=1, where=where)
        apart = mean - self.mean
        total = np.maximum(self.count + count, 1)
        self.squares += squares + apart * apart * self.count * count / total
        self.mean += apart * count / total
        self.count += count
        self.low = np.minimum(self.low, table.min(axis=1, initial=math.inf, where=where))
        self.high = np.maximum(self.high, table.max(axis=1, initial=-math.inf, where=where))

    def pooled(self, rows: Any) -> tuple[float, float]:
        """Return mean and standard deviation over rows, NaN where they hold nothing."""
        rows = list(rows)
        count = self.count[rows]
        total = count.sum()
        if not total:
            return math.nan, math.nan
        mean = (self.mean[rows] * count).sum() / total
        squares = (self.squares[rows] + count * self.np.square(self.mean[rows] - mean)).sum()
        return float(mean), math.sqrt(squares / total)


def _corner(values: Any) -> list[float | None] | None:
    corner = [_finite(value) for value in values]
    return None if None in corner else corner


def _finite(value: float) -> float | None:
    """Return a statistic with the 7 digits that a float32 carries, None where it is not finite."""
    return float(f"{value:.7g}") if math.isfinite(value) else None
