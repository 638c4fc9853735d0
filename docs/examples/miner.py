"""A miner process: has a task made, submits it, and gives the validator's answer to the record.

    python miner.py TASK_ID PROMPT [--by-task]

SERVICE_URL is the generation service; OTEL_GEN_DATA_DIR its data_dir, on the same host.
"""

from __future__ import annotations

import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import httpx
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_gen import miner, propagation

SERVICE_URL, DATA_DIR = os.environ["SERVICE_URL"], os.environ["OTEL_GEN_DATA_DIR"]
VALIDATOR = 57

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))


def mine(task_id: str, prompt: str, *, by_task: bool) -> None:
    with provider.get_tracer("miner").start_as_current_span("task"):
        headers = propagation.headers(task_id=task_id, validator_uid=VALIDATOR)
        made = httpx.post(f"{SERVICE_URL}/generate/", data={"prompt": prompt}, headers=headers, timeout=90)
        made.raise_for_status()
        generation_id = propagation.read(made.headers).generation_id
        if not made.content:
            print("withheld", generation_id)
            return
        whose: dict[str, Any] = {"task_id": task_id} if by_task else {"id": generation_id}
        result = miner.feedback(submit(made.content), validator_uid=VALIDATOR, data_dir=DATA_DIR, **whose)
        print("durable" if result else result.reason, generation_id)


def submit(_result: bytes) -> Any:
    """Your call of the validator stands here; this is what comes back."""
    feedback = SimpleNamespace(
        validation_failed=False,
        task_fidelity_score=0.81,
        average_fidelity_score=0.74,
        generations_within_the_window=41,
        current_duel_rating=1512.0,
        current_miner_reward=0.0123,
    )
    return SimpleNamespace(feedback=feedback, cooldown_until=int(time.time()) + 60)


if __name__ == "__main__":
    mine(sys.argv[1], sys.argv[2], by_task="--by-task" in sys.argv)
    provider.shutdown()
