"""PromQL of the dashboards: selectors, counts, quantiles, Wilson bounds.

A dashboard works without recording rules: every query here stands alone.
"""

from __future__ import annotations

SELECT = 'job=~"$job", instance=~"$instance"'
JUDGED = 'verdict=~"accepted|rejected"'  # `invalid` judges nothing: it is not part of n
Z95 = 1.96


def select(metric: str, *matchers: str) -> str:
    """A metric of the chosen jobs and instances."""
    return f"{metric}{{{', '.join((SELECT, *matchers))}}}"


def count(metric: str, window: str, *matchers: str, by: str = "") -> str:
    """How much a counter grew in the window."""
    grouped = f"sum by ({by}) " if by else "sum"
    return f"{grouped}(increase({select(metric, *matchers)}[{window}]))"


def quantile(q: float, histogram: str, window: str, *matchers: str, by: str = "") -> str:
    """A quantile of what a histogram saw in the window."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, {count(f'{histogram}_bucket', window, *matchers, by=labels)})"


def share_over(edge: int, histogram: str, window: str) -> str:
    """The share above an edge of the buckets: exact, no interpolation.

    The label of the edge is printed as "30" or as "30.0", by who exposes it.
    """
    below = count(f"{histogram}_bucket", window, f'le=~"{edge}([.]0)?"')
    return f"1 - {below} / ({count(f'{histogram}_count', window)} > 0)"


def accepted(window: str, by: str = "") -> str:
    """Acceptances that arrived in the window."""
    return count("gen3d_feedback_total", window, 'verdict="accepted"', by=by)


def judged(window: str, by: str = "") -> str:
    """The n of every acceptance ratio: acceptances and rejections that arrived in the window."""
    return count("gen3d_feedback_total", window, JUDGED, by=by)


def acceptance(window: str, by: str = "") -> str:
    """Acceptances of all that was judged; nothing when nothing was."""
    return f"{accepted(window, by)} / ({judged(window, by)} > 0)"


def wilson(sign: str, window: str, by: str = "", z: float = Z95) -> str:
    """The lower ("-") or upper ("+") end of the Wilson interval of the acceptance ratio."""
    a, n, z2 = accepted(window, by), judged(window, by), z * z
    root = f"sqrt({a} * ({n} - {a}) / ({n} > 0) + {z2 / 4:.4f})"
    return f"({a} + {z2 / 2:.4f} {sign} {z} * {root}) / ({n} + {z2:.4f})"
