"""Values of old records: times and hashes as they were written by many versions."""

from __future__ import annotations

import re
from typing import Any

from otel_gen import sanitize
from otel_gen.clock import parse_iso

_FRACTION = re.compile(r"(\.\d+)")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LATEST = 4 * 10**18  # ns since 1970: a duration still fits behind it


def moment(value: Any) -> int | None:
    """Read a time, with or without zone and with any number of decimals; None for what is none."""
    plain = sanitize.number(value)
    found = _parsed(value) if plain is None else plain * 1e9 if plain > 0 else None
    return int(found) if found is not None and 0 <= found < _LATEST else None


def _parsed(value: Any) -> int | None:
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        return max(parse_iso(_FRACTION.sub(lambda m: m[1][:7].ljust(7, "0"), value.strip())), 0)
    except (ValueError, OverflowError):
        return None


def digest(value: Any) -> str:
    """Give a sha256 as 64 hex digits; an empty text for what is none."""
    text = value.rpartition(":")[2].lower() if isinstance(value, str) else ""
    return text if _DIGEST.fullmatch(text) else ""
