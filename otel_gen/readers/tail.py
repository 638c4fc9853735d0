"""Tail: the newest records, and those that come."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from otel_gen import history
from otel_gen.files import Folder
from otel_gen.history import History, Part
from otel_gen.lines import HISTORY
from otel_gen.older import completed
from otel_gen.readers.records import amendments, seen
from otel_gen.record import Record

PAUSE = 0.25
_CHUNK = 1 << 20


def tail(data_dir: Any, n: int = 10) -> list[Record]:
    """Give the last `n` records as amendments make them, oldest first."""
    root = Folder.root(os.fspath(data_dir), create=False)
    try:
        with history.opened(root) as files:
            return _last(files, n)
    finally:
        root.close()


def _last(files: History, n: int) -> list[Record]:
    found: deque[Record] = deque()
    amended = amendments(files)
    for part in reversed(files.months):
        for record in reversed(_ends(part, n - len(found))):
            found.appendleft(seen(record, amended))
    return list(found)


def _ends(part: Part, n: int) -> list[Record]:
    """Read the last `n` records of a file; of a plain one only its end."""
    if n <= 0:
        return []
    if part.compressed:
        return list(deque(history.records_in(part), n))
    start, records = part.size, list[Record]()
    while start > 0 and len(records) <= n:  # one more than asked for: the first line may be half of one
        start = max(start - _CHUNK, 0)
        records = [r for _, line in part.lines(start) if history.is_kept(r := history.parsed(line))]
    return records[-n:]


def follow(
    data_dir: Any, n: int = 10, wait: Callable[[], None] = lambda: time.sleep(PAUSE)
) -> Iterator[Record]:
    """Give the last `n` records, then each new one when it is written, for ever; `wait` stands between looks.

    A record comes once, whatever is rotated or folded meanwhile.
    """
    root = Folder.root(os.fspath(data_dir), create=False)
    place = _Place()
    try:
        with history.opened(root) as files:
            place.begin(files)
            newest = _last(files, n)
        yield from newest
        while True:
            wait()
            yield from map(completed, place.news(root))
    finally:
        place.close()
        root.close()


class _Place:
    """How far the current file was read; its descriptor stays open, so that it can be read to its end."""

    def __init__(self) -> None:
        self._part: Part | None = None
        self._at = 0
        self._ids: set[str] = set()

    def begin(self, files: History) -> None:
        """Stand behind the last whole line of a history."""
        part = _current(files)
        if part is not None:
            self._keep(part)
            self._at = _whole(part)

    def news(self, root: Folder) -> Iterator[Record]:
        """Give the records behind the place."""
        with history.opened(root) as files:
            now = _current(files)
            if self._part is not None and (now is None or now.inode != self._part.inode):
                yield from self._read(self._grown())
                self._ids = {r["metadata"]["generation_id"] for r in history.records_in(self._grown())}
                self.close()
            if now is not None:
                self._keep(now)
                yield from self._read(now)

    def _keep(self, part: Part) -> None:
        if self._part is None:
            self._part, self._at = Part(part.name, os.dup(part.fd), part.inode, part.size), 0

    def _grown(self) -> Part:
        part = self._part
        assert part is not None  # noqa: S101 - callers ask
        return Part(part.name, part.fd, part.inode, os.fstat(part.fd).st_size)

    def _read(self, part: Part) -> Iterator[Record]:
        for offset, line in part.lines(self._at):
            if not line.endswith(b"\n"):
                return
            self._at = offset + len(line)
            record = history.parsed(line)
            if history.is_kept(record) and record["metadata"]["generation_id"] not in self._ids:
                yield record

    def close(self) -> None:
        if self._part is not None:
            os.close(self._part.fd)
            self._part = None


def _current(files: History) -> Part | None:
    return next((part for part in files.months if part.name == HISTORY), None)


def _whole(part: Part) -> int:
    """Give the offset behind the last newline."""
    start = max(part.size - _CHUNK, 0)
    *_, (offset, line) = [(start, b""), *part.lines(start)]
    return offset + len(line) if line.endswith(b"\n") else offset
