"""Server: /metrics of one data_dir on this machine's loopback, with or without a service beside it."""

from __future__ import annotations

import os
import threading
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server

from otel_gen.clock import Clock
from otel_gen.errors import OtelGenError
from otel_gen.metrics import RecordsCollector, Snapshot

HOST = "127.0.0.1"


class MetricsServer:
    """Serve until `close`; OpenMetrics, exemplars included, to a scraper that accepts it."""

    def __init__(self, data_dir: Any, port: int = 0, clock: Clock | None = None) -> None:
        """Listen, on a free port for 0. Raises OtelGenError where the port cannot be had."""
        registry = CollectorRegistry()
        registry.register(RecordsCollector(Snapshot(os.fspath(data_dir), clock or Clock())))
        try:
            self._server, self._thread = start_http_server(port, HOST, registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OtelGenError(f"{HOST}:{port} cannot be served ({reason}); choose another port") from error
        self._closed = threading.Event()

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://{HOST}:{self._server.server_port}/metrics"

    def wait(self) -> None:
        """Stay until `close`, or until an interrupt."""
        self._closed.wait()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._closed.set()
