"""Words: how results look on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import markup

from otel_gen.readers.findings import RECOVER, literal

if TYPE_CHECKING:
    from rich.console import Console

    from otel_gen.readers.findings import Report
    from otel_gen.readers.pending import Pending, Waiting
    from otel_gen.recover import Recovery

SHOWN = 20
COLOURS = {
    "accepted": "green", "rejected": "red", "unscored": "yellow", "withheld": "yellow",
    "unsubmitted": "yellow", "failed": "bold red", "cancelled": "magenta", "interrupted": "bold magenta",
}  # fmt: skip


def escape(text: object) -> str:
    """Make text safe to show: no markup, and no control characters that would steer the terminal."""
    return markup.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text)))


def count(n: int, one: str, many: str = "") -> str:
    """Write a number with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def seconds(value: float) -> str:
    """Write a duration for people."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
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
        f"{report.deleted:,} of them deleted" if report.deleted else "",
        count(report.amendments, "amendment"),
        f"{count(report.artifacts, 'artifact')} ({size(report.artifact_bytes)})",
        f"{count(report.counters, 'counter')} compared" if report.counters else "",
        f"{report.waiting:,} pending" if report.waiting else "",
    )
    to.print(", ".join(filter(None, looked_at)))
    for note in report.notes[:SHOWN]:
        to.print(f"[dim]note     {escape(note)}[/]")
    _more(to, report.notes)
    for problem in report.problems[:SHOWN]:
        to.print(f"[bold red]problem[/]  {escape(problem)}")
    _more(to, report.problems)
    if report.ok:
        to.print("[bold green]all well[/]")
    else:
        to.print(f"[bold red]{count(len(report.problems), 'problem')}[/]")


# --- pending -----------------------------------------------------------------------------------------------
def show_pending(to: Console, found: Pending, data_dir: str) -> None:
    """Say what waits, oldest first, and whether somebody sees to it."""
    if not found.waiting:
        to.print("nothing waits: every generation has its record")
        return
    rows = [("generation", "state", "age", "left", "worker", "task"), *map(_row, found.waiting[:SHOWN])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for at, row in enumerate(rows):
        line = _columns(row, widths)
        to.print(f"[bold]{line}[/]" if at == 0 else line)
    _more(to, found.waiting)
    if found.leader is None:
        run = escape(literal(RECOVER, data_dir))
        hint = "what has ended stays in the journal" if found.ok else f"start the service or {run}"
        to.print(f"[yellow]nobody delivers for this data_dir now[/]; {hint}")


def _row(one: Waiting) -> tuple[str, ...]:
    left = seconds(one.left_seconds) if one.left_seconds is not None else ""
    worker = "alive" if one.worker_alive else "gone"
    return one.id, one.state, seconds(one.age_seconds), left, worker, one.task_id or "-"


def _columns(row: tuple[str, ...], widths: list[int]) -> str:
    """Write a row as one line that no terminal cuts: its id is there to be copied; what is long stands last."""
    id_, state, age, left, worker, task = row
    head = f"{id_:<{widths[0]}}  {state:<{widths[1]}}  {age:>{widths[2]}}  {left:>{widths[3]}}"
    return f"{head}  {worker:<{widths[4]}}  {escape(task)}"


# --- recover -----------------------------------------------------------------------------------------------
def show_recovery(to: Console, found: Recovery) -> None:
    """Say what a recovery did."""
    rebuilt = "index rebuilt from the files; " if found.rebuilt else ""
    to.print(f"{rebuilt}{count(found.records, 'record')} written, {count(found.waiting, 'generation')} "
             f"still {'waits' if found.waiting == 1 else 'wait'}")  # fmt: skip
    for label, n in sorted(found.aside.items()):
        to.print(f"[yellow]set aside[/] {escape(label)}: {n:,} (see .otel_gen/quarantine)")


# --- what was done -----------------------------------------------------------------------------------------
def show_feedback(to: Console, found: dict[str, Any]) -> None:
    """Say whether a verdict is durable."""
    whom = f"generation {found['id']}" if found["id"] else f"task {escape(found['task_id'])}"
    if found["reason"]:
        to.print(f"[bold red]not recorded[/] for {whom}: {escape(found['reason'])}")
    else:
        to.print(f"recorded for {whom}")


def show_fold(to: Console, found: dict[str, Any]) -> None:
    """Say what was folded."""
    to.print(f"{count(found['folded'], 'amendment')} folded into {count(found['files'], 'file')}")
    if found["left"]:
        why = "its month is archived or compressed, or a line is damaged (otel-gen verify names it)"
        to.print(f"{count(found['left'], 'amendment')} left: {why}")


def show_rotation(to: Console, found: dict[str, Any]) -> None:
    """Say what was moved."""
    for month, n in found["months"].items():
        to.print(f"{count(n, 'record')} moved to generation_history_{month}.jsonl")
    if not found["months"]:
        to.print("nothing to move")
    show_fold(to, found)


def show_deletion(to: Console, found: dict[str, Any]) -> None:
    """Say what went and what stays."""
    if found["already"]:
        to.print("it was deleted before")
        return
    gone = (
        ("records", "record"),
        ("amendments", "amendment"),
        ("files", "file"),
        ("events", "journal event"),
    )
    to.print(f"deleted: {', '.join(count(found[key], noun) for key, noun in gone)}")
    if found["shared"]:
        to.print(f"{count(found['shared'], 'file')} kept: another record refers to it")


def show_replay(to: Console, found: Any) -> None:
    """Say what was read, and what was not."""
    to.print(f"{count(found.records, 'record')} written, {count(found.skipped, 'span')} passed over")
    for reason, n in found.reasons.items():
        to.print(f"[dim]passed over, {n:,}:[/] {escape(reason)}")


# --- tail --------------------------------------------------------------------------------------------------
def one_line(record: dict[str, Any]) -> str:
    """Write a record as one line: when, id, outcome, duration, and what tells most about it."""
    metadata, outcome = record["metadata"], str(record["outcome"])
    moment = str(metadata.get("timestamp"))[:19].replace("T", " ")
    total = (record["generation"].get("timing") or {}).get("total_time")
    took = seconds(total) if isinstance(total, (int, float)) else "-"
    ending = f"[{COLOURS.get(outcome, 'default')}]{escape(outcome):<11}[/]"
    head = f"[dim]{escape(moment)}[/] {escape(metadata['generation_id'])} {ending} {took:>7}"
    return f"{head}  {escape(_telling(record))}".rstrip()


def _telling(record: dict[str, Any]) -> str:
    failure, feedback = record["failure_analysis"], record["validator_feedback"]
    submission = record["generation"].get("submission") or {}
    uid = record["metadata"].get("validator_uid")
    said = [f"v{uid}" if uid is not None else "", _score(feedback)]
    said += [str(submission.get("rejection_reason") or "")]
    if failure.get("failed"):
        said += [f"{failure.get('error_type')}" + (f" in {failure['stage']}" if failure.get("stage") else "")]
    prompt = " ".join(str(record["task"].get("prompt") or "").split())
    return "  ".join(filter(None, [*said, prompt[:40] + ("..." if len(prompt) > 40 else "")]))


def _score(feedback: dict[str, Any]) -> str:
    score = feedback.get("score")
    return f"{score:.2f}" if isinstance(score, (int, float)) else ""
