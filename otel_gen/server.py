"""Server: /metrics of one data_dir on this machine's loopback, with or without a service beside it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server

from otel_gen.clock import Clock
from otel_gen.errors import OtelGenError
from otel_gen.files import Folder
from otel_gen.metrics import RecordsCollector, Snapshot
from otel_gen.readers.indexed import opened_index
from otel_gen.refusals import refusals

HOST = "127.0.0.1"
log = logging.getLogger("otel_gen")


class MetricsServer:
    """Serve until `close`; OpenMetrics, exemplars included, to a scraper that accepts it."""

    def __init__(
        self, data_dir: Any, port: int = 0, clock: Clock | None = None, *,
        collector: RecordsCollector | None = None,
    ) -> None:  # fmt: skip
        """Listen, on a free port for 0. Raises OtelGenError where the port cannot be had, or nothing be read.

        `collector`: that of a process which has one for this data_dir already.
        """
        registry = CollectorRegistry()
        registry.register(collector or _collector(os.fspath(data_dir), clock or Clock()))
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

    def forget(self) -> None:
        """In a forked child: let the parent's port go, without a word to the parent's thread."""
        self._server.socket.close()


def _collector(data_dir: str, clock: Clock) -> RecordsCollector:
    """Show a data_dir, which may come later; one that cannot be read would be a page of zeros. Raises StorageError."""
    if os.path.exists(data_dir):
        with (
            refusals(data_dir, "its numbers cannot be read"),
            closing(Folder.root(data_dir, create=False)) as root,
            opened_index(root),
        ):
            pass
    return RecordsCollector(Snapshot(data_dir, clock))


class MetricsPort:
    """The port that a process was told to serve: had in the background, waited for while another has it.

    Several workers with one setting are the rule: all show the same numbers, so one of them is enough.
    """

    AGAIN = 5.0  # seconds between two tries to get the port

    def __init__(self, listen: Callable[[], MetricsServer]) -> None:
        self._listen = listen
        self._listening = threading.Lock()  # held while a server is made, so that no fork falls into that
        self._stop = threading.Event()
        self._server: MetricsServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, once; naming this machine, as every HTTP server does, may wait for a resolver."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="otel_gen-metrics", daemon=True)
            thread.start()
            self._thread = thread

    def stop(self, timeout: float) -> None:
        """Serve no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        self._try(log.info)
        while self._server is None and not self._stop.wait(self.AGAIN):
            self._try(log.debug)
        self._stop.wait()
        if self._server is not None:
            self._server.close()

    def _try(self, say: Callable[..., None]) -> None:
        try:
            with self._listening:
                self._server = self._listen()
        except Exception as error:  # noqa: BLE001 - whatever is in the way, it is no matter of the application
            say("otel_gen: %s; or another worker has it, whose place this one takes later", error)
        else:
            log.info("otel_gen serves %s", self._server.url)

    # --- around a fork -----------------------------------------------------------------------------------
    def hold(self, timeout: float) -> bool:
        """Before a fork: wait for a server that is being made; tell whether that was in time."""
        return self._listening.acquire(timeout=timeout)

    def release(self) -> None:
        """After a fork, in the parent."""
        self._listening.release()

    def forget(self) -> None:
        """After a fork, in the child: the port stays with the parent."""
        if self._server is not None:
            self._server.forget()
