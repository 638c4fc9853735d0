"""The command that proposes a mapping: discover."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, NoReturn

import typer

from otel_gen.cli.options import Json
from otel_gen.cli.output import errors, finish, say_json, writing


def discover(
    service: Annotated[
        str, typer.Argument(metavar="MODULE|FILE", help="As its server is told: service:app.")
    ],
    generation: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="The function that makes one generation.")
    ] = None,
    check: Annotated[
        str | None, typer.Option(metavar="MAPPING", help="Look for what this mapping file names, instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Propose a mapping file from a service's source, which is read and never run."""
    if check is not None:
        _check(service, check, as_json=json)
    _propose(service, generation, as_json=json)


def _propose(service: str, generation: str | None, *, as_json: bool) -> None:
    from otel_gen.zerocode.discover import discover as look
    from otel_gen.zerocode.proposal import text

    with errors(service, as_json=as_json):
        found = look(service, generation)
    with writing():
        if as_json:
            say_json({"ok": True, **asdict(found), "mapping": text(found)})
        else:
            typer.echo(text(found), nl=False)


def _check(service: str, mapping: str, *, as_json: bool) -> NoReturn:
    from otel_gen.zerocode.checking import check

    with errors(service, as_json=as_json):
        problems = check(service, mapping)
    words = problems or ["everything that the mapping names is there"]
    finish(
        {"problems": problems}, ok=not problems, as_json=as_json,
        show=lambda to: to.print("\n".join(words), markup=False),
    )  # fmt: skip


COMMANDS = {"discover": discover}
