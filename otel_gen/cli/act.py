"""Commands that act: recover."""

from __future__ import annotations

from typing import Annotated

import typer

from otel_gen.cli.options import DEFAULT, DataDir, Json
from otel_gen.cli.output import errors, finish


def _moment(text: str | None) -> int | None:
    """Read a time as wall nanoseconds: ISO 8601, or seconds since 1970."""
    if text is None:
        return None
    from otel_gen.clock import parse_iso

    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        pass
    try:
        return parse_iso(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2026-11-30T12:00:00Z, or seconds since 1970"
        ) from None


def recover(
    data_dir: DataDir = DEFAULT,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="Settle as of this time, ISO 8601 or Unix.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make index and metrics anew from the files.")
    ] = False,
    json: Json = False,
) -> None:
    """Write the records of generations whose process died or ended without them."""
    from otel_gen.cli import words
    from otel_gen.recover import recover as run

    moment = _moment(now)
    with errors(as_json=json):
        found = run(data_dir, now=moment, rebuild=rebuild)
    finish(found, ok=True, as_json=json, show=lambda to: words.show_recovery(to, found))


COMMANDS = {"recover": recover}
