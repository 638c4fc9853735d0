"""Stager: write artifacts under a temporary name while hashing, off the caller's thread, then name them.

The order is bytes, fsync, rename into staging, fsync of the directory; only then may an event name the
file. What cannot be stored is still hashed and says why.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from otel_gen import room
from otel_gen.errors import StorageError
from otel_gen.files import Folder, write_all
from otel_gen.job import Job, close_source, read_source
from otel_gen.threads import spare_cores, started

TEMPORARY = ".part"


class Stager:
    """A bounded pool of threads that stage jobs in the order they come; it leaves the application a core."""

    MAX_THREADS = 2
    MAX_WAITING = 512 << 20
    HEAD = 65_536

    def __init__(self, open_folder: Callable[[], Folder]) -> None:
        self._open_folder = open_folder
        self._folder: Folder | None = None
        self._past: list[Folder] = []
        """Folders that were removed; a thread may still have one in hand."""
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._most = min(self.MAX_THREADS, spare_cores())
        # Guards _folder, _threads, _waiting; a signal handler may hand something over while it is held.
        self._lock = threading.RLock()
        self._waiting = 0
        self.closed = False

    def submit(self, job: Job) -> None:
        """Take a job; one that finds no room in memory is given up at once."""
        with self._lock:
            closed = self.closed
            if closed or self._waiting + job.weigh() > self.MAX_WAITING:
                job.cancelled, job.shed = True, "backlog"
            self._waiting += job.weight
            if not closed:
                self._queue.put(job)
                self._add_thread()
        if closed:
            self._do(job)

    def _add_thread(self) -> None:
        if len(self._threads) < self._most:
            thread = started(self._run, "otel_gen-stager")
            if thread is not None:
                self._threads.append(thread)

    def discard(self, job: Job) -> None:
        """Remove what a job staged, which nothing refers to any more; what is left is swept later."""
        name, job.name = job.name, ""
        if name and not self.closed:
            with contextlib.suppress(OSError, StorageError):
                self._staging().unlink(name)

    def close(self, timeout: float) -> None:
        """Finish what waits, then stop the threads."""
        until = time.monotonic() + timeout
        with self._lock:
            self.closed = True
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))
        if not self._threads:
            self._work_off(until)
        if not any(thread.is_alive() for thread in self._threads):
            self._let_go()

    def _work_off(self, until: float) -> None:
        """Do what waits for a thread that never was; what the time is too short for is given up."""
        with contextlib.suppress(queue.Empty):
            while job := self._queue.get_nowait():
                if time.monotonic() > until:
                    job.cancelled = True
                self._do(job)

    def _let_go(self) -> None:
        with self._lock:
            folders, self._past = [*self._past, self._folder], []
            self._folder = None
        for folder in folders:
            if folder is not None:
                folder.close()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            self._do(job)
            del job

    def _do(self, job: Job) -> None:
        self._stage(job)
        with self._lock:
            self._waiting -= job.weight
        job.source = None
        job.done(job)
        job.finish()
        job.head = b""

    def _stage(self, job: Job) -> None:
        try:
            self._write(job) if job.store and not job.shed else self._hash(job)
        except (OSError, StorageError) as error:
            job.shed = job.shed or _reason(error)
        except Exception:  # noqa: BLE001 - another library's buffer may raise anything; the thread must live
            job.shed = job.shed or "unreadable"
        finally:
            close_source(job.source)
        if job.cancelled and not job.shed:
            job.shed = "deadline"

    def _chunks(self, job: Job) -> Iterator[memoryview]:
        if callable(job.source):
            job.source = job.source()
        total = 0
        for chunk in read_source(job.source):
            if job.stopped:
                return
            if not job.head:
                job.head = bytes(chunk[: self.HEAD])
                job.extension, job.media_type = job.sniff(job.head)
            total += len(chunk)
            yield chunk
        if not total:
            job.extension, job.media_type = job.sniff(b"")
        job.size = total

    def _hash(self, job: Job) -> None:
        digest = hashlib.sha256()
        for chunk in self._chunks(job):
            digest.update(chunk)
        if not job.stopped:
            job.digest = digest.hexdigest()

    def _write(self, job: Job) -> None:
        part = uuid.uuid4().hex + TEMPORARY
        try:
            folder = self._staging()
            room.claim(folder, job.size)
            fd = folder.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except (OSError, StorageError) as error:
            job.shed = _reason(error)
            self._hash(job)
            return
        try:
            job.shed = self._fill(job, fd) or job.shed
            if job.stopped or job.shed:
                return
            name = f"{job.digest}.{part[:8]}.{job.extension}"
            folder.rename(part, name)
            folder.sync()
            job.name = name
        finally:
            if not job.name:
                folder.unlink(part)

    def _fill(self, job: Job, fd: int) -> str:
        """Write, hash and sync a file, then close it; returns why it is not whole, or an empty text."""
        digest = hashlib.sha256()
        try:
            failed = self._pour(job, fd, digest)
            job.digest = "" if job.stopped else digest.hexdigest()
            if job.digest and not (failed or job.shed):
                os.fsync(fd)
        finally:
            os.close(fd)
        return failed

    def _pour(self, job: Job, fd: int, digest: Any) -> str:
        """Hash everything and write what can be; returns why the file is not whole, or an empty text."""
        failed, written = "", 0
        for chunk in self._chunks(job):
            digest.update(chunk)
            written += len(chunk)
            if written > job.limit:
                failed = failed or "max_artifact_bytes"
            if not failed:
                try:
                    write_all(fd, chunk)
                except OSError as error:
                    failed = _reason(error)
        return failed

    def _staging(self) -> Folder:
        with self._lock:
            old = self._folder
            if old is None or old.gone():
                self._folder = self._open_folder()
                if old is not None:
                    self._past.append(old)
            assert self._folder is not None  # noqa: S101 - opened just now, or before
            return self._folder


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
    return {28: "disk full", 30: "read-only", 122: "disk full"}.get(code or 0, "write error")
