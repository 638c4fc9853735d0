"""The program `otel-gen`: its commands by name."""

from __future__ import annotations

from typing import Annotated

import typer

from otel_gen._version import __version__
from otel_gen.cli import act, bring, look, propose, serve
from otel_gen.cli.output import prepare, unwritten

app = typer.Typer(
    name="otel-gen", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Look at, mend and serve what otel_gen records of a 3D-generation service.",
    epilog="Exit codes: 0 all well, 1 the answer is bad news, 2 wrong usage.",
)  # fmt: skip


def _version(value: bool) -> None:
    if value:
        typer.echo(f"otel-gen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


for module in (look, act, bring, serve, propose):
    for name, command in module.COMMANDS.items():
        app.command(name)(command)


def main() -> None:
    """Run the command line."""
    prepare()
    try:
        app(prog_name="otel-gen")
    except OSError as error:
        if error.filename is not None:
            raise  # a defect: what the output refuses has no name
        unwritten(error)
