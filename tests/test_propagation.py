"""Propagation: ids, task and trace go out in headers and are read back from whatever a framework gives."""

from __future__ import annotations

import contextvars
import threading
from email.message import Message

import httpx
import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from starlette.datastructures import Headers

import otel_gen
from otel_gen import propagation, tracing
from tests.support import the_record

TRACE, ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{ABOVE}-01"
ID = "019a206d-e9ba-7353-9a0c-de3a3c69c974"
SENT = {"X-Generation-Id": ID, "X-Task-Id": "t-1", "X-Validator-Uid": "57", "X-Validator-Hotkey": "5Fx"}


@pytest.fixture
def textmap():
    """Set the application's propagator for one test."""
    before = propagate.get_global_textmap()
    yield propagate.set_global_textmap
    propagate.set_global_textmap(before)


def test_the_headers_of_a_request_name_generation_task_and_the_stage_that_asks(configured):
    with (
        otel_gen.generation(task_id="t-1", validator_uid=57, validator_hotkey="5Fx") as gen,
        gen.stage("trellis") as stage,
    ):
        found = propagation.headers()
        span = trace.get_current_span().get_span_context()
    assert (found["X-Generation-Id"], found["X-Task-Id"]) == (gen.id, "t-1")
    assert found["traceparent"] == f"00-{span.trace_id:032x}-{span.span_id:016x}-00"
    assert stage.ids[1] == f"{span.span_id:016x}"
    assert "5Fx" not in str(found)
    assert "X-Validator-Uid" not in found


def test_a_task_begins_without_a_generation_and_unconfigured():
    found = propagation.headers(task_id="t-1", validator_uid=57, validator_hotkey="5Fx")
    assert {name: found[name] for name in found if name != "baggage"} == {
        "X-Task-Id": "t-1", "X-Validator-Uid": "57", "X-Validator-Hotkey": "5Fx",
    }  # fmt: skip
    assert propagation.headers() == {}
    with otel_gen.generation():
        assert propagation.headers() == {}


@pytest.mark.parametrize(
    "carry",
    [
        lambda sent: sent,
        lambda sent: {name.lower(): value for name, value in sent.items()},
        lambda sent: [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        lambda sent: Headers(sent),
        lambda sent: httpx.Headers(sent),
        lambda sent: message(sent),
    ],
    ids=["dict", "small letters", "ASGI", "starlette", "httpx", "http.client"],
)
def test_headers_are_read_from_what_frameworks_give(carry):
    carried = propagation.read(carry(SENT))
    assert carried == propagation.Carried(ID, "t-1", 57, "5Fx")
    assert carried.task() == {"task_id": "t-1", "validator_uid": 57, "validator_hotkey": "5Fx"}


def message(sent):
    made = Message()
    for name, value in sent.items():
        made[name] = value
    return made


@pytest.mark.parametrize("headers", [None, {}, [], 5, [1], [("a",)], {"X-Generation-Id": None}, object()])
def test_headers_of_no_known_form_carry_nothing_and_never_raise(headers):
    assert propagation.read(headers) == propagation.Carried()
    with propagation.continued(headers) as carried:
        assert carried == propagation.Carried()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Generation-Id", "../../etc/passwd"),
        ("X-Generation-Id", ID + "0"),
        ("X-Validator-Uid", "-1"),
        ("X-Validator-Uid", "70000"),
        ("X-Validator-Uid", "5 7"),
        ("X-Task-Id", ""),
    ],
)
def test_what_has_not_the_right_form_was_not_sent(name, value):
    assert propagation.read({name: value}) == propagation.Carried()


@pytest.mark.parametrize("task", ["a\r\nSet-Cookie: x=1", "a b", "ä", "x" * 300, "\x00"])
def test_what_does_not_fit_a_header_is_left_out(configured, task):
    with otel_gen.generation(task_id=task) as gen:
        found = propagation.headers(validator_hotkey=task)
    assert found["X-Generation-Id"] == gen.id
    assert "X-Validator-Hotkey" not in found
    assert all("\r" not in value and "\n" not in value and value.isascii() for value in found.values())


def test_the_ids_pass_through_a_service_that_knows_only_opentelemetry(configured):
    with otel_gen.generation(task_id="t-1") as gen:
        sent = propagation.headers()
    del sent["X-Generation-Id"], sent["X-Task-Id"]
    onward: dict[str, str] = {}
    propagate.inject(onward, propagate.extract(sent))
    assert propagation.read(onward) == propagation.Carried(gen.id, "t-1")


def test_a_generation_continues_the_trace_of_its_request(configured):
    with (
        propagation.continued({**SENT, "traceparent": PARENT}) as carried,
        otel_gen.generation(**carried.task()),
    ):
        pass
    assert not trace.get_current_span().get_span_context().is_valid
    metadata = the_record(configured)["metadata"]
    assert (metadata["trace_id"], metadata["trace_flags"]) == (TRACE, 1)
    assert (metadata["task_id"], metadata["validator_uid"], metadata["validator_hotkey"]) == (
        "t-1",
        57,
        "5Fx",
    )


def test_what_a_server_s_instrumentation_began_stays_current(configured):
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("server").start_as_current_span("POST /generate/") as server:
        with propagation.continued({"traceparent": PARENT}), otel_gen.generation():
            pass
        assert trace.get_current_span() is server
    assert the_record(configured)["metadata"]["trace_id"] == f"{server.get_span_context().trace_id:032x}"


def test_an_exception_goes_through_and_the_context_ends(configured):
    with pytest.raises(KeyError), propagation.continued({"traceparent": PARENT}):
        raise KeyError
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_propagator_that_raises_costs_only_the_trace(configured, textmap):
    class Broken:
        fields = frozenset()

        def inject(self, *_, **__):
            raise RuntimeError

        extract = inject

    textmap(Broken())
    with (
        propagation.continued({**SENT, "traceparent": PARENT}) as carried,
        otel_gen.generation(task_id="t") as gen,
    ):
        found = propagation.headers()
    assert carried.generation_id == ID
    assert found == {"X-Generation-Id": gen.id, "X-Task-Id": "t"}


def test_a_thread_is_given_its_generation(configured):
    found: list[dict[str, str]] = []
    with otel_gen.generation(task_id="t") as gen:
        thread = threading.Thread(target=lambda: found.append(propagation.headers(gen)))
        thread.start()
        thread.join()
    assert (found[0]["X-Generation-Id"], found[0]["X-Task-Id"]) == (gen.id, "t")


def test_baggage_of_others_is_handed_on(configured):
    token = tracing.attach(baggage.set_baggage("tenant", "a"))
    try:
        assert "tenant=a" in propagation.headers(task_id="t")["baggage"]
    finally:
        tracing.detach(token)


def test_a_block_that_is_left_in_another_context_raises_nothing(configured):
    def steps():
        with propagation.continued({"traceparent": PARENT}):
            yield

    left = steps()
    contextvars.copy_context().run(next, left)
    contextvars.copy_context().run(left.close)
