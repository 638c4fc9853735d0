"""Exchange: one request that is a generation, from its body to the last byte of its answer.

The generation ends, durably, before the last byte goes out: who has the answer has the record. Only after
a 202 it goes on until the application returns, background tasks included.
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from otel_gen import tracing
from otel_gen.blocks import NOTHING, generation
from otel_gen.integrations.asgi import App, Message, Receive, Scope, Send, headers_of
from otel_gen.integrations.incoming import Incoming
from otel_gen.integrations.outcomes import Answer, conclude
from otel_gen.integrations.product import Product
from otel_gen.safely import faults, safely

CURRENT = "otel_gen.generation"
"""Key of the generation in the scope of its request."""
_LATER = 202
_GONE = "ClientDisconnect"


class HungUpError(CancelledError):
    """Stands for the client that went before it had its answer; never raised."""


class CutOffError(CancelledError):
    """Stands for the server that ends while the application still works; never raised."""


@dataclass(frozen=True)
class Manner:
    """How requests are taken; `describe` fills in the keywords of a generation."""

    describe: Callable[[Scope, Incoming, dict[str, Any]], Awaitable[None]]
    body_limit: int
    cancels: bool
    """Whether the work of a client that hung up is cancelled."""
    keeps_product: bool


class Exchange:
    """One request; `_over` once its generation has ended."""

    def __init__(self, app: App, manner: Manner, scope: Scope, receive: Receive, send: Send) -> None:
        self._app, self._manner, self._scope, self._send = app, manner, scope, send
        self._incoming = Incoming(receive)
        self._answer = Answer()
        self._product: Product | None = None
        self._block: Any = NOTHING
        self._gen: Any = NOTHING
        self._began = time.monotonic()
        self._over = False

    async def run(self) -> None:
        """Pass the request on as a generation."""
        await self._incoming.read(self._manner.body_limit)
        token = safely("trace of a request", self._arrive, None)
        try:
            if not self._incoming.hung_up:
                await self._begin()
            if self._gen is NOTHING:
                await self._app(self._scope, self._incoming.receive, self._send)
            else:
                await self._generate()
        finally:
            if token is not None:
                tracing.detach(token)

    def _arrive(self) -> Any:
        return tracing.attach(tracing.arriving(headers_of(self._scope)))

    async def cut_off(self) -> None:
        """End the generation because the server ends, whatever the application is still at."""
        if self._gen is not NOTHING:
            await self._end(CutOffError("the server ended before the answer was whole"))

    async def _generate(self) -> None:
        try:
            await self._pass_on()
        except BaseException as error:
            await self._end(error)
            raise
        finally:
            self._incoming.close()
        await self._end(None)

    async def _begin(self) -> None:
        keywords: dict[str, Any] = {}
        with faults.quiet("request"):
            await self._manner.describe(self._scope, self._incoming, keywords)
        with faults.quiet("generation of a request"):
            self._block = generation(**keywords)
            self._gen = self._scope[CURRENT] = self._block.__enter__()
            if self._manner.keeps_product and self._gen is not NOTHING:
                self._product = Product(self._gen.capture.settings.max_artifact_bytes)

    # --- there ----------------------------------------------------------------------------------------------
    async def _pass_on(self) -> None:
        if self._incoming.whole:
            self._incoming.watch()
        application = self._app(self._scope, self._incoming.receive, self._take)
        if self._manner.cancels and self._incoming.whole:
            await self._until_hung_up(asyncio.ensure_future(application))
        else:
            await application

    async def _until_hung_up(self, work: asyncio.Future[None]) -> None:
        """Await the application; its work is cancelled when the client goes."""
        try:
            await asyncio.wait([work, self._incoming.watch()], return_when=asyncio.FIRST_COMPLETED)
            if self._incoming.hung_up:
                work.cancel()
            await asyncio.wait([work])
        except CancelledError:
            work.cancel()
            await asyncio.wait([work])
            raise
        if not (work.cancelled() and self._incoming.hung_up):
            work.result()

    # --- and back -------------------------------------------------------------------------------------------
    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            with faults.quiet("response"):
                message = self._started(message)
        elif message["type"] == "http.response.body":
            with faults.quiet("response"):
                self._gather(message.get("body", b""))
            if not message.get("more_body", False):
                await self._answered()
        elif message["type"] == "http.response.pathsend":
            self._answer.size += 1  # the server sends a file; nothing goes by here
            await self._answered()
        try:
            await self._send(message)
        except OSError:
            self._incoming.lost()
            raise

    def _gather(self, body: bytes) -> None:
        self._answer.size += len(body)
        if self._product is not None:
            self._product.add(body)

    def _started(self, message: Message) -> Message:
        self._answer.status = message["status"]
        self._answer.headers = headers_of(message)
        self._answer.error = sys.exc_info()[1]  # an exception handler answers while its exception is handled
        if "content-encoding" in self._answer.headers or self._answer.status != 200:
            self._product = None
        return {**message, "headers": [*message.get("headers", ()), *self._own_headers()]}

    def _own_headers(self) -> list[tuple[bytes, bytes]]:
        trace_id, span_id, _, flags = self._gen.ids
        spent = (time.monotonic() - self._began) * 1000
        own = {
            "x-generation-id": self._gen.id,
            "traceparent": f"00-{trace_id}-{span_id}-{flags:02x}",
            "server-timing": f"gen;dur={spent:.1f}",
        }
        return [(k.encode(), v.encode()) for k, v in own.items() if k not in self._answer.headers]

    async def _answered(self) -> None:
        self._incoming.answered()
        if self._answer.status != _LATER:
            await self._end(None)

    # --- the end --------------------------------------------------------------------------------------------
    async def _end(self, error: BaseException | None) -> None:
        if self._over:
            return
        self._over = True
        with faults.quiet("end of a request"):
            if self._gen.said is None and (error is None or self._by_hanging_up(error)):
                error = self._inferred()
            if self._product is not None and self._gen.said == "submitted":
                await self._product.hand_over(self._gen)
        await self._block.__aexit__(type(error) if error else None, error, None)

    def _by_hanging_up(self, error: BaseException) -> bool:
        """Tell whether an exception only says that the client has gone, in the words of server or framework."""
        return self._incoming.hung_up and (isinstance(error, OSError) or type(error).__name__ == _GONE)

    def _inferred(self) -> BaseException | None:
        if self._incoming.hung_up:
            return HungUpError("the client hung up before it had its answer")
        return conclude(self._gen, self._answer)
