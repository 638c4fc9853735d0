"""FastAPI: `instrument(app)` makes the requests of a service generations, and shows and takes what it knows."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from otel_gen.blocks import NOTHING
from otel_gen.door import MAX_BODY, PATH, Door
from otel_gen.errors import MissingExtraError, SettingsError
from otel_gen.integrations import prompts
from otel_gen.integrations.asgi import Scope, headers_of
from otel_gen.integrations.exchange import CURRENT, Manner
from otel_gen.integrations.incoming import Incoming
from otel_gen.integrations.middleware import Middleware, Plan
from otel_gen.integrations.options import Options, checked
from otel_gen.integrations.routes import GENERATIONS
from otel_gen.integrations.server_spans import instrument_server
from otel_gen.runtime import configure
from otel_gen.safely import faults
from otel_gen.settings import resolve

try:
    from fastapi import Depends, FastAPI, Request, Response
    from starlette.exceptions import HTTPException
    from starlette.requests import HTTPConnection
    from starlette.routing import Match
except ImportError as error:
    raise MissingExtraError("fastapi", "fastapi") from error

__all__ = ["CurrentGeneration", "instrument"]

Describe = Callable[[Request], Any]


async def _current(connection: HTTPConnection) -> Any:
    return connection.scope.get(CURRENT, NOTHING)


CurrentGeneration = Annotated[Any, Depends(_current)]
"""Annotation of a handler's parameter: its generation, or, where there is none, one that records nothing."""


def instrument(
    app: FastAPI,
    *,
    routes: Iterable[str] = GENERATIONS,
    prompt_field: str = "prompt",
    describe: Describe | None = None,
    config: Any = None,
    metrics: str | None = "/metrics",
    feedback: str | bytes | None = None,
    cancel_on_disconnect: bool = False,
    keep_product: bool = True,
    body_limit: int = 32 * 2**20,
    drain_seconds: float = 9.0,
    registry: Any = "default",
    **settings: Any,
) -> None:
    """Record each request of `routes` as a generation; call it once, before the service starts.

    `settings` are those of configure(), called when the application starts; shutdown() follows its end.
    routes: "POST /generate/" or the path alone. prompt_field: the form's or JSON object's field with the
    prompt. describe: a function, async or not, that makes more keywords of generation() from the request;
    what it gives wins. config: the miner's settings in force, or a function that gives them. metrics: where
    to show /metrics, None for nowhere. feedback: "loopback" or a key of 16 bytes and more, to take verdicts
    at POST /otel-gen/feedback. cancel_on_disconnect: cancel the handler of a client that hangs up.
    keep_product: take a PLY or SPZ that is answered as the output. body_limit: bytes of a request that are
    read ahead. drain_seconds: how long the end may take. Raises SettingsError.
    """
    options = checked(
        routes=routes, prompt_field=prompt_field, describe=describe, config=config, metrics=metrics,
        feedback=feedback, cancel_on_disconnect=cancel_on_disconnect, keep_product=keep_product,
        body_limit=body_limit, drain_seconds=drain_seconds, registry=registry,
    )  # fmt: skip
    resolve(settings)
    if getattr(app.state, "otel_gen", False) or app.middleware_stack is not None:
        raise SettingsError("instrument(app): call it once, before the application starts")
    app.state.otel_gen = True
    instrument_server(app)
    app.add_middleware(Middleware, plan=_plan(options, lambda: configure(registry=registry, **settings)))
    if options.metrics is not None:
        app.add_route(options.metrics, _metrics(REGISTRY if registry in ("default", None) else registry))
    if options.feedback is not None:
        app.add_route(PATH, _feedback(options.feedback), methods=["POST"])


def _plan(options: Options, configured: Callable[[], Any]) -> Plan:
    manner = Manner(
        _describing(options), options.body_limit, options.cancel_on_disconnect, options.keep_product
    )
    return Plan(options.routes, _served, manner, configured, options.drain_seconds)


def _served(scope: Scope) -> bool:
    """Tell whether a route answers: what is redirected, or met by no route, is no generation."""
    return any(route.matches(scope)[0] is Match.FULL for route in scope["app"].routes)


def _describing(options: Options) -> Callable[..., Any]:
    config, describe = options.config, options.describe

    async def fill_in(scope: Scope, incoming: Incoming, found: dict[str, Any]) -> None:
        headers = headers_of(scope)
        found |= prompts.from_headers(headers)
        with faults.quiet("config= of instrument()"):
            found["config"] = config() if callable(config) else config
        if incoming.whole:
            prompt = await _prompt(Request(scope, incoming.replayed()), headers, incoming, options)
            found |= {"prompt": prompt, "task_type": prompts.task_type(prompt)}
        if describe is not None:
            with faults.quiet("describe= of instrument()"):
                more = describe(Request(scope, incoming.replayed()))
                found.update(**(await more if inspect.isawaitable(more) else more))

    return fill_in


async def _prompt(request: Request, headers: dict[str, str], incoming: Incoming, options: Options) -> Any:
    try:
        return await prompts.read(request, headers, incoming.body(), options.prompt_field, options.body_limit)
    except HTTPException:
        return None  # a body that is no form: the application says what it thinks of it


def _metrics(registry: Any) -> Callable[..., Any]:
    async def metrics(request: Request) -> Response:
        # Thousands of lines take tens of milliseconds: rendered in a thread they do not hold up the event loop.
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        page = await asyncio.to_thread(encode, registry)
        return Response(page, headers={"Content-Type": media_type})

    return metrics


def _feedback(door: Door) -> Callable[..., Any]:
    # A thread of its own: feedback waits for the disk, and the application's threads are not there for that.
    pool = ThreadPoolExecutor(1, "otel_gen-feedback")

    async def feedback(request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                break
        peer = request.client.host if request.client else None
        take = partial(door.take, headers_of(request.scope), peer, bytes(body))
        reply = await asyncio.get_running_loop().run_in_executor(pool, take)
        headers = {"Retry-After": "1"} if reply.status == 503 else {}
        return Response(reply.body(), reply.status, headers, "application/json")

    return feedback
