"""Name failures: exceptions and callers' words become one of a closed set of error types."""

from __future__ import annotations

import asyncio
import re
import subprocess
import types
from dataclasses import dataclass

from otel_gen import semconv as sc
from otel_gen.sanitize import text

_CANCELLED = (GeneratorExit, asyncio.CancelledError, KeyboardInterrupt, SystemExit)
_CANCELLED_NAMES = ("CancelledError", "Cancelled")  # concurrent.futures has one of its own, and so has trio
_CONNECTION_NAMES = re.compile(r"Connect(ion|or)?(Error|Closed|Refused|Reset|Aborted|Failed)")
_TIMEOUT_NAMES = re.compile(r"Time(d)?_?[Oo]ut")
_OOM_TEXT = re.compile(r"CUDA out of memory|out of memory", re.IGNORECASE)
_WORDS = (
    ("oom", re.compile(r"oom|out.?of.?memory|memoryerror", re.IGNORECASE)),
    ("timeout", re.compile(r"time.?d?.?out|deadline", re.IGNORECASE)),
    ("connection", re.compile(r"(?<!dis)connect|refused|unreachable|unavailable|503", re.IGNORECASE)),
    ("cancelled", re.compile(r"cancel|disconnect|abort", re.IGNORECASE)),
    ("interrupted", re.compile(r"interrupt|killed", re.IGNORECASE)),
    ("crash", re.compile(r"crash|error|exception|segfault|fail", re.IGNORECASE)),
)
_MAX_FRAMES = 50
_MAX_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class Failure:
    """What is kept of an exception: its label, class, message and frames without source lines."""

    error_type: str
    error_class: str
    message: str
    stack: str


def describe(error: BaseException) -> Failure:
    """Describe an exception without running code of its class."""
    return Failure(
        classify(error),
        text(type(error).__qualname__, 200) or "",
        _message(error),
        _stack(error.__traceback__),
    )


def classify(error: BaseException) -> str:
    """Label an exception by class and message: oom, timeout, connection, cancelled or crash."""
    names = [kind.__name__ for kind in type(error).__mro__]
    if isinstance(error, _CANCELLED) or any(name in names for name in _CANCELLED_NAMES):
        return "cancelled"
    message = _message(error)
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names or _OOM_TEXT.search(message):
        return "oom"
    if isinstance(error, (TimeoutError, asyncio.TimeoutError, subprocess.TimeoutExpired)):
        return "timeout"
    if any(_TIMEOUT_NAMES.search(name) for name in names):
        return "timeout"
    if isinstance(error, ConnectionError) or any(_CONNECTION_NAMES.search(name) for name in names):
        return "connection"
    return "crash"


def label(word: str | None) -> str:
    """Map any error type of a record to the closed set of metric labels; `other` where none is near."""
    if word in sc.ERROR_TYPES:
        return str(word)
    return next((name for name, pattern in _WORDS if pattern.search(word or "")), sc.OTHER)


def _message(error: BaseException) -> str:
    """Read the message by the built-in rule; an overridden __str__ is not called."""
    args = BaseException.args.__get__(error)  # type: ignore[attr-defined]
    if not all(type(arg) in (str, int, float, bool, type(None), bytes) for arg in args):
        plain = [arg for arg in args if type(arg) is str]
        return text(plain[0] if plain else "", _MAX_MESSAGE) or ""
    own = type(error).__str__
    rule = own if isinstance(own, types.WrapperDescriptorType) else BaseException.__str__
    return text(rule(error), _MAX_MESSAGE) or ""


def _stack(traceback: types.TracebackType | None) -> str:
    lines: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        lines.append(f'File "{code.co_filename}", line {traceback.tb_lineno}, in {code.co_name}')
        traceback = traceback.tb_next
    if len(lines) > _MAX_FRAMES:
        lines = [
            *lines[:10],
            f"... {len(lines) - _MAX_FRAMES} frames left out ...",
            *lines[-_MAX_FRAMES + 10 :],
        ]
    return text("\n".join(lines), 16_384) or ""
