"""Ratios and quantiles that are honest about small numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z95 = 1.959963984540054
ENOUGH = 10
"""Verdicts under which a ratio says next to nothing."""


@dataclass(frozen=True)
class Ratio:
    """`hits` of `n` with the bounds of the Wilson 95 % interval (Wilson 1927)."""

    hits: int
    n: int
    ratio: float | None
    low: float
    high: float
    enough: bool


def ratio(hits: int, n: int) -> Ratio:
    """Work out a ratio; with n = 0 there is none and the interval is everything."""
    if not n:
        return Ratio(0, 0, None, 0.0, 1.0, enough=False)
    middle = hits + Z95 * Z95 / 2
    spread = Z95 * math.sqrt(hits * (n - hits) / n + Z95 * Z95 / 4)
    low, high = (middle - spread) / (n + Z95 * Z95), (middle + spread) / (n + Z95 * Z95)
    return Ratio(hits, n, hits / n, max(low, 0.0), min(high, 1.0), enough=n >= ENOUGH)


def quantile(values: Sequence[float], share: float) -> float:
    """Give the smallest value that at least `share` of the values do not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
