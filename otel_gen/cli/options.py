"""Options that several commands share, and what is wrong usage of them."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def existing(path: str) -> str:
    """Check that a data_dir is there; a command line that names none is wrong usage."""
    path = os.path.abspath(os.path.expanduser(path))
    if not os.path.isdir(path):
        where = "name the one of your service with --data-dir or OTEL_GEN_DATA_DIR"
        typer.secho(f"otel-gen: {path}: no such directory; {where}", err=True, fg="red")
        raise typer.Exit(2)
    return path


DataDir = Annotated[
    str,
    typer.Option(
        "--data-dir", envvar="OTEL_GEN_DATA_DIR", callback=existing, metavar="DIR",
        help="Where the service records.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="One JSON object for programs.")]
DEFAULT = "data"
