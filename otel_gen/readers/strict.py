"""Strict JSON: what a line of a history file must be, whatever lenient parsers take."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from otel_gen.record import Record, sound


class NotStrictError(ValueError):
    """Tell why a line is no strict JSON object."""


def strict(line: bytes) -> Record:
    """Parse one line. Raises NotStrictError for anything but one whole, plain JSON object."""
    if not line.endswith(b"\n"):
        raise NotStrictError("is cut short: it has no newline")
    try:
        found = json.loads(
            line.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite
        )
        if b"\\ud" in line.lower():
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except NotStrictError:
        raise
    except UnicodeDecodeError as error:
        raise NotStrictError(f"is not UTF-8 at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise NotStrictError("holds half of a surrogate pair") from error
    except json.JSONDecodeError as error:
        raise NotStrictError(f"is not JSON at character {error.pos} ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise NotStrictError(f"is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise NotStrictError("is no JSON object")
    return found


def fault(line: bytes) -> tuple[Record | None, str]:
    """Parse a line that otel_gen wrote: the object where it is one, and what is wrong with it."""
    try:
        found = strict(line)
    except NotStrictError as error:
        return None, str(error)
    if "checksum" not in found:
        return found, "has no checksum"
    return found, "" if sound(line) else "does not fit its checksum: bytes were changed"


def _object(pairs: list[tuple[str, Any]]) -> Record:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise NotStrictError(f"has the key {next(n for n in names if names.count(n) > 1)!r} twice")
    return found


def _constant(word: str) -> NoReturn:
    raise NotStrictError(f"holds {word}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise NotStrictError(f"holds {text[:20]}, which is no finite number")
    return number
