"""One request between a server and an application, message by message: what servers and applications may do."""

from __future__ import annotations

import asyncio

import pytest

import otel_gen
from otel_gen.integrations.exchange import Exchange, Manner
from tests.support import the_record

PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\nend_header\n" + bytes(8)
START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.request", "body": b"", "more_body": False}


class ClientDisconnect(Exception):  # noqa: N818 - the framework's own name
    """What a framework raises when its client has gone."""


async def describe(_scope, _incoming, keywords):
    keywords["task_type"] = "TEXT-TO-3D"


def exchange(app, *, received=(BODY,), send=None, cancels=False, limit=1000, headers=()):
    """Pass one request to an application; gives what it sent. More is never received than was given."""
    sent = []

    async def live():
        coming = list(received)

        async def receive():
            if not coming:
                await asyncio.Event().wait()
            found = coming.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        async def take(message):
            sent.append(message)
            if send is not None:
                send(message)

        scope = {"type": "http", "method": "POST", "path": "/generate/", "headers": headers}
        manner = Manner(describe, body_limit=limit, cancels=cancels, keeps_product=True)
        await asyncio.wait_for(Exchange(app, manner, scope, receive, take).run(), 20)

    asyncio.run(live())
    return sent


def body(part, *, more=False):
    return {"type": "http.response.body", "body": part, "more_body": more}


def gone(message):
    if message["type"] == "http.response.body":
        raise OSError("the connection is closed")


@pytest.mark.parametrize("translated", [False, True])
def test_a_server_that_raises_when_the_client_has_gone(configured, translated):
    async def app(_scope, _receive, send):
        await send(START)
        try:
            for _ in range(5):
                await send(body(b"x", more=True))
        except OSError:
            if translated:
                raise ClientDisconnect from None
            raise

    with pytest.raises(ClientDisconnect if translated else OSError):
        exchange(app, send=gone)
    assert the_record(configured)["outcome"] == "cancelled"


def test_an_error_of_the_disk_is_no_client_that_has_gone(configured):
    async def app(_scope, _receive, _send):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        exchange(app)
    assert the_record(configured)["outcome"] == "failed"


def test_what_was_answered_stays_answered_when_the_last_byte_cannot_be_sent(configured):
    async def app(_scope, _receive, send):
        await send(START)
        await send(body(PLY))

    with pytest.raises(OSError, match="closed"):
        exchange(app, send=gone)
    assert the_record(configured)["outcome"] == "unscored"


def test_the_generation_is_durable_before_the_last_byte_goes_out(configured):
    states = []

    async def app(scope, _receive, send):
        gen = scope["otel_gen.generation"]
        await send(START)
        await send(body(PLY[:10], more=True))
        states.append(gen.over)
        await send(body(PLY[10:]))
        states.append(gen.over and gen.durable)

    seen = []
    exchange(app, send=lambda message: seen.append(message["type"]))
    assert states == [False, True]
    assert the_record(configured)["generation"]["output"]["file_size_bytes"] == len(PLY)


def test_a_file_that_the_server_sends_itself_is_an_answer(configured):
    async def app(_scope, _receive, send):
        await send(START)
        await send({"type": "http.response.pathsend", "path": "/somewhere/made.ply"})

    exchange(app)
    assert the_record(configured)["outcome"] == "unscored"


def test_a_buffer_that_is_used_again_is_copied(configured):
    async def app(_scope, _receive, send):
        buffer = bytearray(PLY)
        await send(START)
        await send(body(buffer, more=True))
        buffer[:] = b"\0" * len(buffer)
        await send(body(b""))

    exchange(app)
    record = the_record(configured)
    assert (configured / record["generation"]["output"]["ply_file_path"]).read_bytes() == PLY


def test_an_application_that_answers_nothing_is_unsubmitted(configured):
    async def app(_scope, _receive, _send):
        pass

    exchange(app)
    assert the_record(configured)["outcome"] == "unsubmitted"


@pytest.mark.parametrize("cancels", [False, True])
def test_the_application_hears_that_its_client_has_gone(configured, cancels):
    heard = []

    async def app(_scope, receive, _send):
        while True:
            message = await receive()
            heard.append(message["type"])
            if message["type"] == "http.disconnect":
                return

    exchange(app, received=[BODY, {"type": "http.disconnect"}], cancels=cancels)
    assert heard[0] == "http.request"
    assert cancels or heard == ["http.request", "http.disconnect"]
    assert the_record(configured)["outcome"] == "cancelled"


def test_a_handler_that_will_not_be_cancelled_is_heard_out(configured):
    async def app(scope, _receive, send):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            scope["otel_gen.generation"].withheld("kept for later")
        await send(START)
        await send(body(b""))

    exchange(app, received=[BODY, {"type": "http.disconnect"}], cancels=True)
    record = the_record(configured)
    assert (record["outcome"], record["generation"]["submission"]["rejection_reason"]) == (
        "withheld", "kept for later",
    )  # fmt: skip


def test_a_client_that_goes_before_its_request_is_whole_was_no_generation(configured):
    heard = []

    async def app(_scope, receive, _send):
        heard.extend([await receive(), await receive()])

    part = {"type": "http.request", "body": b"prompt", "more_body": True}
    exchange(app, received=[part, {"type": "http.disconnect"}])
    assert [message["type"] for message in heard] == ["http.request", "http.disconnect"]
    assert otel_gen.shutdown()
    assert not (configured / "generation_history.jsonl").exists()


@pytest.mark.parametrize(
    "strange",
    [
        {"limit": None},
        {"headers": [("x-task-id", "text, and not bytes")]},
        {"headers": [None]},
        {"received": [BODY | {"body": None}]},
        {"received": [{"body": b"without a type"}]},
    ],
)
def test_what_goes_wrong_while_a_request_is_read_costs_neither_answer_nor_record(configured, strange):
    heard = []

    async def app(_scope, receive, send):
        heard.append(await receive())
        await send(START)
        await send(body(PLY))

    assert len(exchange(app, **strange)) == 2
    assert heard == list(strange.get("received", [BODY]))
    assert the_record(configured)["outcome"] == "unscored"


def test_what_the_server_raises_while_a_request_is_read_is_not_swallowed(configured):
    async def app(_scope, _receive, _send):
        raise AssertionError("nothing to answer")

    with pytest.raises(ConnectionResetError):
        exchange(app, received=[ConnectionResetError()])
