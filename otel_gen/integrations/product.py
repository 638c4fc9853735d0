"""Product: the PLY or SPZ that an answer carries, gathered as it goes by."""

from __future__ import annotations

import asyncio
from typing import Any

_KINDS = {b"ply\n": "ply", b"ply\r": "ply", b"\x28\xb5\x2f\xfd": "spz"}
_HEAD = 4


class Product:
    """The parts of a body whose first bytes say what it is; more than `limit` bytes are not kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self.size = 0
        self._kept = True

    def add(self, part: bytes) -> None:
        """Take the next part of the body."""
        self.size += len(part)
        if part and self._kept:
            self._parts.append(bytes(part))  # a copy only of a buffer that may change
            self._kept = self.size <= self._limit and (self.size < _HEAD or self._kind() is not None)
        if not self._kept:
            self._parts.clear()

    def _kind(self) -> str | None:
        head = self._parts[0][:_HEAD] if len(self._parts[0]) >= _HEAD else b"".join(self._parts)[:_HEAD]
        return _KINDS.get(bytes(head))

    async def hand_over(self, gen: Any) -> None:
        """Give it to a generation, unless its handler has given one of the kind."""
        kind = self._kind() if self._kept and self._parts else None
        if kind is None or any(job.kind == kind for job in gen.jobs):
            return
        whole = self._parts[0] if len(self._parts) == 1 else await asyncio.to_thread(b"".join, self._parts)
        gen.output(**{kind: whole})
