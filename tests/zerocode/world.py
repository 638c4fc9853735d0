"""Shared by the tests of zero code: mapping files, a 3D service to call, what an OTLP endpoint was sent."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_gen.semconv import SCOPE
from tests.support import until

BIN = Path(sys.executable).parent
APP = Path(__file__).parent / "app"
ROOT = Path(__file__).parent.parent.parent


def mapped(module, generation, stages, more=""):
    """Write a mapping of a module's functions; `more` may name the module as {module}."""
    tables = [f'[generation]\ntarget = "{module}:{generation}"']
    tables += [f'[[stage]]\ntarget = "{module}:{target}"' for target in stages]
    return "\n\n".join([*tables, more.format(module=module)])


@contextmanager
def serving(handler):
    """Serve HTTP on a free port of this machine; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def body(self):
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def answer(self, content, kind="application/octet-stream"):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class Trellis:
    """A 3D service: gives a PLY, a small one for what is sparse, and remembers who asked."""

    def __init__(self):
        self.parents = []
        self.answers = threading.Event()
        self.answers.set()
        trellis = self

        class Handler(_Handler):
            def do_POST(self):
                count = 100 if b"sparse" in self.body() else 8_000
                trellis.parents.append(self.headers.get("traceparent", ""))
                trellis.answers.wait(30)
                self.answer(splat(count))

        self.handler = Handler


def splat(count):
    """Make a PLY of one property."""
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\nproperty float x\nend_header\n"
    return header.encode() + b"\0\0\0\0" * count


class Sink:
    """An OTLP/HTTP endpoint; `spans` are what it was sent, as OTLP has them."""

    def __init__(self):
        self.spans = []
        sink = self

        class Handler(_Handler):
            def do_POST(self):
                body = self.body()
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    sink.take(ExportTraceServiceRequest.FromString(body))
                self.answer(b"", "application/x-protobuf")

        self.handler = Handler

    def take(self, request):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [(scope.scope.name, span) for span in scope.spans]

    def ours(self):
        return [span for scope, span in self.spans if scope == SCOPE]

    def by_id(self):
        return {span.span_id: (scope, span) for scope, span in self.spans}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """A program under test that serves HTTP at `url`; `log` is what it said."""

    def __init__(self, command, cwd, environ, log):
        self.log, self.port = log, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "LOGFIRE_"))}
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        command = [part.format(port=self.port) for part in command]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=cwd, env={**clean, **environ, "PATH": path, "PORT": str(self.port)},
                stdout=out, stderr=out,
            )  # fmt: skip

    def __enter__(self):
        try:
            until(self.answers, timeout=40)
        except BaseException:
            self.stop(signal.SIGKILL)
            raise
        return self

    def answers(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, prompt, **headers):
        return httpx.post(
            f"{self.url}/generate/", data={"prompt": prompt}, timeout=30,
            headers={name.replace("_", "-"): str(value) for name, value in headers.items()},
        )  # fmt: skip

    def stop(self, how=signal.SIGTERM):
        """Stop it; gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def __exit__(self, *_):
        self.stop()
