"""An OTLP endpoint in the test: takes spans over HTTP and shows them like those in a Collector's file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Seen:
    """A span as it arrived; ids in hexadecimal, `parent` empty for a root."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Sink:
    """A running endpoint and what it has taken."""

    url: str
    bodies: list[bytes]

    def spans(self) -> list[Seen]:
        """Give every span that came so far."""
        return [span for body in list(self.bodies) for span in _in_request(body)]


@contextmanager
def running_sink() -> Iterator[Sink]:
    """An OTLP/HTTP endpoint on loopback, on a free port."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Sink(f"http://127.0.0.1:{server.server_port}", bodies)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def in_file(path: Path) -> list[Seen]:
    """Read the spans of a Collector's file; none where it does not exist yet."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        Seen(
            _plain(resource["resource"]["attributes"]).get("service.name", ""), span["name"],
            span["traceId"], span["spanId"], span.get("parentSpanId", ""), _plain(span.get("attributes", [])),
        )
        for line in lines for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"] for span in scope["spans"]
    ]  # fmt: skip


def _plain(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values()), None) for pair in pairs}


def _in_request(body: bytes) -> Iterator[Seen]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
        for scope in resource.scope_spans:
            for span in scope.spans:
                shown = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
                yield Seen(
                    service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), shown
                )  # fmt: skip
