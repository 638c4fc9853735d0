"""Options that several commands share, and what is checked of them inside a command."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from otel_gen.errors import SettingsError

_WHERE = "name the one of your service with --data-dir or OTEL_GEN_DATA_DIR"


def named(path: str) -> str:
    """Give the absolute path of a data_dir. Raises SettingsError: an empty variable is not the current directory."""
    if not path:
        raise SettingsError(f"--data-dir is empty; {_WHERE}")
    return os.path.abspath(os.path.expanduser(path))


def existing(path: str) -> str:
    """Give the absolute path of a data_dir that is there. Raises SettingsError: naming none is wrong usage."""
    path = named(path)
    if not os.path.isdir(path):
        raise SettingsError(f"{path}: no such directory; {_WHERE}")
    return path


def begun(path: str) -> str:
    """Give the absolute path of a data_dir in which something was recorded: commands that act leave others alone."""
    from otel_gen.tree import is_begun

    path = existing(path)
    if os.access(path, os.R_OK) and not is_begun(os.listdir(path)):
        raise SettingsError(f"{path}: nothing was recorded in this directory; {_WHERE}")
    return path


def _data_dir(words: str) -> Any:
    return typer.Option("--data-dir", envvar="OTEL_GEN_DATA_DIR", metavar="DIR", help=words)


DataDir = Annotated[str, _data_dir("Where the service records.")]
MadeDir = Annotated[str, _data_dir("Made if need be.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object for programs.")]
DEFAULT = "data"
