"""Two small services, as ASGI and as WSGI: each request is a generation, acknowledged outside the data_dir."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import otel_gen
from tests.crash.worker import Acks

otel_gen.configure(registry=None, feedback_timeout=0)
_acks: dict[int, Acks] = {}


def _say(*words: object) -> None:
    pid = os.getpid()
    if pid not in _acks:
        _acks[pid] = Acks(os.environ["ACKS"])
    _acks[pid].say(*words)


def _inside(gen: otel_gen.Generation) -> None:
    if gen.durable:
        _say("S", gen.id)
    with gen.stage("sdxl"):
        pass
    gen.submitted()


def wsgi(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request."""
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="a chair") as gen:
        _inside(gen)
    if gen.durable:
        _say("E", gen.id, "submitted", "-")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope: dict[str, Any], _: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Answer one request; there is no lifespan, so nothing is shut down."""
    if scope["type"] != "http":
        return
    async with otel_gen.generation(task_type="TEXT-TO-3D", prompt="a chair") as gen:
        _inside(gen)
    if gen.durable:
        _say("E", gen.id, "submitted", "-")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
