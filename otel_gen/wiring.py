"""Wiring: everything of one data_dir in one process, put together here and nowhere else."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import threading
import time

from otel_gen import index
from otel_gen.capture import Capture
from otel_gen.clock import Clock, boot_id
from otel_gen.errors import StorageError
from otel_gen.events import Header, encode
from otel_gen.files import Folder
from otel_gen.gpu import Gpu
from otel_gen.guard import guarded
from otel_gen.inspecting import inspect_job
from otel_gen.journal import Journal
from otel_gen.leading import LeaderThread
from otel_gen.metrics import RecordsCollector, Snapshot
from otel_gen.server import MetricsPort, MetricsServer
from otel_gen.settings import Policy, Settings
from otel_gen.stager import Stager
from otel_gen.tree import DOT, Tree
from otel_gen.watch import Watch

_FEEDBACK_SEGMENT = 64 * 1024
_FORK_WAIT = 0.05
_GPU_WAIT = 0.5


class Runtime:
    """Everything of one data_dir in this process; files and threads come with `begin`, at the first event."""

    def __init__(
        self, settings: Settings, clock: Clock, *, leads: bool = True, policy: Policy | None = None
    ) -> None:
        self.settings, self.clock, self.leads = settings, clock, leads
        self._policy = policy or settings.policy()
        self.journal = Journal(
            self._segments,
            self._header,
            full=settings.durability == "full",
            size=0 if leads else _FEEDBACK_SEGMENT,
        )
        self.stager = Stager(self._staging)
        self.capture = Capture(
            settings, self.journal, self.stager, lambda job: inspect_job(self._staging, job), clock
        )
        self.faults = self.capture.faults
        self.gpu = self.capture.gpu = Gpu(self._without_gpu)
        self.snapshot = Snapshot(
            settings.data_dir, clock, self.journal.uncounted, lambda: self.journal.last, self.gpu.figures
        )
        self.watch = Watch(settings, self.snapshot, clock)
        self.leading = LeaderThread(self._tree, clock, after=self._after_pass, idle=self._idle)
        self.port = None if settings.metrics_port is None else MetricsPort(self._serve)
        self._beginning = threading.RLock()
        self.journal.on_start = self.begin
        if leads:
            self.lead()

    def lead(self) -> None:
        """Let this process be the leader, from its first event on."""
        self.leads = True
        self.journal.begin_again()

    def begin(self) -> None:
        """Start the threads, once. Raises RuntimeError where one cannot be had today; call it again then."""
        with self._beginning:
            if self.leads:
                self.leading.start()
            if self.port is not None:
                self.port.start()

    def _without_gpu(self) -> None:
        self.capture.gpu = None

    def _idle(self) -> bool:
        """Tell whether there is nothing to lead: no event of this process, nor anything of another."""
        return not self.journal.last and not os.path.isdir(os.path.join(self.settings.data_dir, DOT))

    def _after_pass(self, leads: bool) -> None:
        self.snapshot.refresh()
        self.watch.look(leads=leads)

    def _serve(self) -> MetricsServer:
        return MetricsServer(
            self.settings.data_dir, self.settings.metrics_port or 0, collector=RecordsCollector(self.snapshot)
        )

    def _tree(self) -> Tree:
        return Tree(self.settings.data_dir)

    def _segments(self) -> Folder:
        with contextlib.closing(self._tree()) as tree:
            return tree.segments.sub(".", create=False)

    def _staging(self) -> Folder:
        with contextlib.closing(self._tree()) as tree:
            return tree.staging.sub(".", create=False)

    def _header(self, worker: str) -> bytes:
        return encode(Header(worker, boot_id(), os.getpid(), self.clock.wall(), self._policy))

    @guarded
    def close(self, timeout: float) -> bool:
        """Take no more, bring everything to disk, wait for its delivery and tell whether it is delivered."""
        until = time.monotonic() + timeout
        self.capture.close()
        self.leading.hurry()
        self.gpu.close(min(max(until - time.monotonic(), 0), _GPU_WAIT))
        self.stager.close(max(until - time.monotonic(), 0))
        used = bool(self.journal.last)
        self.journal.close(max(until - time.monotonic(), 0))
        delivered = self._drain(until) if self.leads and used else True
        self.leading.stop(max(until - time.monotonic(), 0.1))
        if self.port is not None:
            self.port.stop(max(until - time.monotonic(), 0.1))
        return delivered and not self.journal.backlog_bytes

    def undelivered(self) -> StorageError:
        """Say what became of that which close() could not bring to its end."""
        place, lost = self.settings.data_dir, self.journal.backlog_bytes
        if lost:
            why = f"{lost:,} bytes of events could not be written and are lost"
            return StorageError(place, why, "make room and repeat what was recorded")
        then = f"the journal keeps it for the next start, or run: otel-gen recover --data-dir {shlex.quote(place)}"
        return StorageError(place, "not everything is delivered", then)

    def _drain(self, until: float) -> bool:
        while True:
            if self.leading.once(max(until - time.monotonic(), 0)) or self._dealt_with():
                return True
            if time.monotonic() > until:
                return False
            time.sleep(0.02)

    def _dealt_with(self) -> bool:
        """Tell whether another process' leader has dealt with all segments of this one."""
        try:
            tree = self._tree()
        except StorageError:
            return False
        try:
            left = [name for name in self.journal.chain.names if tree.segments.exists(name)]
            cursors = self._cursors(tree)
            return all(cursors.get(name, -1) >= self.journal.chain.ends.get(name, 0) for name in left)
        except (OSError, StorageError, sqlite3.Error):
            return False  # a disk that cannot be read says nothing
        finally:
            tree.close()

    @staticmethod
    def _cursors(tree: Tree) -> dict[str, int]:
        found = index.open_reader(tree.dot)
        if found is None:
            return {}
        try:
            return found.cursors()
        finally:
            found.close()

    # --- around a fork -----------------------------------------------------------------------------------
    def hold(self, held: contextlib.ExitStack) -> bool:
        """Before a fork: close the index' connections and hold the journal; a child inherits neither half-done.

        held: gets what lets go again, in the parent. Tells whether no pass was under way for too long.
        """
        quiet = self.leading.hold(_FORK_WAIT)
        if quiet:
            held.callback(self.leading.release)
        if self.snapshot.hold(_FORK_WAIT):
            held.callback(self.snapshot.release)
        if self.port is not None and self.port.hold(_FORK_WAIT):
            held.callback(self.port.release)
        self.journal.hold()
        held.callback(self.journal.release)
        return quiet

    def forget(self) -> None:
        """In a forked child: close what is inherited, or leave it alone."""
        self.capture.closed = True
        self.journal.forget()
        self.leading.forget()
        if self.port is not None:
            self.port.forget()

    def heir(self, *, quiet: bool) -> Runtime:
        """Make the runtime of a forked child; beside a pass in its parent it does not lead."""
        return Runtime(self.settings, self.clock, leads=self.leads and quiet, policy=self._policy)
