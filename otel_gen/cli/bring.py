"""Commands that bring what was recorded elsewhere into a data_dir: import-legacy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otel_gen.cli.options import DEFAULT, Json, MadeDir, named
from otel_gen.cli.output import errors, finish

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {"lost": "bold red", "mended": "yellow", "passed over": "dim"}


def import_legacy(
    source: Annotated[
        Path,
        typer.Argument(
            exists=True, metavar="FILE|DIR",
            help="A history file of the former logger, or the directory with all of them.",
        ),
    ],
    data_dir: MadeDir = DEFAULT,
    tests: Annotated[bool, typer.Option("--tests", help="Take what its version marks as a test, too.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Turn the files of the former logger into records; a second time writes nothing."""
    from otel_gen.importing.run import import_legacy as run

    with errors(data_dir, as_json=json):
        found = run(source, named(data_dir), tests=tests)
    finish(found, ok=found.ok, as_json=json, acted=True, show=lambda to: show(to, found))


def show(to: Console, found: Any) -> None:
    """Say what was imported, then what was found, the losses first."""
    from otel_gen.cli.words import count, escape

    to.print(
        f"{count(found.records, 'record')} and {count(found.artifacts, 'artifact')} imported "
        f"from {count(found.lines, 'entry', 'entries')} in {count(found.files, 'file')}"
    )
    outcomes = ", ".join(f"{n:,} {name}" for name, n in found.outcomes.items())
    if outcomes:
        to.print(f"[dim]{outcomes}[/]")
    for what, one in sorted(found.found.items(), key=lambda item: list(_COLOURS).index(item[1].kind)):
        places = ", ".join(one.places) + (" ..." if one.n > len(one.places) else "")
        to.print(f"[{_COLOURS[one.kind]}]{one.kind:<12}[/] {one.n:>7,}  {what}  [dim]{escape(places)}[/]")


COMMANDS = {"import-legacy": import_legacy}
