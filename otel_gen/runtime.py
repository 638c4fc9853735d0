"""Runtime: the only wiring. One per data_dir and process: journal, stager, capture and leader thread."""

from __future__ import annotations

import atexit
import os
import threading
import time
from dataclasses import replace
from typing import Any

from otel_gen import feedbacks
from otel_gen import index, install, pipeline
from otel_gen._version import __version__
from otel_gen.capture import Capture
from otel_gen.clock import Clock, boot_id
from otel_gen.errors import SettingsError, StorageError
from otel_gen.events import Header, encode
from otel_gen.exporter import JournalExporter
from otel_gen.files import Folder
from otel_gen.handles import on_event_loop, wake
from otel_gen.guard import Faults, log
from otel_gen.inspecting import inspect_job
from otel_gen.journal import Journal
from otel_gen.leading import LeaderThread
from otel_gen.metrics import RecordsCollector, Snapshot
from otel_gen.settings import Policy, Settings, resolve
from otel_gen.stager import Stager
from otel_gen.tree import Tree, refuse_remote

_FEEDBACK_SEGMENT = 64 * 1024
_FORK_WAIT = 0.05


class Runtime:
    """Everything of one data_dir in this process; files and threads come with the first event."""

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
        self.snapshot = Snapshot(settings.data_dir, clock, self.journal.uncounted)
        self.leading = LeaderThread(self._tree, clock, after=self.snapshot.refresh)
        if leads:
            self.journal.on_start = self.leading.start
        self._forked_safely = True

    def _tree(self) -> Tree:
        return Tree(self.settings.data_dir)

    def _segments(self) -> Folder:
        tree = self._tree()
        folder = tree.segments.sub(".", create=False)
        tree.close()
        return folder

    def _staging(self) -> Folder:
        tree = self._tree()
        folder = tree.staging.sub(".", create=False)
        tree.close()
        return folder

    def _header(self, worker: str) -> bytes:
        return encode(Header(worker, boot_id(), os.getpid(), self.clock.wall(), self._policy))

    def close(self, timeout: float) -> bool:
        """Take no more, bring everything said to disk, wait for its delivery; tell whether it is delivered."""
        until = time.monotonic() + timeout
        self.capture.closed = True
        self.stager.close(max(until - time.monotonic(), 0))
        used = bool(self.journal.last)
        self.journal.close(max(until - time.monotonic(), 0))
        delivered = self._drain(until) if self.leads and used else True
        self.leading.stop(max(until - time.monotonic(), 0.1))
        return delivered and not self.journal.backlog_bytes

    def _drain(self, until: float) -> bool:
        while True:
            if self.leading.once() or self._dealt_with():
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
            left = [name for name in self.journal.names if tree.segments.exists(name)]
            found = index.open_reader(tree.dot)
            cursors = found.cursors() if found is not None else {}
            if found is not None:
                found.close()
            return all(cursors.get(name, -1) >= self.journal.ends.get(name, 0) for name in left)
        finally:
            tree.close()

    # --- around a fork -----------------------------------------------------------------------------------
    def before_fork(self) -> None:
        """Close the index' connections and hold the journal, so that a child inherits neither half-done."""
        self._forked_safely = self.leading.before_fork(_FORK_WAIT)
        self.snapshot.hold(_FORK_WAIT)
        self.journal.hold()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.journal.release()
        self.snapshot.release()
        if self._forked_safely:
            self.leading.after_fork_in_parent()

    def in_child(self) -> Runtime:
        """Give a runtime of its own to a forked child; what is inherited is closed, or left alone."""
        self.capture.closed = True
        self.journal.forget()
        for fd in self.leading.descriptors():
            os.close(fd)
        return Runtime(
            self.settings, self.clock, leads=self.leads and self._forked_safely, policy=self._policy
        )


