"""The Overview dashboard: the worst thing first, n beside every ratio and quantile.

At 20 to 40 generations an hour a rate over a minute is mostly zero: panels look back over an explicit window,
which their titles name.
"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.models import units

from .panels import Query, band, bars, line_at, lines, n, number, rows
from .promql import acceptance, count, judged, quantile, select, share_over, wilson

DURATION = "gen3d_generation_duration_seconds"
STAGE = "gen3d_stage_duration_seconds"
THROTTLE_SECONDS = 30  # slower work costs throughput second by second


def figures() -> list[Any]:
    """The six figures to look at first."""
    return [
        number(
            "Acceptance (24 h)",
            "Accepted of all verdicts that judged (accepted + rejected), by arrival of the verdict. n is "
            "their number: below 100 the ratio can be 10 points off.",
            units.PercentUnit,
            [Query(acceptance("24h"), "accepted"), n(judged("24h"))],
            [(0, "red"), (0.35, "yellow"), (0.42, "green")],
        ),
        number(
            "Generations (1 h)",
            "Generations that ended in the last hour, whatever their outcome.",
            units.Short,
            [Query(count("gen3d_generations_total", "1h"), "generations")],
            [(0, "red"), (0.5, "green")],
        ),
        number(
            "Duration p95 (1 h)",
            "95 % of the generations of the last hour took at most this long, waiting in the queue left out.",
            units.Seconds,
            [Query(quantile(0.95, DURATION, "1h"), "p95"), n(count(f"{DURATION}_count", "1h"))],
            [(0, "green"), (25, "yellow"), (THROTTLE_SECONDS, "red")],
        ),
        number(
            "Out of memory (24 h)",
            "Generations that failed because the GPU or the host ran out of memory. They come in bursts "
            "after a change of settings.",
            units.Short,
            [Query(count("gen3d_failures_total", "24h", 'error_type="oom"'), "oom")],
            [(0, "green"), (0.5, "yellow"), (2.5, "red")],
        ),
        number(
            "Disk free",
            "Free share of the fullest file system that holds a data_dir. Artifacts are given up first when "
            "it is full, records last.",
            units.PercentUnit,
            [Query(f"min({select('gen3d_data_dir_free_ratio')})", "free")],
            [(0, "red"), (0.2, "yellow"), (0.4, "green")],
        ),
        number(
            "Last verdict",
            "Time since a validator last answered. With work going out and none coming back, the way back "
            "is broken.",
            units.Seconds,
            [Query(f"time() - max({select('gen3d_last_feedback_timestamp_seconds')} > 0)", "age")],
            [(0, "green"), (1800, "yellow"), (7200, "red")],
        ),
    ]


def acceptance_row() -> list[Any]:
    """Is what we make being accepted, and how sure is that?"""
    over_time = lines(
        "Acceptance (6 h, 24 h)",
        "Accepted of all that was judged. The band is the 95 % Wilson interval of the 6 h ratio; a change "
        "inside it may be chance.",
        units.PercentUnit,
        [
            Query(acceptance("6h"), "6 h"),
            Query(acceptance("24h"), "24 h"),
            Query(wilson("-", "6h"), "95 % low"),
            Query(wilson("+", "6h"), "95 % high"),
            n(judged("6h"), "n 6 h"),
            n(judged("24h"), "n 24 h"),
        ],
    )
    return [
        band(over_time.min(0), "95 % low", "95 % high"),
        bars(
            "Verdicts (1 h)",
            "Verdicts that arrived in the hour before. `invalid` judges nothing (the validator's own check "
            "failed, or its score is no number in 0..1) and is not part of n.",
            units.Short,
            [Query(count("gen3d_feedback_total", "1h", by="verdict"), "{{verdict}}")],
        ),
    ]


def stages_row() -> list[Any]:
    """Where the time goes."""
    whole = lines(
        "Generation duration (1 h)",
        "Quantiles of work (waiting left out) against the 30 s throttle period. The dots are single "
        "generations: a click leads to the trace.",
        units.Seconds,
        [
            Query(quantile(0.5, DURATION, "1h"), "p50", exemplars=True),
            Query(quantile(0.95, DURATION, "1h"), "p95", exemplars=True),
            n(count(f"{DURATION}_count", "1h")),
        ],
    )
    by_stage = lines(
        "Stage duration (1 h)",
        "Quantiles by stage; interpolated inside the buckets. Which stage got slower?",
        units.Seconds,
        [
            Query(quantile(0.5, STAGE, "1h", by="stage"), "{{stage}} p50", exemplars=True),
            Query(quantile(0.95, STAGE, "1h", by="stage"), "{{stage}} p95", exemplars=True),
            n(count(f"{STAGE}_count", "1h")),
        ],
    )
    over = lines(
        "Over 30 s (1 h)",
        "Share of generations that worked for more than 30 s. Exact: 30 s is an edge of the buckets.",
        units.PercentUnit,
        [
            Query(share_over(THROTTLE_SECONDS, DURATION, "1h"), "over 30 s"),
            n(count(f"{DURATION}_count", "1h")),
        ],
    )
    return [line_at(whole, THROTTLE_SECONDS, "red"), line_at(by_stage, THROTTLE_SECONDS, "red"), over.min(0)]


def validators_row() -> list[Any]:
    """Who accepts, with the doubt that n leaves."""
    by = "validator_uid"
    return [
        rows(
            "Validators (24 h)",
            "Acceptance by validator with its 95 % Wilson interval and n. Two validators whose intervals "
            "overlap may well be equal. The score is that of accepted results only: a rejection has none.",
            by,
            [
                Query(acceptance("24h", by), "accepted", unit=units.PercentUnit),
                Query(wilson("-", "24h", by), "95 % low", unit=units.PercentUnit),
                Query(wilson("+", "24h", by), "95 % high", unit=units.PercentUnit),
                n(judged("24h", by)),
                Query(
                    count("gen3d_feedback_total", "24h", 'verdict="invalid"', by=by),
                    "invalid",
                    unit=units.Short,
                ),
                Query(count("gen3d_submissions_total", "24h", by=by), "submitted", unit=units.Short),
                Query(
                    quantile(0.5, "gen3d_validator_score", "24h", by=by), "score p50", unit=units.PercentUnit
                ),
            ],
            sort="95 % high",
        )
    ]
