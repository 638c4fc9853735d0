"""Options that several commands share, and what is wrong usage of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

_WHERE = "name the one of your service with --data-dir or OTEL_GEN_DATA_DIR"


def named(path: str) -> str:
    """Check that a data_dir is named: an empty variable of a script is not the current directory."""
    if not path:
        raise _wrong(f"--data-dir is empty; {_WHERE}")
    return os.path.abspath(os.path.expanduser(path))


def existing(path: str) -> str:
    """Check that a data_dir is there; a command line that names none is wrong usage."""
    path = named(path)
    if not os.path.isdir(path):
        raise _wrong(f"{path}: no such directory; {_WHERE}")
    return path


def begun(path: str) -> str:
    """Check that something was recorded in a data_dir: commands that act leave other directories alone."""
    from otel_gen.tree import is_begun

    path = existing(path)
    if os.access(path, os.R_OK) and not is_begun(os.listdir(path)):
        raise _wrong(f"{path}: nothing was recorded in this directory; {_WHERE}")
    return path


def _wrong(text: str) -> typer.Exit:
    typer.secho(f"otel-gen: {text}", err=True, fg="red")
    return typer.Exit(2)


def _data_dir(check: Callable[[str], str], words: str) -> Any:
    return typer.Option("--data-dir", envvar="OTEL_GEN_DATA_DIR", callback=check, metavar="DIR", help=words)


DataDir = Annotated[str, _data_dir(existing, "Where the service records.")]
BegunDir = Annotated[str, _data_dir(begun, "Where the service records.")]
MadeDir = Annotated[str, _data_dir(named, "Made if need be.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object for programs.")]
DEFAULT = "data"
