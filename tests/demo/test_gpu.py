"""The GPU is never shared: given-up work is waited for."""

import asyncio
import contextvars
import threading
import time

import pytest

from otel_gen.demo.gpu import in_thread


def test_a_cancelled_caller_waits_for_its_thread():
    ended = threading.Event()

    def work():
        time.sleep(0.2)
        ended.set()

    async def scene():
        task = asyncio.ensure_future(in_thread(work))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(scene())


def test_work_in_a_thread_keeps_the_context():
    mark = contextvars.ContextVar("mark")

    async def scene():
        mark.set("kept")
        return await in_thread(mark.get)

    assert asyncio.run(scene()) == "kept"
