"""Capture: what generation and stage handles need from the process, wired once by the runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from opentelemetry.trace import SpanContext

from otel_gen import attributes as attrs
from otel_gen import semconv as sc
from otel_gen import tracing
from otel_gen.clock import Clock
from otel_gen.exporter import JournalExporter
from otel_gen.gpu import Gpu
from otel_gen.guard import Faults
from otel_gen.images import sniff_image
from otel_gen.job import Job, open_source
from otel_gen.journal import Journal
from otel_gen.settings import Settings
from otel_gen.shown import everything, filtered, marked
from otel_gen.stager import Stager
from otel_gen.tracing import Standing

_REMEMBERED = 512
_KINDS: dict[str, Callable[[bytes], tuple[str, str]]] = {
    "ply": lambda _: ("ply", "application/x-ply"),
    "spz": lambda _: ("spz", "application/x-spz"),
    "image": sniff_image,
    "output_image": sniff_image,
}


class Capture:
    """One configured process: journal, exporter, stager, tracing and settings."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        stager: Stager,
        inspect: Callable[[Job], dict[str, Any]],
        clock: Clock,
    ) -> None:
        self.settings, self.journal, self.stager, self.clock = settings, journal, stager, clock
        self.exporter = JournalExporter(journal)
        self.tracing = tracing.Tracing()
        self.faults = Faults(lambda place: journal.count("capture_errors", place))
        self.identity = attrs.identity(settings)
        self.deadline = settings.deadline
        self.closed = False
        self.closing: list[Callable[[], None]] = []
        """What is still to be said when the process is about to record no more."""
        self.gpu: Gpu | None = None
        whole = settings.capture_content
        self.visible = everything if whole else filtered
        """Choose what the application's own spans may show."""
        self.marked = everything if whole else marked
        """Choose what they may show at their begin: also that it is not everything."""
        self._inspect = inspect
        self._spans: dict[str, SpanContext | Standing] = {}
        self._earlier = self._spans
        """The 512 before those of `_spans`."""

    def remember(self, generation_id: str, span: SpanContext | Standing) -> None:
        """Keep the context of a generation's span, or what gives it, for its feedback's link; the last 512 at least."""
        spans = self._spans
        spans[generation_id] = span
        if len(spans) >= _REMEMBERED:
            self._earlier, self._spans = spans, {}

    def context_of(self, generation_id: str) -> SpanContext | None:
        """Find the span context of a generation of this process; None where it is not known (any more)."""
        found = self._spans.get(generation_id) or self._earlier.get(generation_id)
        return found.get_span_context() if isinstance(found, Standing) else found

    def close(self) -> None:
        """Take no more, after the last words."""
        for say in self.closing:
            say()
        self.closed = True

    # --- artifacts -----------------------------------------------------------------------------------
    def hand_over(self, stage: Callable[..., None], kind: str, source: Any) -> None:
        """Open a path or take a buffer, now, and stage it."""
        if isinstance(source, (str, PurePath)):
            fd, size = open_source(source)
            stage(kind, fd, size)
        else:
            view = memoryview(source)
            stage(kind, source, view.nbytes, mutable=type(source) is not bytes)

    def job(self, kind: str, source: Any, size: int, done: Callable[[Job], None], *, mutable: bool) -> Job:
        """Make a stager job by the storage settings."""
        store = self.settings.store_images if kind in ("image", "output_image") else self.settings.store_ply
        return Job(
            kind,
            source,
            done,
            _KINDS[kind],
            store=store,
            limit=self.settings.max_artifact_bytes,
            size=size,
            mutable=mutable,
        )

    def staged_attributes(self, job: Job) -> dict[str, Any]:
        """Describe a staged artifact, or why there is none."""
        found: dict[str, Any] = {}
        prefix = f"{sc.ARTIFACT}{job.kind}."
        if job.digest:
            found |= {
                f"{prefix}hash": f"sha256:{job.digest}",
                f"{prefix}size": job.size,
                f"{prefix}media_type": job.media_type,
            }
        if job.name:
            found[f"{prefix}staged"] = job.name
        if job.shed:
            found[sc.SHED] = job.shed
            self.journal.count("shed", job.kind)
        if job.kind == "image":
            known = f"[BASE64_IMAGE_HASH:sha256:{job.digest}]" if job.digest else sc.NO_IMAGE_YET
            found[sc.PROMPT] = known
        if job.kind in ("ply", "spz") and job.digest:
            found[sc.FILE_SIZE_BYTES] = job.size
        return found

    def inspected(self, job: Job) -> dict[str, Any]:
        """Look into a staged artifact; never a reason to fail."""
        return self._inspect(job)
