"""Attempts: which generations without a record answer the same task, in the order of their starts."""

from __future__ import annotations

import bisect

Start = tuple[int, str]
"""Wall nanoseconds of a start, and its generation's id."""


class Attempts:
    """The open attempts of each task, sorted; a task handed out thousands of times costs no more than one."""

    def __init__(self) -> None:
        self._starts: dict[str, list[Start]] = {}

    def add(self, task_id: str, start: Start) -> None:
        """Take an attempt; one that is there already changes nothing."""
        starts = self._starts.setdefault(task_id, [])
        at = bisect.bisect_left(starts, start)
        if at == len(starts) or starts[at] != start:
            starts.insert(at, start)

    def remove(self, task_id: str, start: Start) -> None:
        """Let an attempt go."""
        starts = self._starts.get(task_id, [])
        at = bisect.bisect_left(starts, start)
        if at < len(starts) and starts[at] == start:
            del starts[at]
        if not starts:
            self._starts.pop(task_id, None)

    def before(self, task_id: str, start: Start) -> int:
        """Count the open attempts that began earlier."""
        return bisect.bisect_left(self._starts.get(task_id, []), start)

    def latest_first(self, task_id: str) -> list[str]:
        """List the ids of a task's open attempts, the latest start first."""
        return [id_ for _, id_ in reversed(self._starts.get(task_id, []))]
