"""A service that is given 40 canaries (python -m tests.canaries DATA_DIR): what leaves it must hold none."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition

import otel_gen

PLACES = (
    "prompt", "prompt in a list", "enhanced prompt", "negative prompt", "image", "image as base64",
    "prompt of an image task", "picture", "miner hotkey", "validator hotkey", "task type", "task id",
    "setting", "inner setting", "attribute", "inner attribute", "attribute of the start", "stage attribute",
    "stage attribute set later", "attribute of an output", "gaussian statistics", "render statistics",
    "reason of a gate", "said error type", "said error", "said stage of an error", "exception in a stage",
    "exception of a generation", "group of exceptions", "cause of an exception", "error after submission",
    "output path", "feedback reason", "feedback field", "cooldown", "feedback for a task", "key of a cloud",
    "key of a model hub", "password", "header",
)  # fmt: skip
CANARIES = {place: f"canary {n:02d} of {place} f7" for n, place in enumerate(PLACES)}
"""With blanks: a name of letters and dashes for a stage or a reason is a label, and shown."""
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": CANARIES["key of a cloud"], "HF_TOKEN": CANARIES["key of a model hub"],
    "WALLET_PASSWORD": CANARIES["password"], "API_HEADER": CANARIES["header"],
}  # fmt: skip


def forms(canary: str) -> list[bytes]:
    """A canary as it may be written: plain, hexadecimal, or inside base64 at any of three offsets."""
    plain = canary.encode()
    inside = [base64.b64encode(b" " * at + plain)[at + 1 + (at > 0) : -4] for at in range(3)]
    return [plain, plain.hex().encode(), *inside]


def picture(canary: str) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + canary.encode() * 20


def work(c: dict[str, str], folder: str) -> None:
    """Put every canary where such a thing stands."""
    with otel_gen.generation(
        task_type="TEXT-TO-3D", prompt=c["prompt"], image=picture(c["image"]), task_id=f"{c['task id']}/é",
        validator_uid=57, validator_hotkey=c["validator hotkey"], started=c["attribute of the start"],
        config={"key": c["setting"], "inner": {"key": c["inner setting"]}},
    ) as gen:  # fmt: skip
        with gen.stage("sdxl", given=c["stage attribute"], steps=4) as stage:
            stage.set(later=c["stage attribute set later"])
        gen.enhanced_prompt(c["enhanced prompt"], negative=c["negative prompt"])
        gen.set(mine=c["attribute"], inner=[{"a": c["inner attribute"]}], number=7)
        path = os.path.join(folder, f"{c['output path']}.ply")
        with open(path, "wb") as file:
            file.write(b"ply\n")
        gen.output(
            ply=path, image=picture(c["picture"]), other=c["attribute of an output"], clip_score=0.2,
            gaussian_stats={"a": c["gaussian statistics"]}, render_stats={"b": c["render statistics"]},
        )  # fmt: skip
        gen.submitted()
    otel_gen.feedback(
        gen.id, score=0.8, validator_uid=57, rejection_reason=c["feedback reason"],
        cooldown_until=c["cooldown"], other={"a": c["feedback field"]},
    )  # fmt: skip
    otel_gen.feedback(task_id=f"{c['task id']}/é", score=0.1, other=c["feedback for a task"])
    with otel_gen.generation(task_type=c["task type"], prompt=[c["prompt in a list"]]) as gen:
        gen.withheld(c["reason of a gate"], value=0.1)
    encoded = base64.b64encode(picture(c["image as base64"])).decode()
    with otel_gen.generation(task_type="IMAGE-TO-3D", image=f"data:image/png;base64,{encoded}") as gen:
        gen.failed(c["said error type"], c["said error"], stage=c["said stage of an error"])
    with otel_gen.generation(
        task_type="IMAGE-TO-3D", prompt=base64.b64encode(picture(c["prompt of an image task"])).decode()
    ):
        pass
    for raises in (_in_a_stage, _outside, _caused, _late):
        with contextlib.suppress(Exception):  # what the application would handle
            raises(c)


def _in_a_stage(c: dict[str, str]) -> None:
    with otel_gen.generation(task_type="TEXT-TO-3D"), otel_gen.stage("trellis"):
        raise RuntimeError(c["exception in a stage"], os.environ["WALLET_PASSWORD"])


def _outside(c: dict[str, str]) -> None:
    with otel_gen.generation(task_type="TEXT-TO-3D", environment=dict(os.environ)):
        raise type(c["group of exceptions"], (ValueError,), {})(c["exception of a generation"])


def _caused(c: dict[str, str]) -> None:
    with otel_gen.generation(task_type="TEXT-TO-3D"):
        raise ConnectionError("refused") from KeyError(c["cause of an exception"])


def _late(c: dict[str, str]) -> None:
    with otel_gen.generation(task_type="TEXT-TO-3D") as gen:
        gen.submitted()
        raise TimeoutError(c["error after submission"])


def main() -> None:
    data_dir, content = sys.argv[1:]
    registry = CollectorRegistry()
    otel_gen.configure(
        data_dir=data_dir, registry=registry, otlp=True, capture_content=content == "content", feedback_timeout=0,
        miner_uid=226, miner_hotkey=CANARIES["miner hotkey"],
    )  # fmt: skip
    work(CANARIES, os.path.dirname(data_dir))
    from opentelemetry import _logs, trace

    assert otel_gen.shutdown()
    for provider in (trace.get_tracer_provider(), _logs.get_logger_provider()):
        getattr(provider, "force_flush", lambda: None)()
    otel_gen.configure(data_dir=data_dir, registry=registry)
    told = [generate_latest(registry).decode(), exposition.generate_latest(registry).decode()]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
