"""A service made of the code blocks of the integration guide, with one import changed and nothing else."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

from tests.support import until

SEED = Path(__file__).parents[2].parent / "shared" / "seed"
READY_SECONDS = 30


def blocks():
    """The guide's python blocks in their order; without the guide the test is skipped."""
    found = sorted(SEED.glob("*.txt")) if SEED.is_dir() else []
    if not found:
        pytest.skip("the integration guide is not beside this checkout")
    text = found[0].read_text(encoding="utf-8", errors="replace")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def block(start):
    """The one block that says this."""
    (found,) = [text for text in blocks() if start in text]
    return found


def at(indent, text):
    return textwrap.indent(text, " " * indent)


def imported():
    """The import, changed: the only change."""
    text = block("from data_logger import")
    return text.replace("from data_logger import", "from otel_gen.legacy import")


def initialised(data_dir):
    text, n = re.subn(
        r'data_dir="[^"]+"', f'data_dir="{data_dir}"', block("app.state.data_logger = get_logger()")
    )
    assert n == 1
    return text


def service(data_dir):
    """The text of a FastAPI service that is instrumented as the guide says."""
    timing = [text for text in blocks() if "log_timing" in text]
    assert len(timing) == 5
    return f"""
import asyncio, logging, time, traceback
from contextlib import asynccontextmanager
from types import SimpleNamespace
from fastapi import FastAPI, Form, Response
{imported()}
logger = logging.getLogger("service")
args = SimpleNamespace(flux_steps=4, min_gaussian_count=7000, validation_threshold=0.15, background_threshold=0.5,
    enable_validation=True, enable_image_enhancement=True, enable_depth_estimation=False)

@asynccontextmanager
async def lifespan(app):
{at(4, initialised(data_dir))}
    yield

app = FastAPI(lifespan=lifespan)

@app.post("/generate/")
async def generate(prompt: str = Form(), kind: str = Form("good")):
    request = SimpleNamespace(validator_uid=57, validator_hotkey="5Validator")
    is_base64_image = kind == "image"
{at(4, block("start_generation("))}
    head = {{"X-Log-Id": log_id or ""}}
    if kind == "early":
        return Response(status_code=400, headers=head)
    if kind == "stuck":
        await asyncio.sleep(600)
    try:
        enhanced_prompt, tier1_negative_prompt = prompt + ", detailed", "blurry"
{at(8, block("log_enhanced_prompt("))}
        t1, t2, t3, t3_start, t4 = 0.0, 2.5, 3.25, 4.0, 9.5
        t2_5_start = t_validation_start = time.time()
{at(8, "".join(timing))}
        if kind == "skipped":
            return Response(status_code=200, headers=head | {{"X-Skip-Reason": "sparse"}})
        if kind == "oom":
            raise RuntimeError("CUDA out of memory")
        timings = {{"num_gaussians": 52_709, "file_size_mb": 3.6, "opacity_mean": 0.4, "opacity_std": 0.1}}
        three_d_clip_score = 0.09 if kind == "bad" else 0.21
        validation_passed = three_d_clip_score >= args.validation_threshold
{at(8, block("log_output("))}
{at(8, block("log_submission(log_id, submitted=True)"))}
        return Response(b"ply", headers=head)
{at(4, block("log_failure("))}
        return Response(status_code=500, headers=head)
"""


def feedback_script(data_dir):
    """The miner's side, a process of its own, as the guide says."""
    return f"""
import logging, sys
from types import SimpleNamespace
{imported()}
logger = logging.getLogger("miner")
app = SimpleNamespace(state=SimpleNamespace())
{initialised(data_dir)}
log_id, validator_score = sys.argv[1], float(sys.argv[2])
{block("log_validator_feedback(")}
"""


class Running:
    """The service under uvicorn, in processes of its own."""

    def __init__(self, folder, data_dir, *options, **env):
        (folder / "guided.py").write_text(service(data_dir))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "guided:app", "--port", str(self.port), "--log-level", "error", *options],
            cwd=folder, env=clean | env, start_new_session=True,
        )  # fmt: skip
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        until(self._answers, READY_SECONDS)

    def _answers(self):
        assert self.process.poll() is None, "the service did not start"
        try:
            return self.client.get("/").status_code == 404
        except httpx.TransportError:
            return False

    def ask(self, kind="good", prompt="a red chair"):
        """Ask for a generation: status and the id that the service logged it under."""
        answer = self.client.post("/generate/", data={"prompt": prompt, "kind": kind})
        return answer.status_code, answer.headers["X-Log-Id"]

    def send(self, what):
        self.process.send_signal(what)
        return self.process.wait(30)

    def kill(self):
        """Kill all of its processes at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait(30)

    def close(self):
        self.client.close()
        if self.process.poll() is None:
            self.kill()
