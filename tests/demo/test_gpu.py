"""The GPU is never shared: given-up work is waited for, and a client that is gone is not worked for."""

import asyncio
import contextvars
import threading
import time

import pytest

from otel_gen.demo.gpu import in_thread, until_hung_up


class Client:
    """The receiving half of a request: hangs up after a while."""

    def __init__(self, seconds):
        self.seconds = seconds

    async def receive(self):
        await asyncio.sleep(self.seconds)
        return {"type": "http.disconnect"}


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


def test_the_answer_comes_through_while_the_client_listens():
    assert asyncio.run(until_hung_up(Client(60), asyncio.sleep(0, "answer"))) == "answer"


def test_an_error_comes_through_unchanged():
    async def fail():
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(until_hung_up(Client(60), fail()))


def test_work_for_a_client_that_hung_up_is_cancelled():
    cancelled = []

    async def work():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    assert asyncio.run(until_hung_up(Client(0.05), work())) is None
    assert cancelled == [True]