class _Process:
    """The runtimes of this process by data_dir; `_lock` guards them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.configured: Runtime | None = None
        self.others: dict[str, Runtime] = {}
        self.hooked = False

    def runtimes(self) -> list[Runtime]:
        return [*([self.configured] if self.configured else []), *self.others.values()]

    def hook(self) -> None:
        if not self.hooked:
            self.hooked = True
            os.register_at_fork(
                before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child
            )
            atexit.register(_at_exit)


_process = _Process()


def configure(*, registry: Any = "default", clock: Clock | None = None, **keywords: Any) -> Settings:
    """Configure this process: keywords, then OTEL_GEN_* variables, then defaults (docs/settings.md).

    Again with the same settings is a no-op; with others, unknown or wrong ones it raises SettingsError and
    changes nothing. `registry`: where the metrics are shown, prometheus_client.REGISTRY unless told, None for none.
    """
    settings = resolve(keywords)
    with _process.lock:
        if _process.configured is not None:
            if settings == _process.configured.settings:
                return settings
            changed = [
                name
                for name in vars(settings)
                if getattr(settings, name) != getattr(_process.configured.settings, name)
            ]
            raise SettingsError(
                f"configure(): already configured with another {', '.join(changed)}; call shutdown() first"
            )
        _check_place(settings)
        if pipeline.wanted(settings.otlp):
            pipeline.set_up(__version__)
        _process.hook()
        _process.configured = Runtime(settings, clock or Clock())
        install.install(_process.configured.capture)
    _register(registry, _process.configured)
    return settings


def _check_place(settings: Settings) -> None:
    try:
        refuse_remote(settings.data_dir)
    except StorageError as error:
        raise SettingsError(f"configure(data_dir=...): {error}") from error


_registered: list[Any] = []


def _register(registry: Any, runtime: Runtime) -> None:
    if registry is None:
        return
    if registry == "default":
        from prometheus_client import REGISTRY as registry  # noqa: N811, PLC0415 - only where metrics are shown
    if any(known is registry for known in _registered):
        return
    try:
        registry.register(_Current())
    except ValueError:
        return  # somebody registered our collector before: harmless
    _registered.append(registry)


class _Current(RecordsCollector):
    """The collector of whatever runtime is configured now."""

    def __init__(self) -> None:
        pass

    @property
    def _snapshot(self) -> Snapshot:  # type: ignore[override]
        runtime = _process.configured
        return runtime.snapshot if runtime is not None else _NOTHING


_NOTHING = Snapshot(os.devnull, Clock())


def collector() -> RecordsCollector:
    """Give a prometheus_client collector of the configured data_dir, for a registry of your own."""
    return _Current()


def shutdown(timeout: float = 10.0) -> bool:
    """Stop recording; wait until what is settled of this process is delivered and say whether it is."""
    with _process.lock:
        runtimes, _process.configured, _process.others = _process.runtimes(), None, {}
        install.install(None)
    return all([runtime.close(timeout) for runtime in runtimes])


def feedback(id: Any = None, *, data_dir: Any = None, **keywords: Any) -> feedbacks.FeedbackResult:  # noqa: A002
    """Record a validator's verdict for a generation id, or `task_id=`: any time, any process of the host.

    Keywords: score (0..1), validator_uid, validation_failed, task_fidelity_score, average_fidelity_score,
    cooldown_until, generations_within_the_window, current_duel_rating, current_miner_reward, rejection_reason.
    The result is true once durable; its `reason` says why it is not.
    """
    try:
        runtime, found = _feedback_event(id, data_dir, keywords)
        if found is None:
            return feedbacks.refused(
                "malformed id" if runtime else "not configured: call configure() or give data_dir="
            )
        result = feedbacks.journalled(
            runtime.journal, found, runtime.settings.deadline, lambda: not on_event_loop()
        )
        feedbacks.show(runtime.capture, found)
    except Exception as error:  # noqa: BLE001 - the capture guard of a module function
        _faults.report("feedback", error)
        return feedbacks.refused(f"not recorded: {type(error).__name__}")
    return result


async def feedback_async(
    id: Any = None, *, data_dir: Any = None, **keywords: Any
) -> feedbacks.FeedbackResult:  # noqa: A002
    """Record a verdict like `feedback` and await its durability, at most the deadline."""
    import asyncio  # noqa: PLC0415

    result = feedback(id, data_dir=data_dir, **keywords)
    if result.reason == "not durable yet" and result.journal is not None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        result.journal.when_durable(result.ticket, lambda: wake(loop, done))
        try:
            await asyncio.wait_for(done, 2.0)
        except asyncio.TimeoutError:
            result.journal.stall()
    return result


_faults = Faults(lambda place: _count_fault(place))


def _count_fault(place: str) -> None:
    if _process.configured is not None:
        _process.configured.journal.count("capture_errors", place)


def _feedback_event(id_: Any, data_dir: Any, keywords: dict[str, Any]) -> tuple[Any, Any]:
    runtime = runtime_for(data_dir)
    if runtime is None:
        return None, None
    keywords = {name: value for name, value in keywords.items() if value is not None or name == "score"}
    return runtime, feedbacks.event(id_, keywords, runtime.clock.wall(), runtime.clock.boot())


def runtime_for(data_dir: Any = None, *, leads: bool = False, policy: Policy | None = None) -> Runtime | None:
    """Give the configured runtime, or one for another data_dir (made on first use); None without either."""
    with _process.lock:
        configured = _process.configured
        if data_dir is None:
            return configured
        settings = resolve({"data_dir": data_dir})
        if configured is not None and configured.settings.data_dir == settings.data_dir:
            return configured
        other = _process.others.get(settings.data_dir)
        if other is None:
            _process.hook()
            settings = replace(settings, otlp=False)
            other = _process.others[settings.data_dir] = Runtime(
                settings, Clock(), leads=leads, policy=policy
            )
        return other


class RecordExporter(JournalExporter):
    """A SpanExporter that turns ended `gen3d.*` spans into records and artifacts' references in a data_dir.

    Put it under a SimpleSpanProcessor of any SDK provider. What that provider samples out, limits or never ends
    does not reach it: instrument with otel_gen.generation() where nothing may be lost.
    """

    def __init__(self, data_dir: Any) -> None:
        runtime = runtime_for(data_dir, leads=True)
        assert runtime is not None  # noqa: S101 - a data_dir was given
        super().__init__(runtime.journal)


# --- the process' own events ---------------------------------------------------------------------------------
def _before_fork() -> None:
    for runtime in _process.runtimes():
        runtime.before_fork()


def _after_in_parent() -> None:
    for runtime in _process.runtimes():
        runtime.after_fork_in_parent()


def _after_in_child() -> None:
    _process.lock = threading.RLock()
    configured = _process.configured
    if configured is not None:
        _process.configured = configured.in_child()
        install.install(_process.configured.capture)
    _process.others = {path: runtime.in_child() for path, runtime in _process.others.items()}


def _at_exit() -> None:
    runtimes = _process.runtimes()
    if runtimes and not shutdown(max(runtime.settings.deadline for runtime in runtimes)):
        log.warning("otel_gen: not everything is delivered at exit; the journal keeps it for the next start")
