"""Real servers are ended by SIGTERM under load: nothing that was acknowledged is lost."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from otel_gen.readers.verify import verify
from otel_gen.recover import recover
from tests.crash.ledger import check, read_acks
from tests.crash.numbers import differences
from tests.support import until

UVICORN = ["uvicorn", "tests.crash.web:asgi", "--log-level", "error", "--lifespan", "off", "--port"]
GUNICORN = ["gunicorn", "tests.crash.web:wsgi", "--log-level", "error", "--no-control-socket", "--bind"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def load(port: int, over: threading.Event) -> None:
    """Ask one request after the other until the server is gone."""
    while not over.is_set():
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            client.request("POST", "/")
            client.getresponse().read()
        except (OSError, http.client.HTTPException):
            over.wait(0.02)
        finally:
            client.close()


SERVERS = {
    "uvicorn": lambda port: [*UVICORN, str(port)],
    "uvicorn with two workers": lambda port: [*UVICORN, str(port), "--workers", "2"],
    "gunicorn with two workers": lambda port: [*GUNICORN, f"127.0.0.1:{port}", "--workers", "2"],
    "gunicorn that loads the application before it forks": lambda port: [
        *GUNICORN, f"127.0.0.1:{port}", "--workers", "2", "--preload",
    ],
}  # fmt: skip


@pytest.mark.crash
@pytest.mark.parametrize("server", SERVERS)
def test_sigterm_under_load_loses_nothing(tmp_path: Path, server: str) -> None:
    data_dir, acks, port, over = tmp_path / "data", tmp_path / "acks", free_port(), threading.Event()
    acks.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", *SERVERS[server](port)],
        env=os.environ | {"OTEL_GEN_DATA_DIR": str(data_dir), "ACKS": str(acks)},
    )
    threads = [threading.Thread(target=load, args=(port, over)) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        until(lambda: sum(ack[0] == "E" for ack in read_acks(acks)) > 60, 60)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        over.set()
        process.kill()
        process.wait()
        for thread in threads:
            thread.join()
    recover(str(data_dir), today={"feedback_timeout": 0})
    tally = check(data_dir, acks)
    assert (tally.lost, tally.doubled, tally.torn) == ([], [], [])
    assert tally.records >= tally.ended > 60
    assert differences(data_dir) == {}
    assert verify(data_dir).problems == []
