"""Faults on demand inside the service; off unless OTEL_GEN_DEMO_CONTROL names the demo's folder."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

CONTROL = "OTEL_GEN_DEMO_CONTROL"
HOLD_SECONDS = 30.0


def wanted(fault: str) -> str:
    """The fault asked for, or none where faults are off."""
    return fault if os.environ.get(CONTROL) else ""


async def strike(fault: str, task_id: str | None) -> None:
    """Let the asked fault happen in the middle of the 3D stage."""
    if fault == "oom":
        raise MemoryError("CUDA out of memory. Tried to allocate 2.40 GiB")
    if fault == "down":
        raise ConnectionRefusedError("3D service refused the connection on port 8096")
    if fault in ("hold", "crash-worker"):
        _announce(str(task_id))
        await asyncio.sleep(HOLD_SECONDS)


def _announce(task_id: str) -> None:
    """Say which process holds this task, so that the demo can kill exactly that one, or hang up on it."""
    folder = Path(os.environ[CONTROL])
    draft = folder / f"{os.getpid()}.draft"
    draft.write_text(f"{os.getpid()} {task_id}\n")
    draft.replace(folder / f"held-{os.getpid()}")
