"""Snapshot: the numbers of one moment, read from the leader's index by any process, aged by its own clock."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from otel_gen import catalog, files, index, room
from otel_gen._version import __version__
from otel_gen.aggregate import Aggregates, Key
from otel_gen.clock import Clock
from otel_gen.errors import StorageError
from otel_gen.tree import DOT, beat_age

_JITTER = 10_000_000
"""Nanoseconds by which the time of one pass of the leader differs from reading to reading."""
_UNREADABLE = (OSError, StorageError, sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError, LookupError)


class Snapshot:
    """The numbers of one moment; `refresh` alone replaces them, whole, so that reading needs no lock.

    `uncounted` gives what this process has counted in memory only, `last` the number of its newest event,
    `gpu` the figures of its GPUs.
    """

    STALE = 1.5  # seconds after which a scrape reads for itself
    FIRST = 2.0  # seconds for which the first numbers are waited for
    DOUBT = 10.0  # seconds after which a commit that was under way is seen, also where nobody leads any more
    LATE = 2.0  # seconds without a pass after which the leader counts as standing still

    def __init__(
        self, data_dir: str, clock: Clock, uncounted: Callable[[], Mapping[tuple[str, str], int]] = dict,
        last: Callable[[], int] = lambda: 0, gpu: Callable[[], Mapping[Key, float]] = dict,
    ) -> None:  # fmt: skip
        self._path, self._clock, self._uncounted, self._last = data_dir, clock, uncounted, last
        self._gpu = gpu
        self._reading = threading.Lock()
        self._seen: Any = None
        self._doubt: tuple[int, float] | None = None
        """Of a reading that may have come too early: the pass, or the time, after which it is done again."""
        self._numbers = Aggregates()
        self._config_hash = ""
        self._beat = self._born = clock.boot()
        self._free = (0, 0)
        self._at = -1e9
        self._known = False
        self._floor: dict[Key, float] = {}
        self._unread: list[tuple[int, int]] = []

    def refresh(self) -> None:
        """Read the index, if it changed; whatever goes wrong, the last numbers stay."""
        if not self._reading.acquire(blocking=False):
            return
        try:
            self._read()
            self._known = True
        except _UNREADABLE:
            self._known = self._known or not os.path.isdir(os.path.join(self._path, DOT))
        finally:
            self._watch()
            self._at = time.monotonic()
            self._reading.release()

    def hold(self, timeout: float) -> bool:
        """Before a fork: wait for a read under way to close its connection; tell whether that was in time."""
        return self._reading.acquire(timeout=timeout)

    def release(self) -> None:
        """After a fork, in the parent."""
        self._reading.release()

    # --- reading ----------------------------------------------------------------------------------------
    def _read(self) -> None:
        """Read what is new, and once more a while later: the marks change before their commit can be seen."""
        dot = files.Folder.root(os.path.join(self._path, DOT), create=False)
        try:
            age = beat_age(dot, self._clock)
            self._beat = self._born if age is None else self._clock.boot() - int(age * 1e9)
            self._free = room.space(self._path)
            changed = _marks(dot)
            new = changed != self._seen
            if new or self._is_due_again():
                self._doubt = (self._beat + _JITTER, time.monotonic() + self.DOUBT) if new else None
                self._take(dot)
                self._seen = changed
        finally:
            dot.close()

    def _is_due_again(self) -> bool:
        """Tell whether a commit that was under way at the last reading can be seen by now."""
        if self._doubt is None:
            return False
        beat, until = self._doubt
        return self._beat > beat or time.monotonic() > until

    def _take(self, dot: files.Folder) -> None:
        found = index.open_reader(dot)
        if found is None:
            return
        numbers = Aggregates()
        try:
            found.db.execute("BEGIN")
            numbers.load(found.aggregates())
            config_hash = found.meta("config_hash")
        finally:
            found.close()
        self._numbers, self._config_hash = numbers, config_hash

    def _watch(self) -> None:
        """Note when this process' newest event was seen; what is older than the leader's pass is read."""
        last, now = self._last(), self._clock.boot()
        if last > (self._unread[-1][1] if self._unread else 0):
            self._unread.append((now, last))
        old = [mark for mark in self._unread if mark[0] <= self._beat]
        self._unread = old[-1:] + [mark for mark in self._unread if mark[0] > self._beat]

    # --- giving -----------------------------------------------------------------------------------------
    @property
    def counters(self) -> Mapping[Key, float]:
        """The counters and the leader's gauges as last read; to be read only."""
        return self._numbers.counters

    @property
    def free(self) -> tuple[int, int]:
        """Free bytes and all bytes of the file system of data_dir as last read; zeros before that."""
        return self._free

    @property
    def exemplars(self) -> dict[Key, dict[int, tuple[str, float, float]]]:
        """The last sampled generation of each bucket: trace id, value, time."""
        return self._numbers.exemplars

    def current(self) -> dict[Key, Any]:
        """Give the numbers, refreshed where nobody did so lately, with what is only in memory."""
        if not self._known:
            self._learn()
        elif time.monotonic() - self._at > self.STALE:
            self.refresh()
        numbers = self._numbers
        values: dict[Key, Any] = {**numbers.counters, **numbers.histograms}
        self._add_uncounted(values)
        self._gauges(values)
        values.update(self._gpu())
        return values

    def _learn(self) -> None:
        """Wait for the first numbers: a page of zeros before them would look like counters that began anew."""
        until = time.monotonic() + self.FIRST
        self.refresh()
        while not self._known and time.monotonic() < until:
            time.sleep(0.01)  # another thread is reading, or the index is busy
            self.refresh()
        self._known = True  # what cannot be read now is read when it can be

    def _add_uncounted(self, values: dict[Key, Any]) -> None:
        """Add what is counted in memory; on its way into the index such a count never goes back."""
        for (name, label), n in self._uncounted().items():
            key = catalog.key(f"gen3d_{name}", label)
            if key is not None:
                values[key] = values.get(key, 0) + n
                self._floor[key] = max(self._floor.get(key, 0), values[key])
        for key, least in self._floor.items():
            values[key] = max(values.get(key, 0), least)

    def _gauges(self, values: dict[Key, Any]) -> None:
        oldest = values.pop(("gen3d_oldest_undelivered_wall", ()), 0)
        waited = max(self._clock.wall() / 1e9 - oldest, 0) if oldest else 0.0
        age = max(self._clock.boot() - self._beat, 0) / 1e9
        values["gen3d_oldest_undelivered_seconds", ()] = max(waited, self._own_wait(age))
        values["gen3d_snapshot_age_seconds", ()] = age
        free, size = self._free
        values["gen3d_data_dir_free_bytes", ()] = free
        values["gen3d_data_dir_free_ratio", ()] = free / size if size else 0.0
        if self._config_hash:
            values["gen3d_config_info", (self._config_hash,)] = 1
        values["gen3d_build_info", (__version__,)] = 1

    def _own_wait(self, age: float) -> float:
        """Seconds that this process' oldest unread event waits for a leader that stands still; else 0."""
        unread = [seen for seen, _ in list(self._unread) if seen > self._beat]
        return max(self._clock.boot() - unread[0], 0) / 1e9 if unread and age > self.LATE else 0.0


def _marks(dot: files.Folder) -> Any:
    name = index.current_name(dot)
    states = [dot.stat(f"{name}{suffix}") for suffix in ("", "-wal")] if name else []
    return [name, *((s.st_mtime_ns, s.st_size, s.st_ino) if s else None for s in states)]
