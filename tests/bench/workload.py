"""The same generation twice: through otel_gen, and as bare SDK spans with the same content."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

PROMPT = ("a red chair with carved wooden legs, " * 30)[:1024]
CONFIG = {"sdxl_turbo_steps": 4, "trellis_sparse_steps": 45, "trellis_sparse_cfg": 9.0}
STAGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("queue", {}),
    ("sdxl", {"steps": 4, "guidance": 7.5, "width": 512, "height": 512}),
    ("background_removal", {"threshold": 0.5, "model": "u2net"}),
    ("trellis", {"sparse_steps": 45, "slat_steps": 35, "sparse_cfg": 9.0, "slat_cfg": 4.0}),
    ("validation", {"views": 4}),
)
OUTPUT: dict[str, Any] = {
    "num_gaussians": 300_000, "file_size_mb": 20.4, "clip_score": 0.23, "clip_threshold_pass": True,
    "validation_pass": True, "gaussian_count_pass": True,
}  # fmt: skip


def ours(otel_gen: Any) -> Callable[[], None]:
    """Make the otel_gen version: 1 + 5 spans, 26 attributes, a 1 KB prompt, feedback."""

    def one() -> None:
        with otel_gen.generation(
            task_type="TEXT-TO-3D", prompt=PROMPT, validator_uid=57, task_id=_task_id(), config=CONFIG
        ) as gen:
            for name, attributes in STAGES:
                with gen.stage(name, **attributes) as stage:
                    if name == "trellis":
                        stage.set(vram_peak_mb=11_234)
            gen.output(**OUTPUT)
            gen.submitted()
        otel_gen.feedback(gen.id, score=0.81, validator_uid=57)

    return one


def bare(tracer: Any) -> Callable[[], None]:
    """Make the bare version: the same spans and attributes by the SDK alone."""
    config = str(CONFIG)

    def one() -> None:
        root = {
            "task_type": "TEXT-TO-3D", "prompt": PROMPT, "validator_uid": 57, "task_id": _task_id(),
            "config": config, "miner_uid": 226, "miner_version": "v1.1", "network": "mainnet",
        }  # fmt: skip
        with tracer.start_as_current_span("generation", attributes=root) as span:
            for name, attributes in STAGES:
                with tracer.start_as_current_span(name, attributes=attributes) as stage:
                    if name == "trellis":
                        stage.set_attribute("vram_peak_mb", 11_234)
            span.set_attributes(OUTPUT)
            span.set_attribute("submitted", True)
        verdict = {"generation_id": root["task_id"], "score": 0.81, "validator_uid": 57}
        tracer.start_span("feedback", attributes=verdict).end()

    return one


_ids = random.Random(7)


def _task_id() -> str:
    return str(uuid.UUID(int=_ids.getrandbits(128)))
