"""The agent: valid without a warning, keeps every span it is sent, passes metrics on under the same names."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from . import binaries
from .miner import ENDS, Miner, serving
from .pages import OPENMETRICS, attribute, own, samples, spans
from .servers import AGENT, Collector, fetch, running_collector, wait_for

FORWARD = AGENT.with_name("forward.yaml")
NOBODY = "127.0.0.1:1"


@pytest.mark.stack
@pytest.mark.parametrize("configs", [(AGENT,), (AGENT, FORWARD)], ids=["agent", "agent and forward"])
def test_the_configuration_is_valid_and_nothing_in_it_is_deprecated(
    otelcol: Path, configs: list[Path]
) -> None:
    command = [str(otelcol), "validate", *(f"--config={config}" for config in configs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.stack
def test_the_agent_starts_without_a_warning(otelcol: Path, tmp_path: Path) -> None:
    with serving(tmp_path) as (_, target), running_collector(otelcol, tmp_path, target, (AGENT, FORWARD)):
        log = (tmp_path / "otelcol.log").read_text()
    assert "Everything is ready" in log
    assert not re.findall(r"^\S+\s(?:warn|error)\s.*$", log, re.MULTILINE)


@pytest.mark.stack
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_every_span_sent_is_a_line_in_the_file(otelcol: Path, tmp_path: Path, protocol: str) -> None:
    with running_collector(otelcol, tmp_path, NOBODY) as agent:
        sent = _send_spans(_span_exporter(agent, protocol), 40)
        wait_for(lambda: len(spans(agent.traces)) >= 40, "40 spans in the file")
    written = spans(agent.traces)
    assert sorted(span["traceId"] for span in written) == sorted(sent)
    assert all(attribute(span, "gen3d.prompt_tokens") == {"intValue": "7"} for span in written)


@pytest.mark.stack
def test_a_restart_appends_to_the_traces(otelcol: Path, tmp_path: Path) -> None:
    sent = []
    for _ in range(2):
        with running_collector(otelcol, tmp_path, NOBODY) as agent:
            sent += _send_spans(_span_exporter(agent, "http"), 3)
    assert sorted(span["traceId"] for span in spans(agent.traces)) == sorted(sent)


@pytest.mark.stack
def test_the_metrics_of_otel_gen_come_out_with_the_same_names_and_numbers(
    otelcol: Path, tmp_path: Path
) -> None:
    with serving(tmp_path) as (miner, target), running_collector(otelcol, tmp_path, target) as agent:
        for end in ENDS:
            miner.generation(57, end)
        direct = wait_for(
            lambda: _settled(target, len(ENDS) - 1), "the records of all but what is not judged"
        )
        assert direct['gen3d_feedback_total{validator_uid="57",verdict="accepted"}'] == 1
        wait_for(
            lambda: direct.items() <= samples(_own_metrics(agent)).items(), "the same samples from the agent"
        )
        wait_for(lambda: _passes_exemplars(miner, agent), "an exemplar of a new generation")


@pytest.mark.stack
def test_metrics_sent_by_otlp_come_out_beside_them(otelcol: Path, tmp_path: Path) -> None:
    with running_collector(otelcol, tmp_path, NOBODY) as agent:
        exporter = OTLPMetricExporter(endpoint=f"http://127.0.0.1:{agent.http_port}/v1/metrics")
        provider = MeterProvider([PeriodicExportingMetricReader(exporter)])
        provider.get_meter("test").create_histogram("http.server.request.duration", unit="s").record(0.3)
        provider.shutdown()
        wait_for(
            lambda: "http_server_request_duration_seconds_count" in _own_metrics(agent),
            "the metric of the SDK",
        )


@pytest.mark.stack
def test_the_collector_counts_what_it_took_in(otelcol: Path, tmp_path: Path) -> None:
    with running_collector(otelcol, tmp_path, NOBODY) as agent:
        _send_spans(_span_exporter(agent, "http"), 5)
        page = f"http://127.0.0.1:{agent.self_port}/metrics"
        taken = r"^otelcol_receiver_accepted_spans(?:_total)?\{.*\} 5$"
        wait_for(lambda: re.search(taken, fetch(page), re.MULTILINE), "5 accepted spans")


def test_the_builder_mixes_no_versions() -> None:
    modules = re.findall(r"gomod: (\S+) v(\S+)$", binaries.BUILDER.read_text(), re.MULTILINE)
    assert len(modules) > 5
    assert {version for name, version in modules if "/confmap/" not in name} == {"0.159.0"}
    assert {version for name, version in modules if "/confmap/" in name} == {"1.65.0"}


def test_memory_is_limited_first_in_every_pipeline() -> None:
    processors = re.findall(r"processors: \[(\w+)", AGENT.read_text())
    assert processors == ["memory_limiter"] * 3


def _span_exporter(agent: Collector, protocol: str) -> SpanExporter:
    if protocol == "grpc":
        return GrpcExporter(endpoint=f"http://127.0.0.1:{agent.grpc_port}", insecure=True)
    return HttpExporter(endpoint=f"http://127.0.0.1:{agent.http_port}/v1/traces")


def _send_spans(exporter: SpanExporter, count: int) -> list[str]:
    """Send spans one by one, each a trace of its own; returns their trace ids."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer, sent = provider.get_tracer("test"), []
    for _ in range(count):
        with tracer.start_as_current_span("generation", attributes={"gen3d.prompt_tokens": 7}) as span:
            sent.append(f"{span.get_span_context().trace_id:032x}")
    provider.shutdown()
    return sent


def _own_metrics(agent: Collector) -> str:
    return fetch(f"http://127.0.0.1:{agent.prometheus_port}/metrics", OPENMETRICS)


def _passes_exemplars(miner: Miner, agent: Collector) -> bool:
    miner.generation(57, "accepted")
    return bool(re.search(r' # \{trace_id="[0-9a-f]{32}"\}', _own_metrics(agent)))


def _settled(target: str, records: int) -> dict[str, float]:
    """What otel_gen shows once it has so many records and one more that awaits its verdict."""
    found = own(f"http://{target}/metrics")
    return found if found["gen3d_records_total{}"] == records and found["gen3d_awaiting_feedback{}"] else {}
