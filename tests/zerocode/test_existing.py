"""Beside whichever OpenTelemetry set-up: our spans are in its traces, sampled as it says, and records are whole."""

from __future__ import annotations

import pytest

import otel_gen
from tests.support import until
from tests.zerocode.world import ROOT, Service, Sink, Trellis, serving

UVICORN = ["uvicorn", "tests.zerocode.existing:app", "--port", "{port}"]
SETUPS = {
    "sdk": UVICORN,
    "auto": ["opentelemetry-instrument", *UVICORN],
    "logfire": UVICORN,
    "nothing": UVICORN,
}
TRACED = [name for name in SETUPS if name != "nothing"]
SERVER, CLIENT = 2, 3
REMOTE = "00112233445566778899aabbccddeeff"
PARENTS = {
    "of its own": {},
    "sampled by the caller": {"traceparent": f"00-{REMOTE}-0123456789abcdef-01"},
    "not sampled by the caller": {"traceparent": f"00-{REMOTE[::-1]}-0123456789abcdef-00"},
}


class Ran:
    """What came of one request for each kind of parent, in a set-up."""


def run(setup, home, **more):
    found = Ran()
    found.sink, found.trellis = Sink(), Trellis()
    with serving(found.trellis.handler) as trellis, serving(found.sink.handler) as sink:
        environ = {
            "SETUP": setup, "TRELLIS_URL": trellis, "OTEL_GEN_DATA_DIR": str(home / "data"),
            "OTEL_GEN_FEEDBACK_TIMEOUT": "0", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "health", "LOGFIRE_IGNORE_NO_CONFIG": "1",
        } | more  # fmt: skip
        if setup != "nothing":
            environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = sink
        with Service(SETUPS[setup], ROOT, environ, home / "log") as service:
            for kind, headers in PARENTS.items():
                assert service.ask(kind, **headers).status_code == 200
            if setup != "nothing" and not more:
                until(lambda: sum(span.kind == SERVER for _, span in found.sink.spans) >= 2)
            service.stop()
    found.records = {record["task"]["prompt"]: record for record in otel_gen.read(home / "data")}
    return found


@pytest.fixture(scope="module", params=SETUPS)
def ran(request, tmp_path_factory):
    """One service a set-up."""
    found = run(request.param, tmp_path_factory.mktemp(request.param))
    found.setup = request.param
    return found


def test_each_request_is_a_whole_record(ran):
    assert sorted(ran.records) == sorted(PARENTS)
    for record in ran.records.values():
        assert record["outcome"] == "unscored"
        assert [stage["name"] for stage in record["generation"]["stages"]] == ["trellis"]
        assert record["generation"]["output"]["num_gaussians"] == 8_000


def above(span, by_id):
    """The spans above one, as far as the endpoint knows them."""
    found = []
    while span.parent_span_id in by_id:
        span = by_id[span.parent_span_id][1]
        found.append(span)
    return found


@pytest.mark.parametrize("kind", ["of its own", "sampled by the caller"])
def test_our_spans_are_below_the_server_s_and_above_the_client_s(ran, kind):
    if ran.setup == "nothing":
        assert ran.sink.spans == []
        return
    by_id = ran.sink.by_id()
    record = ran.records[kind]
    root = by_id[bytes.fromhex(record["metadata"]["span_id"])][1]
    assert root.trace_id.hex() == record["metadata"]["trace_id"]
    assert SERVER in [span.kind for span in above(root, by_id)]
    (stage,) = record["generation"]["stages"]
    assert above(by_id[bytes.fromhex(stage["span_id"])][1], by_id)[0] == root
    calls = [s for _, s in by_id.values() if s.kind == CLIENT and s.trace_id == root.trace_id]
    assert [span.parent_span_id.hex() for span in calls] == [stage["span_id"]]
    assert f"00-{root.trace_id.hex()}-{calls[0].span_id.hex()}" in [
        parent[:52] for parent in ran.trellis.parents
    ]
    if kind == "sampled by the caller":
        assert root.trace_id.hex() == REMOTE


def test_what_the_caller_did_not_sample_is_not_exported_and_its_trace_goes_on(ran):
    trace = REMOTE[::-1]
    assert [span for _, span in ran.sink.spans if span.trace_id.hex() == trace] == []
    record = ran.records["not sampled by the caller"]
    if ran.setup == "nothing":
        assert ran.trellis.parents == [""] * len(PARENTS)
        return
    assert record["metadata"]["trace_id"] == trace
    sent = [parent for parent in ran.trellis.parents if trace in parent]
    assert [parent.split("-")[3] for parent in sent] == ["00"]


@pytest.mark.slow
@pytest.mark.parametrize("setup", TRACED)
def test_a_sampler_that_drops_all_drops_ours_and_no_record(setup, tmp_path):
    found = run(setup, tmp_path, OTEL_TRACES_SAMPLER="always_off")
    assert found.sink.spans == []
    assert sorted(found.records) == sorted(PARENTS)
