"""The report of a demo run, for people: tables, one record, what was checked, what to try next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from typing import Any

from rich.console import Console
from rich.json import JSON
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from otel_gen.demo.tally import COMPARED

Summary = dict[str, Any]

SHOWN = 20  # differences; with more than that the first ones tell the story


def show(console: Console, summary: Summary) -> None:
    """Print the whole report."""
    console.print(_outcomes(summary))
    for outcome in summary["late"]:
        console.print(f"one verdict came after the feedback window: first unscored, then {outcome}")
    console.print(_acceptance(summary["acceptance"]))
    console.print(_stages(summary["stages"]))
    console.print(_files(summary))
    console.print(Panel(JSON.from_data(summary["record"]), title="one record, shortened", expand=False))
    _checked(console, summary)
    _next(console, summary)


def _outcomes(summary: Summary) -> Table:
    table = Table(
        title=f"{summary['generations']} generations, {summary['records']} records", title_justify="left"
    )
    table.add_column("outcome")
    for name in ("expected", "found"):
        table.add_column(name, justify="right")
    for outcome, number in summary["outcomes"].items():
        style = None if number["expected"] == number["found"] else "bold red"
        table.add_row(outcome, str(number["expected"]), str(number["found"]), style=style)
    return table


def _acceptance(found: Summary) -> str:
    if not found["n"]:
        return "acceptance: no verdicts\n"
    bounds = f"95 % interval {found['low']:.0%} to {found['high']:.0%}"
    return f"acceptance: {found['accepted']} of n = {found['n']}, {found['ratio']:.0%} ({bounds})\n"


def _stages(stages: Summary) -> Table:
    table = Table(title="stage times in milliseconds", title_justify="left")
    table.add_column("stage")
    for name in ("n", "p50", "p95"):
        table.add_column(name, justify="right")
    for stage, times in stages.items():
        table.add_row(stage, str(times["n"]), f"{times['p50'] * 1e3:.0f}", f"{times['p95'] * 1e3:.0f}")
    return table


def _files(summary: Summary) -> Table:
    table = Table(title=f"files in {summary['data_dir']}", title_justify="left")
    table.add_column("place")
    for name in ("files", "MB"):
        table.add_column(name, justify="right")
    for place, size in summary["files"].items():
        table.add_row(place, str(size["files"]), f"{size['bytes'] / 1e6:.2f}")
    return table


def _checked(console: Console, summary: Summary) -> None:
    workers = " and ".join(map(str, summary["workers_scraped"])) or "none"
    if summary["ok"]:
        console.print(
            "[green]all as expected[/]: every generation has one record, every accepted one its PLY"
        )
        console.print(
            f"[green]metrics equal the records[/]: {len(COMPARED)} families of series, on workers {workers}"
        )
    for difference in summary["differences"][:SHOWN]:
        console.print(f"[bold red]differs[/] {escape(difference)}", highlight=False, soft_wrap=True)
    if len(summary["differences"]) > SHOWN:
        console.print(f"[bold red]differs[/] and {len(summary['differences']) - SHOWN} more")
    if summary["slowest"]:
        slowest = summary["slowest"]
        console.print(f"slowest generation: {slowest['seconds']:.2f} s, trace id {slowest['trace_id']}")


def _next(console: Console, summary: Summary) -> None:
    folder = shlex.quote(summary["data_dir"])
    console.print("\nnext:")
    for command in ("verify", "stats", "tail", "pending", "metrics"):
        console.print(f"  {_program()} {command} --data-dir {folder}", highlight=False, soft_wrap=True)


def _program() -> str:
    """Name the command as this reader can type it: a virtual environment need not be on PATH."""
    called = sys.argv[0]
    if shutil.which("otel-gen") or os.path.basename(called) != "otel-gen":
        return "otel-gen"
    return shlex.quote(os.path.relpath(called))
