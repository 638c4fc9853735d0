"""Commands that look: pending, verify. They write nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_gen.cli.options import DEFAULT, DataDir, Json
from otel_gen.cli.output import errors, finish

if TYPE_CHECKING:
    pass


def verify(data_dir: DataDir = DEFAULT, json: Json = False) -> None:
    """Check every record, artifact and counter; safe while a service runs."""
    from otel_gen.cli import words
    from otel_gen.readers.verify import verify as check

    with errors(as_json=json):
        report = check(data_dir)
    finish(
        words.verification(report), ok=report.ok, as_json=json, show=lambda to: words.show_report(to, report)
    )


def pending(data_dir: DataDir = DEFAULT, json: Json = False) -> None:
    """List generations without a record and what each waits for."""
    from otel_gen.cli import words
    from otel_gen.readers.pending import pending as list_pending

    with errors(as_json=json):
        found = list_pending(data_dir)
    finish(found, ok=found.ok, as_json=json, show=lambda to: words.show_pending(to, found))


COMMANDS = {"verify": verify, "pending": pending}
