"""Runtime: the public calls of a process: configure, feedback, the collector and the exporter."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

from prometheus_client import Metric as Family

from otel_gen import feedbacks, install, pipeline
from otel_gen._version import __version__
from otel_gen.clock import Clock
from otel_gen.errors import MissingExtraError, SettingsError, StorageError
from otel_gen.exporter import JournalExporter
from otel_gen.guard import log
from otel_gen.journal import Journal
from otel_gen.metrics import RecordsCollector, Snapshot
from otel_gen.process import process, runtime_for, serve, shutdown
from otel_gen.safely import faults
from otel_gen.settings import Settings, registry_of, resolve
from otel_gen.tree import refuse_remote, refuse_shared
from otel_gen.waiting import on_event_loop, wake
from otel_gen.wiring import Runtime

__all__ = [
    "RecordExporter",
    "Runtime",
    "collector",
    "configure",
    "feedback",
    "feedback_async",
    "runtime_for",
    "serve",
    "shutdown",
]


def configure(*, registry: Any = "default", clock: Clock | None = None, **keywords: Any) -> Settings:
    """Configure this process: keywords, then OTEL_GEN_* variables, then defaults (docs/settings.md).

    Again with the same settings is a no-op; with others, unknown or wrong ones it raises SettingsError and
    changes nothing. `registry`: where the metrics are shown (prometheus_client.REGISTRY; None for nowhere).
    """
    settings = resolve(keywords)
    registry_of("configure(registry=...)", registry)
    with process.lock:
        if process.configured is None:
            _check_place(settings)
            _set_up_pipeline(settings)
            process.hook()
            process.configured = Runtime(settings, clock or Clock())
            install.install(process.configured.capture)
        else:
            _refuse_change(process.configured.settings, settings)
    _register(registry)
    return settings


def _refuse_change(known: Settings, wanted: Settings) -> None:
    changed = [name for name in vars(wanted) if getattr(wanted, name) != getattr(known, name)]
    if changed:
        raise SettingsError(
            f"configure(): already configured with another {', '.join(changed)}; call shutdown() first"
        )


def _set_up_pipeline(settings: Settings) -> None:
    if not pipeline.wanted(settings.otlp):
        return
    try:
        pipeline.set_up(__version__)
    except MissingExtraError as error:
        if settings.otlp:
            raise
        log.warning("otel_gen sets up no OTLP pipeline though OTEL_EXPORTER_OTLP_* ask for one: %s", error)


def _check_place(settings: Settings) -> None:
    try:
        refuse_remote(settings.data_dir)
        refuse_shared(settings.data_dir)
    except StorageError as error:
        raise SettingsError(f"configure(data_dir=...): {error}") from error


_registered: list[Any] = []


def _register(registry: Any) -> None:
    if registry is None:
        return
    if registry == "default":
        from prometheus_client import REGISTRY as registry  # noqa: N811 - only where metrics are shown
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
        runtime = process.configured
        return runtime.snapshot if runtime is not None else _NOTHING

    def collect(self) -> Iterator[Family]:
        """Give all families; who is scraped serves, and begins."""
        serve()
        return super().collect()


_NOTHING = Snapshot(os.devnull, Clock())


def collector() -> RecordsCollector:
    """Give a prometheus_client collector of the configured data_dir, for a registry of your own."""
    return _Current()


def feedback(id: Any = None, *, data_dir: Any = None, **keywords: Any) -> feedbacks.FeedbackResult:  # noqa: A002
    """Record a validator's verdict for a generation id, or `task_id=`: any time, any process of the host.

    Keywords: score (0..1), validator_uid, validation_failed, task_fidelity_score, average_fidelity_score,
    cooldown_until, generations_within_the_window, current_duel_rating, current_miner_reward,
    rejection_reason.
    The result is true once durable; its `reason` says why it is not.
    """
    try:
        runtime = runtime_for(data_dir)
        if runtime is None:
            return feedbacks.refused("not configured: call configure() or give data_dir=")
        found = feedbacks.event(id, keywords, runtime.clock.wall(), runtime.clock.boot())
        if found is None:
            return feedbacks.refused("malformed id")
        result = feedbacks.journalled(runtime.journal, found, runtime.settings.deadline)
        feedbacks.show(runtime.capture, found, result.ticket)
    except Exception as error:  # noqa: BLE001 - the capture guard of a module function
        faults.report("feedback", error)
        return feedbacks.refused(f"not recorded: {type(error).__name__}")
    return result


async def feedback_async(
    id: Any = None,  # noqa: A002
    *,
    data_dir: Any = None,
    **keywords: Any,
) -> feedbacks.FeedbackResult:
    """Record a verdict like `feedback` and await its durability, at most the deadline."""
    result = feedback(id, data_dir=data_dir, **keywords)
    if result.reason == "not durable yet" and result.journal is not None and on_event_loop():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        result.journal.when_durable(result.ticket, lambda: wake(loop, done))
        try:
            await asyncio.wait_for(done, result.deadline)
        except asyncio.TimeoutError:
            result.journal.stall()
    return result


class RecordExporter(JournalExporter):
    """A SpanExporter that turns ended `gen3d.*` spans into records of a data_dir.

    Put it under a SimpleSpanProcessor of any SDK provider. What that provider samples out, cuts by its
    limits or never ends does not reach it: instrument with otel_gen.generation() where nothing may be lost.
    Spans without content (`gen3d.filtered`) are passed over.
    """

    def __init__(self, data_dir: Any) -> None:
        self._data_dir = resolve({"data_dir": data_dir}).data_dir
        super().__init__(self._runtime().journal)

    def _runtime(self) -> Runtime:
        runtime = runtime_for(self._data_dir, leads=True)
        assert runtime is not None  # noqa: S101 - a data_dir was given
        return runtime

    @property
    def journal(self) -> Journal:
        """The journal of today: shutdown() ends one, a fork and configure() begin another."""
        return self._runtime().journal

    @journal.setter
    def journal(self, _: Journal) -> None:
        """Nothing is kept: it is looked up."""
