"""Middleware: plain ASGI; requests of the chosen routes become generations, the lifespan configures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from otel_gen.integrations.asgi import App, Receive, Scope, Send
from otel_gen.integrations.exchange import Exchange, Manner
from otel_gen.integrations.lifespan import Lifespan, begin
from otel_gen.integrations.routes import Routes
from otel_gen.safely import faults, safely


@dataclass(frozen=True)
class Plan:
    """What the middleware does for one application; `served` tells whether a route answers a request."""

    routes: Routes
    served: Callable[[Scope], bool]
    manner: Manner
    configure: Callable[[], Any]
    drain_seconds: float

    def takes(self, scope: Scope) -> bool:
        """Tell whether a request is a generation."""
        return scope in self.routes and self.served(scope)


class Middleware:
    """An ASGI application around another."""

    def __init__(self, app: App, plan: Plan) -> None:
        self._app, self._plan = app, plan
        self._running: set[Exchange] = set()
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plan = self._plan
        if scope["type"] == "lifespan":
            self._begun = True
            life = Lifespan(self._app, plan.configure, plan.drain_seconds, self._running)
            await life.run(scope, receive, send)
            return
        if not self._begun:
            self._begin_late()
        if scope["type"] == "http" and safely("route of a request", partial(plan.takes, scope), False):
            await self._run(Exchange(self._app, plan.manner, scope, receive, send))
        else:
            await self._app(scope, receive, send)

    def _begin_late(self) -> None:
        """Configure with the first request: a mounted application, or `--lifespan off`, has no lifespan."""
        self._begun = True
        with faults.quiet("start without a lifespan"):
            begin(self._plan.configure)

    async def _run(self, exchange: Exchange) -> None:
        self._running.add(exchange)
        try:
            await exchange.run()
        finally:
            self._running.discard(exchange)
