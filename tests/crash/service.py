"""A service that generates when its standard input asks it to; ends, shut down, with the input."""

from __future__ import annotations

import sys

import otel_gen
from tests.crash.worker import Acks


def main(data_dir: str, acks: str) -> None:
    """Answer `work N` with `done` once N generations have returned."""
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, deadline=5.0)
    said = Acks(acks)
    for line in sys.stdin:
        for _ in range(int(line.split()[1])):
            with otel_gen.generation(task_type="TEXT-TO-3D", prompt="a chair " * 40) as gen:
                if gen.durable:
                    said.say("S", gen.id)
                with gen.stage("sdxl"):
                    pass
                gen.submitted()
            if gen.durable:
                said.say("E", gen.id, "submitted", "-")
        print("done", flush=True)
    otel_gen.shutdown(timeout=20)
