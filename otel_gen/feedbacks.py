"""Feedback: a validator's verdict, journalled as it comes and looked up by nobody."""

from __future__ import annotations

from typing import Any

from opentelemetry import _logs, trace

from otel_gen import attributes as attrs
from otel_gen import sanitize, tracing
from otel_gen import semconv as sc
from otel_gen.capture import Capture
from otel_gen.clock import parse_iso
from otel_gen.events import Feedback
from otel_gen.exporter import bounded
from otel_gen.foreign import feedback_attributes, valid_id
from otel_gen.journal import LOST, Journal
from otel_gen.waiting import on_event_loop

_NUMBERS = (
    "task_fidelity_score", "average_fidelity_score", "generations_within_the_window",
    "current_duel_rating", "current_miner_reward",
)  # fmt: skip


_LATEST = 4e9  # seconds since 1970


class FeedbackResult:
    """Truth of a feedback: true once it is durable; `reason` says why it is not (yet)."""

    __slots__ = ("_journal", "_refused", "_ticket", "deadline")

    def __init__(
        self, journal: Journal | None, ticket: int, refused: str = "", deadline: float = 0.0
    ) -> None:
        self._journal, self._ticket, self._refused = journal, ticket, refused
        self.deadline = deadline

    def __bool__(self) -> bool:
        return not self.reason

    @property
    def reason(self) -> str:
        """Empty when durable, else "malformed id", "not durable yet", "not configured" ..."""
        if self._refused or self._journal is None:
            return self._refused
        if self._ticket == LOST:
            return "not recorded: no room left"
        return "" if self._journal.durable(self._ticket) else "not durable yet"

    @property
    def journal(self) -> Journal | None:
        """The journal that holds it; None where it was refused."""
        return self._journal

    @property
    def ticket(self) -> int:
        """Place in the journal of this process."""
        return self._ticket

    def __repr__(self) -> str:
        return f"FeedbackResult({'durable' if self else self.reason!r})"


def refused(reason: str) -> FeedbackResult:
    """Make the answer to a feedback that is not taken."""
    return FeedbackResult(None, 0, reason)


def event(generation_id: Any, keywords: dict[str, Any], wall: int, boot: int) -> Feedback | None:
    """Make a feedback event of what a caller gave; None for a malformed id."""
    task_id = keywords.pop("task_id", None)
    known = task = ""
    if generation_id is not None:
        known = (sanitize.text(generation_id, 64) or "").lower()
    else:
        task = attrs.task_id(task_id) or ""
    if not (task or valid_id(known)):
        return None
    moment = moment_of(keywords.pop("feedback_time")) if "feedback_time" in keywords else 0
    given = keywords.pop("score", None)
    given = keywords.get("task_fidelity_score") if given is None else given
    failed = "validation_failed" in keywords and is_true(keywords["validation_failed"])
    if failed:
        keywords["validation_failed"] = True
    score = sanitize.score(given)
    return Feedback(
        wall, boot, known, task, None if failed else score,
        failed or (given is not None and score is None), failed or given is not None,
        sanitize.uid(keywords.pop("validator_uid", None)), _fields(keywords) if keywords else {}, given=moment,
    )  # fmt: skip


def is_true(value: Any) -> bool:
    """Tell whether a flag is set: True, 1, "true", "yes" and their like."""
    if value is None:
        return False
    text = (sanitize.text(value, 8) or "").strip().lower()
    return sanitize.flag(value) is True or sanitize.number(value) == 1 or text in ("true", "yes")


def moment_of(value: Any) -> int:
    """Read when a verdict came: ISO 8601, a datetime, or seconds since 1970; 0 for what is none."""
    if value is None:
        return 0
    plain = sanitize.clean(value, limit=64)
    found = sanitize.number(plain)
    if found is not None:
        return int(found * 1e9) if 0 < found < _LATEST else 0
    try:
        return max(parse_iso(plain), 0) if isinstance(plain, str) else 0
    except (ValueError, OverflowError):
        return 0


def _fields(keywords: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in keywords.items():
        key = sanitize.keyname(name)
        if key is None or value is None:
            continue
        plain = sanitize.number(value) if key in _NUMBERS else sanitize.clean(value, limit=4096)
        if plain is not None:
            fields[key] = plain
    return fields


def journalled(journal: Journal, found: Feedback, deadline: float) -> FeedbackResult:
    """Append a feedback event and, on a thread that runs no event loop, wait until it is durable."""
    ticket = journal.append(bounded(found))
    if journal.full:
        journal.request_sync()
    if not (journal.durable(ticket) or on_event_loop()):
        if journal.full:
            journal.wait(ticket, deadline)
        if not journal.durable(ticket):
            journal.count("not_durable", "")
    return FeedbackResult(journal, ticket, deadline=deadline)


def show(capture: Capture, found: Feedback, ticket: int) -> None:
    """Show a feedback to the application's pipeline: a span of its own, linked, and the evaluation event."""
    try:
        if capture.tracing.tracer is not None:
            shown = capture.marked(feedback_attributes(found, f"{capture.journal.worker}-{ticket}"))
            capture.tracing.tell(sc.FEEDBACK_SPAN, shown, found.wall, capture.context_of(found.id))
        if found.said and tracing.logs_wanted():
            _evaluation(found, capture.context_of(found.id))
    except Exception as error:  # noqa: BLE001 - it is journalled; what a neighbour does is not its fault
        capture.faults.report("feedback span", error)


def _evaluation(found: Feedback, context: Any) -> None:
    if context is None:
        return
    scored = {} if found.score is None else {"gen_ai.evaluation.score.value": found.score}
    record = _logs.LogRecord(
        timestamp=found.wall,
        event_name=sc.EVALUATION_EVENT,
        context=tracing.within(trace.NonRecordingSpan(context), tracing.EMPTY),
        attributes={
            "gen_ai.evaluation.name": "validator",
            "gen_ai.evaluation.score.label": _label(found),
            "gen_ai.response.id": found.id,
            **scored,
        },
    )
    _logs.get_logger(sc.SCOPE).emit(record)


def _label(found: Feedback) -> str:
    if found.invalid:
        return "invalid"
    return "accepted" if found.score else "rejected"
