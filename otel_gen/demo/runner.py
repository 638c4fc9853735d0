"""The demo: starts service and validators, sends everything, checks what was recorded, and reports."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from otel_gen.demo import checks, ground, report, scrape
from otel_gen.demo.checks import Findings
from otel_gen.demo.client import Answer, Report, send_all
from otel_gen.demo.figures import summary
from otel_gen.demo.server import Server
from otel_gen.demo.tally import tally
from otel_gen.demo.validators import Validators
from otel_gen.demo.workload import DemoError, Task, UsageError, plan

FEEDBACK_WINDOW = 8.0  # seconds; short, so that all settles while one looks on


def run(
    count: int = 40,
    images: Sequence[str | Path] = (),
    prompts: Sequence[str] = (),
    serve: bool = False,
    data_dir: str | Path = "demo-data",
    port: int = 0,
    json_output: bool = False,
) -> int:
    """Run the demo; 0: all as expected; 1: something differs or broke, and is said; 2: wrong usage.

    `count` generations, the user's `images` (files) and `prompts` among them. With `serve` the service stays
    up until Ctrl-C. An earlier demo's `data_dir` is kept under another name. `port` 0 takes a free one.
    """
    console = Console(stderr=json_output)
    try:
        tasks = plan(count, images, prompts)
        with (
            _ended_in_order(),
            ground.fresh(data_dir) as (folder, aside),
            tempfile.TemporaryDirectory() as control,
        ):
            if aside:
                console.print(f"the earlier demo's data is kept in {aside}")
            server = Server(folder, Path(control), port=port, feedback_timeout=FEEDBACK_WINDOW)
            return _run(console, server, folder, tasks, serve=serve, json_output=json_output)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 1


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, so that the service ends with us; only the main thread may ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(
    console: Console, server: Server, folder: Path, tasks: list[Task], *, serve: bool, json_output: bool
) -> int:
    with ExitStack() as stack:
        with console.status("starting the service with two workers"):
            stack.enter_context(server)
        found = _play(console, server, folder, tasks)
        result = summary(found)
        if json_output:
            print(json.dumps(result))
        else:
            report.show(console, result)
        if serve:
            _stay_up(console, server)
    return 0 if result["ok"] else 1


def _play(console: Console, server: Server, folder: Path, tasks: list[Task]) -> Findings:
    """Send, judge, wait until all is settled, and check."""
    with Validators(folder, FEEDBACK_WINDOW) as validators:
        with _progress(console, len(tasks)) as advance:
            answers = asyncio.run(send_all(server, tasks, _both(advance, validators)))
        with console.status("waiting for the verdicts, one of them after the feedback window"):
            verdicts = validators.finish()
    with console.status("checking records, artifacts and the metrics of both workers"):
        found = Findings(folder, answers, verdicts, checks.await_records(folder, answers))
        found.differences = list(checks.differences(found))
        found.workers, differing = scrape.compare(server, tally(found.records))
        found.differences += differing
    return found


def _both(advance: Report, validators: Validators) -> Report:
    """Hand over what was submitted to the validators, and count every answer."""

    def hear(answer: Answer) -> None:
        advance(answer)
        if answer.submitted and answer.generation_id:
            task = answer.task
            validators.submit(answer.generation_id, task.number, task.validator_uid, task.panel)

    return hear


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Report]:
    columns = (TextColumn("generations"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=total)
        yield lambda _: progress.advance(bar)


def _stay_up(console: Console, server: Server) -> None:
    console.print(
        f"\nthe service stays up at {server.url} (/generate/, /health, /metrics, /docs); Ctrl-C ends it",
        soft_wrap=True,
    )
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print("ending")
