"""The command that proposes a mapping: discover."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from otel_gen.cli.options import Json
from otel_gen.cli.output import errors, say_json


def discover(
    service: Annotated[
        str, typer.Argument(metavar="MODULE|FILE", help="As its server is told: service:app.")
    ],
    generation: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="The function that makes one generation.")
    ] = None,
    json: Json = False,
) -> None:
    """Propose a mapping file from a service's source, which is read and never run."""
    from otel_gen.zerocode.discover import discover as look
    from otel_gen.zerocode.proposal import text

    with errors(as_json=json):
        found = look(service, generation)
    if json:
        say_json({"ok": True, **asdict(found), "mapping": text(found)})
    else:
        typer.echo(text(found), nl=False)


COMMANDS = {"discover": discover}
