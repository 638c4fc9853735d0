"""A SpanExporter that writes OTLP JSON lines as the Collector's file exporter does."""

from __future__ import annotations

import base64
import json

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult


class LineExporter(SpanExporter):
    """One request a line; protobuf's JSON has ids in base64, OTLP's has them in hexadecimal."""

    def __init__(self, path):
        self.path = path

    def export(self, spans):
        request = MessageToDict(encode_spans(spans))
        for resource in request["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    _hexadecimal(span)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(request) + "\n")
        return SpanExportResult.SUCCESS


def _hexadecimal(span):
    for holder in (span, *span.get("links", ())):
        for key in ("traceId", "spanId", "parentSpanId"):
            if key in holder:
                holder[key] = base64.b64decode(holder[key]).hex()
