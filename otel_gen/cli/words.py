"""Words: how results look on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from otel_gen.readers.findings import RECOVER

if TYPE_CHECKING:
    from rich.console import Console

    from otel_gen.readers.findings import Report
    from otel_gen.readers.pending import Pending
    from otel_gen.recover import Recovery

SHOWN = 20


def count(n: int, one: str, many: str = "") -> str:
    """Write a number with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def seconds(value: float) -> str:
    """Write a duration for people."""
    if value < 120:
        return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.0f} h" if value < 172_800 else f"{value / 86_400:.0f} days"


def size(value: float) -> str:
    """Write a number of bytes for people."""
    for unit, edge in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if value >= edge:
            return f"{value / edge:.1f} {unit}"
    return f"{value:.0f} bytes"


def _more(to: Console, found: list[Any]) -> None:
    if len(found) > SHOWN:
        to.print(f"         [dim]and {len(found) - SHOWN:,} more (all of them with --json)[/]")


# --- verify ------------------------------------------------------------------------------------------------
def verification(report: Report) -> dict[str, Any]:
    """Give a report as JSON shows it."""
    found = {name: value for name, value in vars(report).items() if name not in ("problems", "notes")}
    return found | {
        "problems": [f._asdict() for f in report.problems],
        "notes": [f._asdict() for f in report.notes],
    }


def show_report(to: Console, report: Report) -> None:
    """Say what was looked at, then what is wrong."""
    looked_at = (
        f"{count(report.records, 'record')} in {count(report.files, 'file')}",
        count(report.amendments, "amendment"),
        f"{count(report.artifacts, 'artifact')} ({size(report.artifact_bytes)})",
        f"{count(report.counters, 'counter')} compared" if report.counters else "",
        f"{report.waiting:,} pending" if report.waiting else "",
    )
    to.print(", ".join(filter(None, looked_at)))
    for note in report.notes[:SHOWN]:
        to.print(f"[dim]note     {escape(str(note))}[/]")
    _more(to, report.notes)
    for problem in report.problems[:SHOWN]:
        to.print(f"[bold red]problem[/]  {escape(str(problem))}")
    _more(to, report.problems)
    if report.ok:
        to.print("[bold green]all well[/]")
    else:
        to.print(f"[bold red]{count(len(report.problems), 'problem')}[/]")


# --- pending -----------------------------------------------------------------------------------------------
def show_pending(to: Console, found: Pending) -> None:
    """Say what waits, oldest first, and whether somebody sees to it."""
    if not found.waiting:
        to.print("nothing waits: every generation has its record")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("generation", "state", "age", "left", "worker", "task"):
        table.add_column(name, justify="right" if name in ("age", "left") else "left", no_wrap=True)
    for one in found.waiting[:SHOWN]:
        left = seconds(one.left_seconds) if one.left_seconds is not None else ""
        worker = "alive" if one.worker_alive else "gone"
        row = (one.id, one.state, seconds(one.age_seconds), left, worker, escape(one.task_id or "-"))
        table.add_row(*row)
    to.print(table)
    _more(to, found.waiting)
    if found.leader is None:
        hint = "what has ended stays in the journal" if found.ok else f"start the service or {RECOVER}"
        to.print(f"[yellow]nobody delivers for this data_dir now[/]; {hint}")


# --- recover -----------------------------------------------------------------------------------------------
def show_recovery(to: Console, found: Recovery) -> None:
    """Say what a recovery did."""
    rebuilt = "index rebuilt from the files; " if found.rebuilt else ""
    to.print(f"{rebuilt}{count(found.records, 'record')} written, {count(found.waiting, 'generation')} "
             f"still {'waits' if found.waiting == 1 else 'wait'}")  # fmt: skip
    for label, n in sorted(found.aside.items()):
        to.print(f"[yellow]set aside[/] {label}: {n:,} (see .otel_gen/quarantine)")
