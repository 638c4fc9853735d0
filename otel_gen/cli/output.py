"""Output: words for people on a terminal, one JSON object for programs, and the exit code."""

from __future__ import annotations

import io
import os
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


def prepare() -> None:
    """Let all be said: nowhere where standard output is closed, with a ? for what its encoding lacks."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def console() -> Console:
    """Make a console that neither breaks nor colours what programs read."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 200  # what is piped is not cut to a terminal's width
    return Console(highlight=False, soft_wrap=True, width=wide)


def finish(
    result: Any, *, ok: bool, as_json: bool, show: Callable[[Console], None], acted: bool = False
) -> NoReturn:
    """Say a result in the form that was asked for and exit; what was done stays done if it cannot be said."""
    with writing(done=ok and acted):
        say_json({"ok": ok, **plain(result)}) if as_json else _say(show)
    raise typer.Exit(OK if ok else BAD_NEWS)


def _say(show: Callable[[Console], None]) -> None:
    to = console()
    with to.capture() as words:  # a console that writes for itself exits where its reader has gone
        show(to)
    sys.stdout.write(words.get())


def plain(value: Any) -> dict[str, Any]:
    """Turn a result into what JSON knows."""
    found: dict[str, Any] = (
        asdict(value) if is_dataclass(value) and not isinstance(value, type) else dict(value)
    )
    return found


def say_json(value: Any) -> None:
    """Print one line of JSON, which is UTF-8 wherever it goes."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def complain(text: str) -> None:
    """Say on standard error what is wrong, in one line."""
    line = f"otel-gen: {text}"
    typer.echo(line if os.environ.get("NO_COLOR") else typer.style(line, fg="red"), err=True)


@contextmanager
def errors(place: object, *, as_json: bool) -> Iterator[None]:
    """Say in one line what is wrong, below `place` where nothing tells better, and exit; a defect shows itself."""
    from otel_gen.refusals import refusals

    try:
        with refusals(str(place), "cannot go on"):
            yield
    except OtelGenError as error:
        with writing():
            say_json({"ok": False, "error": str(error)}) if as_json else complain(str(error))
        raise typer.Exit(WRONG_USAGE if isinstance(error, SettingsError) else BAD_NEWS) from error


@contextmanager
def writing(*, done: bool = False) -> Iterator[None]:
    """Write to standard output; where that is refused, say so and exit, with 0 where the work is `done`."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        unwritten(error, done=done)


def unwritten(error: OSError, *, done: bool = False) -> NoReturn:
    """Exit because standard output takes no more; a reader that has gone wants no words."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what the interpreter still flushes
    if done:
        complain(f"it is done, but what was done cannot be written ({error.strerror})")
    elif not isinstance(error, BrokenPipeError):
        complain(f"the output cannot be written ({error.strerror})")
    sys.exit(OK if done else BAD_NEWS)
