"""Commands beside a data_dir: metrics serves it, replay and demo fill one."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from otel_gen.cli.options import DEFAULT, DataDir, Json, MadeDir, existing, named
from otel_gen.cli.output import console, errors, finish, say_json, writing


def metrics(
    data_dir: DataDir = DEFAULT,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="On 127.0.0.1; 0 takes a free one.")] = 9464,
    json: Json = False,
) -> None:
    """Serve /metrics of a data_dir without its service, until Ctrl-C."""
    from otel_gen.cli.words import escape
    from otel_gen.server import MetricsServer

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with errors(data_dir, as_json=json):
        data_dir = existing(data_dir)
        server = MetricsServer(data_dir, port)
    with writing():
        if json:
            say_json({"ok": True, "url": server.url})
        else:
            console().print(f"[bold]{server.url}[/] shows {escape(data_dir)}; Ctrl-C ends it")
    try:
        server.wait()
    except KeyboardInterrupt:
        server.close()


def replay(
    files: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="OTLP JSON lines, as of the Collector.")
    ],
    data_dir: MadeDir = DEFAULT,
    json: Json = False,
) -> None:  # fmt: skip
    """Turn exported spans back into records."""
    from otel_gen.cli import words
    from otel_gen.replay import replay as run

    with errors(data_dir, as_json=json):
        found = run(files, named(data_dir))
    finish(found, ok=True, as_json=json, acted=True, show=lambda to: words.show_replay(to, found))


def demo(
    data_dir: Annotated[
        str, typer.Option(metavar="DIR", help="An earlier demo's is kept under another name.")
    ] = "demo-data",
    count: Annotated[int, typer.Option(min=1, help="How many generations.")] = 40,
    image: Annotated[list[Path] | None, typer.Option(help="A picture of yours; may be repeated.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="A text of yours; may be repeated.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Let the service stay up until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the service; 0 takes a free one.")] = 0,
    json: Json = False,
) -> None:
    """Run a small 3D service, send it work and show what was recorded."""
    with errors(data_dir, as_json=json):
        run = _runner()
    raise typer.Exit(run(count, image or (), prompt or (), serve, data_dir, port, json))


def _runner() -> Any:
    from otel_gen.errors import MissingExtraError

    try:
        from otel_gen.demo.runner import run
    except ModuleNotFoundError as error:
        if (error.name or "otel_gen").startswith("otel_gen"):
            raise
        raise MissingExtraError(error.name or "a package", "demo") from error
    return run


COMMANDS = {"metrics": metrics, "replay": replay, "demo": demo}
