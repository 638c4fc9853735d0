"""Web: handlers as FastAPI and Starlette take them, the request that is answered, and the end of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from otel_gen.zerocode.values import http
from otel_gen.zerocode.wrapping import when_loaded


class Request:
    """What a mapping may ask of the request that is being answered."""

    def __init__(self, scope: Any) -> None:
        self.method, self.path = scope.get("method"), scope.get("path")
        self._raw = scope.get("headers", ())

    @property
    def headers(self) -> dict[str, str]:
        """Headers by their names in small letters."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._raw}


def hook(
    around: Callable[[Any], Any], started: Callable[[], Any], closed: Callable[[], Any],
    enabled: Callable[[], bool],
) -> None:  # fmt: skip
    """Wrap handlers when they are registered, know the request, and say when the service starts and ends."""

    def register(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        if len(args) > 1:
            args = (args[0], around(args[1]), *args[2:])
        elif "endpoint" in kwargs:
            kwargs = {**kwargs, "endpoint": around(kwargs["endpoint"])}
        return wrapped(*args, **kwargs)

    async def serve(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        scope, receive, send = _asgi(*args, **kwargs)
        if scope["type"] == "lifespan":
            return await wrapped(scope, receive, _telling(send, started, closed))
        token = http.set(Request(scope))
        try:
            return await wrapped(scope, receive, send)
        finally:
            http.reset(token)

    when_loaded("fastapi.routing", "APIRoute.__init__", register, enabled)
    when_loaded("starlette.routing", "Route.__init__", register, enabled)
    when_loaded("starlette.applications", "Starlette.__call__", serve, enabled)


def _asgi(scope: Any, receive: Any, send: Any) -> tuple[Any, Any, Any]:
    return scope, receive, send


def _telling(send: Any, started: Callable[[], Any], closed: Callable[[], Any]) -> Any:
    """Tell before the server hears of it: that the application is done, after which it may end the process."""

    async def sending(message: Any) -> None:
        if message["type"] == "lifespan.startup.complete":
            started()
        if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            await asyncio.to_thread(closed)
        await send(message)

    return sending
