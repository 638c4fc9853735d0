"""The one "GPU" of a worker: who may use it, and work in threads that ends before the next one starts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from starlette.requests import Request

P = ParamSpec("P")
T = TypeVar("T")

gpu = asyncio.Semaphore(1)


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread, in this context; a cancelled caller waits for its end.

    A thread cannot be stopped: were the cancellation passed on at once, the GPU would be free on paper only.
    """
    thread = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise


async def until_hung_up(request: Request, work: Awaitable[T]) -> T | None:
    """Await `work`, but cancel it when the client goes away; None then."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait([task, watch], return_when=asyncio.FIRST_COMPLETED)
    finally:
        watch.cancel()
        task.cancel()  # without effect once it is done
    try:
        return await task
    except asyncio.CancelledError:
        return None


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
