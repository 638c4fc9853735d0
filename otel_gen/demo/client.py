"""The miner's side: sends the tasks, some in parallel, hangs up on one and kills the worker of another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import httpx

from otel_gen.demo.server import BATCH_SECONDS, Server
from otel_gen.demo.workload import DemoError, Task

PARALLEL = 4
HELD_SECONDS = 20.0


@dataclass(frozen=True)
class Answer:
    """What came back; `status` None where nothing did."""

    task: Task
    status: int | None
    generation_id: str | None = None
    refusal: str | None = None
    size: int = 0

    @property
    def submitted(self) -> bool:
        return self.status == 200 and self.size > 0


Report = Callable[[Answer], None]


async def send_all(server: Server, tasks: list[Task], report: Report) -> list[Answer]:
    """Send everything; `report` hears of each answer at once.

    The task handed out again and the last ordinary ones come after the kill: the service goes on.
    """
    limits = httpx.Limits(max_keepalive_connections=0)  # a new connection each, so that both workers get some
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60) as http:
        usual = [task for task in tasks if not task.fault.startswith(("hold", "crash"))]
        first = [task for task in usual if task.attempt == 1]
        after = [task for task in usual if task.attempt > 1] + first[-PARALLEL:]
        late_first = sorted(first[:-PARALLEL], key=lambda task: task.panel != "late")
        answers = await _in_parallel(http, late_first, report)
        for task in (task for task in tasks if task not in usual):
            answers.append(await _held(server, http, task))
            report(answers[-1])
        return answers + await _in_parallel(http, after, report)


async def _in_parallel(http: httpx.AsyncClient, tasks: Iterable[Task], report: Report) -> list[Answer]:
    turn = asyncio.Semaphore(PARALLEL)

    async def one(task: Task) -> Answer:
        async with turn:
            answer = await post(http, task)
        report(answer)
        return answer

    return list(await asyncio.gather(*map(one, tasks)))


async def post(http: httpx.AsyncClient, task: Task) -> Answer:
    """Send one task and wait for the answer; a broken connection is an answer of nothing."""
    headers = {
        "X-Task-Id": task.task_id,
        "X-Validator-Uid": str(task.validator_uid),
        "X-Validator-Hotkey": f"5Demo{task.validator_uid}",
        "X-Demo-Fault": task.fault,
    }
    try:
        got = await http.post("/generate/", files={"prompt": (None, task.prompt)}, headers=headers)
    except httpx.TransportError:
        return Answer(task, None)
    refusal = got.headers.get("x-skip-reason") or got.headers.get("x-validation-failed")
    return Answer(task, got.status_code, got.headers.get("x-generation-id"), refusal, len(got.content))


async def _held(server: Server, http: httpx.AsyncClient, task: Task) -> Answer:
    """Send a task that the service holds in mid-generation; then hang up, or kill its worker."""
    request = asyncio.ensure_future(post(http, task))
    pid = await _holder(server, task)
    if task.fault == "hold":
        request.cancel()
        await asyncio.wait([request])
        return Answer(task, None)
    await asyncio.sleep(3 * BATCH_SECONDS)
    server.kill_worker(pid)
    answer = await request
    await asyncio.to_thread(server.wait_for_workers, without=pid)
    return answer


async def _holder(server: Server, task: Task) -> int:
    """Wait until a worker says that it holds the task; give its process id."""
    deadline = time.monotonic() + HELD_SECONDS
    while time.monotonic() < deadline:
        for held in server.control.glob("held-*"):
            pid, task_id = held.read_text().split()
            if task_id == task.task_id:
                return int(pid)
        await asyncio.sleep(0.05)
    raise DemoError(f"no worker took task {task.task_id}; the service's log ends so:\n{server.last_words()}")
