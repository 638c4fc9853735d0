"""Figures: how `stats` looks on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.table import Table

from otel_gen.cli.words import COLOURS, count, escape, seconds

if TYPE_CHECKING:
    from rich.console import Console

    from otel_gen.readers.ratio import Ratio
    from otel_gen.readers.stats import Judged, Stats, Times


def show(to: Console, found: Stats) -> None:
    """Show all figures, the totals first."""
    if not found.records:
        to.print("no records yet")
        return
    first, last = (moment[:16].replace("T", " ") if moment else "?" for moment in (found.first, found.last))
    to.print(f"[bold]{found.records:,} records[/] from {first} to {last} UTC")
    to.print(f"acceptance {acceptance(found.acceptance.acceptance)}{_invalid(found.acceptance)}")
    for table in (
        _outcomes(found), _groups("validator", found.by_validator), _groups("task type", found.by_task_type),
        _stages(found), _counts("failures", found.failures, "number", str),
        _counts("withheld for", found.withheld, "number", str),
        _counts("wasted on", found.wasted_seconds, "time", seconds),
    ):  # fmt: skip
        if table.row_count:
            to.print()
            to.print(table)


def acceptance(ratio: Ratio) -> str:
    """Write a ratio with its interval, or that there is too little to tell."""
    if ratio.ratio is None or not ratio.enough:
        return f"[dim]not enough data[/] ({ratio.hits} of {ratio.n})"
    sure = f"95 % sure between {ratio.low:.1%} and {ratio.high:.1%}"
    return f"[bold]{ratio.ratio:.1%}[/] of n={ratio.n:,} ({sure})"


def _invalid(judged: Judged) -> str:
    return f", {count(judged.invalid, 'invalid verdict')} beside" if judged.invalid else ""


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(names):
        table.add_column(name, justify="right" if at else "left", no_wrap=True, min_width=0 if at else 20)
    return table


def _outcomes(found: Stats) -> Table:
    table = _table("outcome", "number", "share")
    for name, n in found.outcomes.items():
        table.add_row(
            f"[{COLOURS.get(name, 'default')}]{escape(name)}[/]", f"{n:,}", f"{n / found.records:.1%}"
        )
    return table


def _groups(name: str, groups: dict[str, Judged]) -> Table:
    table = _table(name, "n", "accepted", "95 % interval", "median score", "invalid")
    for group, judged in groups.items():
        ratio, score = judged.acceptance, judged.median_score
        known = ratio.ratio is not None and ratio.enough
        table.add_row(
            escape(group), f"{ratio.n:,}", f"{ratio.ratio:.1%}" if known else "[dim]not enough data[/]",
            f"{ratio.low:.1%} - {ratio.high:.1%}" if known else "", "" if score is None else f"{score:.3f}",
            f"{judged.invalid:,}" if judged.invalid else "",
        )  # fmt: skip
    return table


def _stages(found: Stats) -> Table:
    table = _table("stage", "n", "p50", "p95")
    for name, times in found.stages.items():
        _times(table, escape(name) + (" [dim](waiting)[/]" if name == "queue" else ""), times)
    if found.total is not None:
        _times(table, "[bold]all, without waiting[/]", found.total)
    return table


def _times(table: Table, name: str, times: Times) -> None:
    table.add_row(name, f"{times.n:,}", seconds(times.p50), seconds(times.p95))


def _counts(
    name: str, rows: dict[str, int] | dict[str, float], unit: str, write: Callable[..., str]
) -> Table:
    table = _table(name, unit)
    for key, value in rows.items():
        table.add_row(escape(key), write(value))
    return table
