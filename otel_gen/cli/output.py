"""Output: words for people on a terminal, one JSON object for programs, and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import typer

from otel_gen.errors import OtelGenError, SettingsError

if TYPE_CHECKING:
    from rich.console import Console

OK, BAD_NEWS, WRONG_USAGE = 0, 1, 2


def console() -> Console:
    """Make a console that neither breaks nor colours what programs read."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 200  # what is piped is not cut to a terminal's width
    return Console(highlight=False, soft_wrap=True, width=wide)


def finish(result: Any, *, ok: bool, as_json: bool, show: Callable[[Console], None]) -> NoReturn:
    """Say a result in the form that was asked for and exit."""
    if as_json:
        say_json({"ok": ok, **plain(result)})
    else:
        show(console())
    raise typer.Exit(OK if ok else BAD_NEWS)


def plain(value: Any) -> dict[str, Any]:
    """Turn a result into what JSON knows."""
    found: dict[str, Any] = (
        asdict(value) if is_dataclass(value) and not isinstance(value, type) else dict(value)
    )
    return found


def say_json(value: Any) -> None:
    """Print one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


@contextmanager
def errors(*, as_json: bool) -> Iterator[None]:
    """Say an error of otel_gen in one line and exit; others are defects and show where they happened."""
    try:
        yield
    except OtelGenError as error:
        if as_json:
            say_json({"ok": False, "error": str(error)})
        else:
            typer.secho(f"otel-gen: {error}", err=True, fg="red")
        raise typer.Exit(WRONG_USAGE if isinstance(error, SettingsError) else BAD_NEWS) from error
