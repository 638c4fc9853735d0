"""Chain: the segments of one worker, one after the other; an event goes to the newest.

The journal's lock is held around every call that changes which segments there are; those that wait for a disk
are called without it, by the syncer alone, and say so.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from otel_gen import events
from otel_gen.errors import StorageError
from otel_gen.files import Folder
from otel_gen.inherited import close_inherited
from otel_gen.segment import SUFFIX, Writer


class Chain:
    """Write to the newest segment of a worker; no file is made before the first event."""

    PROMPT = 0.05  # seconds within which a sync is done while the disk is quick

    def __init__(self, open_folder: Callable[[], Folder], header: Callable[[], bytes], size: int) -> None:
        self.open_folder, self._header, self.size = open_folder, header, size
        self.names: list[str] = []
        self.ends: dict[str, int] = {}
        self.newest: Writer | None = None
        self.spare: Writer | None = None
        self.old: list[Writer] = []
        self._unsynced: list[Writer] = []
        self._folder: Folder | None = None
        self._overdue = math.inf
        self._made: deque[str] = deque(maxlen=4)
        """The last names; the lock of one that is being made is known by its name alone."""
        self.written = 0
        """The ticket that was written last."""

    def write(self, ticket: int, payload: bytes) -> bool:
        """Write an event; False where the disk refuses it."""
        try:
            writer = self.newest
            if writer is None or writer.offset + len(payload) > writer.full:
                writer = self._roll()
            writer.put(ticket, payload, self._overdue)
        except (OSError, StorageError):
            return False
        self.written = ticket
        return True

    def _roll(self) -> Writer:
        writer, self.spare = self.spare or self._make(self.size), None
        try:
            writer.publish()
        except OSError:
            if writer.gone():
                writer.close()
            else:
                self.spare = writer
            raise
        if self.newest is not None:
            _seal(self.newest, closed=False)
            self.old.append(self.newest)
        self._unsynced.append(writer)
        self._take(writer)
        return writer

    def _take(self, writer: Writer) -> None:
        self.newest = writer
        self.names.append(writer.name + SUFFIX)

    def _make(self, size: int) -> Writer:
        if self._folder is None:
            self._folder = self.open_folder()
        name = uuid.uuid4().hex
        self._made.append(name)
        writer = Writer(self._folder, name, size)
        try:
            writer.put(0, self._header())
        except BaseException:
            writer.abandon()
            raise
        return writer

    def prepare_spare(self) -> None:
        """Have the next segment ready, so that no caller makes it; without the lock, by the syncer alone."""
        if self.spare is None and self.newest is not None:
            try:
                self.spare = self._make(self.size)
            except (OSError, StorageError):
                self.spare = None

    # --- durability ------------------------------------------------------------------------------------
    def unsynced(self) -> list[Writer]:
        """Give the segments whose newest events may not be on the disk yet."""
        return list(self._unsynced)

    def sync(self, writers: list[Writer]) -> bool:
        """Put what was written on the disk; without the lock, by the syncer alone."""
        self._overdue = time.monotonic() + self.PROMPT
        try:
            for writer in writers:
                os.fdatasync(writer.fd)
            if self._folder is not None:
                self._folder.sync()
        except OSError:
            return False
        finally:
            self._overdue = math.inf
        return True

    def synced(self, writers: list[Writer]) -> None:
        """Take note of what a sync achieved: nothing more comes to those but the newest."""
        self._unsynced = [w for w in self._unsynced if w is self.newest or w not in writers]

    @property
    def gone(self) -> bool:
        """Tell whether the newest segment has lost its name."""
        return self.newest is not None and self.newest.gone()

    def rescue(self, lock: AbstractContextManager[Any], after: int) -> int | None:
        """Copy the events behind a ticket into a fresh segment; they keep their numbers, so no reader sees a pair.

        Gives the last ticket that is durable there; None where the disk refuses that too. Events go on meanwhile:
        called without the lock, which is taken to change segments.
        """
        fresh = None
        try:
            folder = self._reopened(lock)
            with lock:
                target, ends = self.written, {writer: writer.offset for writer in self._unsynced}
            fresh = self._make(sum(ends.values()) + self.size)
            _copy({writer: (0, end) for writer, end in ends.items()}, fresh, after)
            os.fdatasync(fresh.fd)
            folder.sync()  # a directory that cannot be synced shall not fill with copies
            fresh.publish()
            folder.sync()
            with lock:
                _copy(
                    {writer: (ends.get(writer, 0), writer.offset) for writer in self._unsynced}, fresh, after
                )
                self._move_to(fresh)
        except (OSError, StorageError):
            if fresh is not None:
                fresh.abandon()
            return None
        return target

    def _move_to(self, fresh: Writer) -> None:
        for writer in self._unsynced:
            _seal(writer, closed=False)
        self.old += [writer for writer in self._unsynced if writer not in self.old]
        self._unsynced = [fresh]
        self._take(fresh)

    def _reopened(self, lock: AbstractContextManager[Any]) -> Folder:
        """Give the folder of segments; a new one where it was removed."""
        if self._folder is not None and not self._folder.gone():
            return self._folder
        fresh = self.open_folder()
        with lock:
            old, spare = self._folder, self.spare
            self._folder, self.spare = fresh, None
        for gone in (spare, old):
            if gone is not None:
                gone.close()
        return fresh

    # --- letting go ------------------------------------------------------------------------------------
    def delivered(self) -> list[Writer]:
        """Give the old segments that a leader has deleted."""
        return [writer for writer in self.old if writer.gone()]

    def let_go(self, writer: Writer) -> None:
        """Close a segment that was deleted."""
        self.old.remove(writer)
        self._unsynced = [other for other in self._unsynced if other is not writer]
        writer.close()

    def end(self) -> None:
        """Seal the newest segment: its writer goes away."""
        if self.newest is not None:
            _seal(self.newest, closed=True)
            self.ends[self.newest.name + SUFFIX] = self.newest.offset

    def close(self) -> None:
        """Let every file and lock go."""
        if self.spare is not None:
            self.spare.abandon()
        self.let_all_go()

    def forget(self) -> None:
        """In a forked child: close every file, one that the parent was just making too; nothing is removed."""
        self.let_all_go()
        close_inherited(*self._made)

    def let_all_go(self) -> None:
        """Close every file, as the end of the process would."""
        for writer in (*self.old, self.newest, self.spare):
            if writer is not None:
                writer.close()
        if self._folder is not None:
            self._folder.close()


def _seal(writer: Writer, *, closed: bool) -> None:
    with contextlib.suppress(OSError):  # a reader then waits for the lock to be free
        writer.put(0, events.encode(events.Sealed(closed=closed)))


def _copy(stretches: dict[Writer, tuple[int, int]], fresh: Writer, after: int) -> None:
    for writer, (start, end) in stretches.items():
        for ticket, payload in writer.frames(start, end):
            if ticket > after:
                fresh.put(ticket, payload)
