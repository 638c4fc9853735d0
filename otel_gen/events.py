"""The events of the journal: what happened, as frozen typed records, and their JSON."""

from __future__ import annotations

from typing import Any, TypeAlias, Union

import msgspec

from otel_gen.settings import Policy

SpanIds: TypeAlias = "tuple[str, str, str, int]"
"""A span's trace id, span id, parent's span id (hex, the last may be empty) and sampled flag."""

MAX_PAYLOAD = 256 * 1024
"""Largest encoded event in bytes; capture cuts longer text before."""


class Event(msgspec.Struct, tag_field="e", omit_defaults=True, frozen=True, gc=False):
    """Base of all events; `wall` and `boot` are nanoseconds of the two clocks."""


class Header(Event, tag="header", frozen=True):
    """First frame of a segment: who writes it, under which settings."""

    worker: str
    boot_id: str
    pid: int
    created: int
    policy: Policy
    format: int = 1


class Started(Event, tag="start", frozen=True):
    """A generation began."""

    id: str
    wall: int
    boot: int
    trace_id: str
    span_id: str
    parent_id: str
    flags: int
    attributes: dict[str, Any]


class Noted(Event, tag="note", frozen=True):
    """Something was said of a generation: attributes to merge."""

    id: str
    wall: int
    boot: int
    attributes: dict[str, Any]


class Said(Noted, tag="said", frozen=True):
    """The same of a generation whose root span has ended: an amendment where its record is written."""

    whole: bool = False
    """The first that was said of its output."""


class Began(Event, tag="begin", frozen=True):
    """A stage began; superseded by its span."""

    id: str
    span_id: str
    parent_id: str
    name: str
    wall: int
    attributes: dict[str, Any] = {}


class Span(Event, tag="span", frozen=True):
    """A span ended: the root `generation` or one stage, whole. `boot` is 0 where it came from elsewhere."""

    id: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    flags: int
    start: int
    end: int
    boot: int
    attributes: dict[str, Any]


class Feedback(Event, tag="feedback", frozen=True):
    """A verdict or note of a validator, for a generation id or a task id."""

    wall: int
    boot: int
    id: str = ""
    task_id: str = ""
    score: float | None = None
    invalid: bool = False
    """A score was given that is no finite number in 0..1, or validation_failed."""
    said: bool = False
    """A score or validation_failed was given at all; False is a note that closes nothing."""
    validator_uid: int | None = None
    fields: dict[str, Any] = {}
    origin: str = ""
    """The event id of a feedback that comes from a span; empty for one that was journalled as it was given."""
    source: str = ""
    """Where it comes from when it is not live."""
    given: int = 0
    """Wall nanoseconds at which the caller says that the verdict came; 0: when it reached us."""


class Configured(Event, tag="config", frozen=True):
    """The application says which settings it has changed (name -> old and new), or started with (name -> value)."""

    wall: int
    boot: int
    kind: str
    changes: dict[str, Any]
    reason: str


class Counted(Event, tag="count", frozen=True):
    """Something that no line shows happened `n` times."""

    name: str
    label: str
    n: int


class Command(Event, tag="command", frozen=True):
    """Ask the leader to do something; the result goes to commands/<id>.json."""

    command: str
    id: str
    argument: str = ""


class Sealed(Event, tag="sealed", frozen=True):
    """Last frame of a segment: its writer has gone on or gone away."""

    closed: bool = False


AnyEvent = Union[  # noqa: UP007
    Header, Started, Noted, Said, Began, Span, Feedback, Configured, Counted, Command, Sealed
]  # fmt: skip

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(AnyEvent).decode
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
"""What `decode` raises for what is no event."""


def understood(payload: bytes) -> Event | None:
    """Decode an event; None for what is none."""
    try:
        found: Event = decode(payload)
    except UNREADABLE:
        return None
    return found


canonical = msgspec.json.Encoder(order="deterministic").encode
