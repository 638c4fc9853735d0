"""Nothing of what a generation holds leaves by OTLP or /metrics, and no input makes metrics grow."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

import otel_gen
from tests.canaries import CANARIES, ENVIRONMENT, forms

proto = pytest.importorskip("opentelemetry.proto.collector", reason="decoding OTLP needs otel-gen[otlp]")


class Sink(ThreadingHTTPServer):
    """An OTLP/HTTP endpoint on loopback that keeps what it is sent, by path."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies = defaultdict(list)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.bodies[self.path].append(body + str(self.headers).encode())
        self.server.bodies[f"{self.path} decoded"].append(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def sink():
    server = Sink()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def serve(sink, tmp_path, content):
    """Run the service with its canaries; what it told at /metrics."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")} | ENVIRONMENT
    env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.canaries", str(tmp_path / "data"), content],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def spans(sink):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = []
    for body in sink.bodies["/v1/traces decoded"]:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def caught(data):
    return sorted(place for place, canary in CANARIES.items() if any(form in data for form in forms(canary)))


def test_no_canary_leaves(sink, tmp_path):
    assert len(CANARIES) == 40
    metrics = serve(sink, tmp_path, "no")
    names = [span.name for span in spans(sink)]
    assert names.count("generation") == 8
    assert {"sdxl", "trellis", "feedback"} <= set(names)
    sent = b"".join(body for bodies in sink.bodies.values() for body in bodies)
    assert b"gen3d.generation.id" in sent
    assert caught(sent) == []
    records = [
        line for page in metrics for line in page.splitlines() if line.startswith("gen3d_records_total")
    ]
    assert records == ["gen3d_records_total 8.0"] * 2
    assert caught("".join(metrics).encode()) == []


def test_the_records_have_what_was_kept_from_others(sink, tmp_path):
    serve(sink, tmp_path, "no")
    written = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert len(caught(written)) > 25


def test_with_content_switched_on_the_sink_would_see_them(sink, tmp_path):
    metrics = serve(sink, tmp_path, "content")
    sent = b"".join(body for bodies in sink.bodies.values() for body in bodies)
    assert {"prompt", "enhanced prompt", "validator hotkey", "stage attribute", "feedback reason"} <= set(
        caught(sent)
    )
    assert caught("".join(metrics).encode()) == []


# --- labels ------------------------------------------------------------------------------------------------
ALPHABET = 'abcxyz019_.- "\\\n{}=,/\0é\u202e'


def flood(rng, n):
    """Generations with names that nobody has seen before."""
    for _ in range(n):
        word = "".join(rng.choices(ALPHABET, k=rng.randint(1, 40)))
        with otel_gen.generation(
            task_type=word, validator_uid=rng.randint(-10, 100_000), task_id=word
        ) as gen:
            with gen.stage(word):
                pass
            said = rng.randrange(3)
            if said == 0:
                gen.withheld(word, value=rng.random())
            elif said == 1:
                gen.failed(word, word, stage=word)
            else:
                gen.submitted()
                otel_gen.feedback(gen.id, score=rng.random(), validator_uid=rng.randint(-10, 100_000))


def delivered_page(data_dir, registry):
    assert otel_gen.shutdown(60)
    otel_gen.configure(data_dir=data_dir, registry=registry, feedback_timeout=0, durability="process")
    return generate_latest(registry).decode()


def test_labels_do_not_grow_under_10000_random_names(data_dir):
    rng, registry = random.Random(20_261_125), CollectorRegistry()
    otel_gen.configure(data_dir=data_dir, registry=registry, feedback_timeout=0, durability="process")
    flood(rng, 3000)
    before = delivered_page(data_dir, registry)
    flood(rng, 7000)
    after = delivered_page(data_dir, registry)
    assert "gen3d_records_total 10000.0" in after
    values = defaultdict(set)
    for family in text_families(after):
        for sample in family.samples:
            for label, value in sample.labels.items():
                values[label].add(value)
    assert len(values["stage"]) <= 34
    assert len(values["reason"]) <= 33
    assert values["task_type"] == {"TEXT-TO-3D", "IMAGE-TO-3D", "other"}
    assert values["validator_uid"] <= {"none", "other", *map(str, range(256))}
    assert len(values["error_type"]) <= 7
    assert len(after.splitlines()) < 12_000
    grown = len(after.splitlines()) - len(before.splitlines())
    assert grown <= 16 * 256  # validators that were not seen before, and no more
    families = list(openmetrics_families(exposition.generate_latest(registry).decode()))
    assert len(families) > 20
