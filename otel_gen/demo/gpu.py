"""The one "GPU" of a worker: who may use it, and work in threads that ends before the next one starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

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
