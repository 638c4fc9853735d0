"""Commands that look: pending, tail, stats, verify. They write nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from otel_gen.cli.options import DEFAULT, DataDir, Json, existing
from otel_gen.cli.output import console, errors, finish, say_json, writing


def verify(data_dir: DataDir = DEFAULT, json: Json = False) -> None:
    """Check every record, artifact and counter; safe while a service runs."""
    from otel_gen.cli import words
    from otel_gen.readers.verify import verify as check

    with errors(data_dir, as_json=json):
        report = check(existing(data_dir))
    found = words.verification(report)
    finish(found, ok=report.ok, as_json=json, show=lambda to: words.show_report(to, report))


def pending(data_dir: DataDir = DEFAULT, json: Json = False) -> None:
    """List generations without a record and what each waits for."""
    from otel_gen.cli import words
    from otel_gen.readers.pending import pending as list_pending

    with errors(data_dir, as_json=json):
        place = existing(data_dir)
        found = list_pending(place)
    finish(found, ok=found.ok, as_json=json, show=lambda to: words.show_pending(to, found, place))


def stats(data_dir: DataDir = DEFAULT, json: Json = False) -> None:
    """Show totals, acceptance, stage times, failures and waste."""
    from otel_gen.cli import figures
    from otel_gen.readers.stats import stats as work_out

    with errors(data_dir, as_json=json):
        found = work_out(existing(data_dir))
    finish(found, ok=True, as_json=json, show=lambda to: figures.show(to, found))


def tail(
    data_dir: DataDir = DEFAULT,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the newest.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """Show the newest records, one line each; with --json whole records."""
    from otel_gen.cli import words
    from otel_gen.readers import tail as reader

    to = console()
    with errors(data_dir, as_json=json):
        place = existing(data_dir)
        records = reader.follow(place, lines) if follow else reader.tail(place, lines)
        try:
            for record in records:
                with writing():
                    say_json(record) if json else to.print(words.one_line(record))
        except KeyboardInterrupt:
            raise typer.Exit from None


COMMANDS = {"pending": pending, "tail": tail, "stats": stats, "verify": verify}
