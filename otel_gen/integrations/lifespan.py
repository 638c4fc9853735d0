"""Lifespan: configure before the application starts, drain after it has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any

from otel_gen import pipeline
from otel_gen.errors import OtelGenError
from otel_gen.guard import log
from otel_gen.integrations.asgi import App, Message, Receive, Scope, Send
from otel_gen.integrations.exchange import Exchange
from otel_gen.runtime import serve, shutdown
from otel_gen.safely import faults

_LEAST = 0.5  # seconds for the spans, however long the records took
_UNWINDING = 1.0  # seconds for the requests that the server has cut off
_ENDS = ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed")


def begin(configure: Callable[[], Any]) -> str:
    """Configure and serve; gives, and logs, what is wrong with the settings."""
    try:
        configure()
        serve()
    except OtelGenError as error:
        log.error("otel_gen: %s", error)
        return str(error)
    return ""


class Lifespan:
    """One life of an application; settings that are wrong are the reason why it does not start."""

    def __init__(
        self, app: App, configure: Callable[[], Any], drain_seconds: float, running: Collection[Exchange]
    ) -> None:
        self._app, self._configure, self._seconds, self._running = app, configure, drain_seconds, running
        self._drained = False

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a lifespan on; what is recorded is brought to its end before the server hears of the end."""
        first: Message | None = await receive()
        wrong = begin(self._configure)
        if wrong:
            await send({"type": "lifespan.startup.failed", "message": wrong})
            return

        async def hear() -> Message:
            nonlocal first
            message, first = first, None
            return message if message is not None else await receive()

        async def tell(message: Message) -> None:
            if message["type"] in _ENDS:
                await self._drain()
            await send(message)

        try:
            await self._app(scope, hear, tell)
        finally:
            await self._drain()

    async def _drain(self) -> None:
        if self._drained:
            return
        self._drained = True
        until = time.monotonic() + self._seconds
        with faults.quiet("end of the last requests"):
            await self._last_requests(min(until, time.monotonic() + _UNWINDING))
        with faults.quiet("shutdown"):
            await asyncio.to_thread(self._end, until)

    async def _last_requests(self, until: float) -> None:
        """Let those unwind that the server has cut off, which does not wait for them; then no more is recorded."""
        while self._running and time.monotonic() < until:
            await asyncio.sleep(0.01)
        await asyncio.gather(*(exchange.cut_off() for exchange in self._running))

    @staticmethod
    def _end(until: float) -> None:
        shutdown(max(until - time.monotonic(), 0.0))
        pipeline.flush_application(max(until - time.monotonic(), _LEAST))
