"""The clocks: wall time for timestamps, boot time for durations and waits; injected everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache, lru_cache, partial

_boot = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Clock:
    """Read wall time (ns since 1970, UTC) and boot time (ns, monotonic, counts suspend)."""

    wall: Callable[[], int] = time.time_ns
    boot: Callable[[], int] = _boot


@cache
def boot_id() -> str:
    """Name this boot of the machine; boot times are comparable only within one."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def iso(ns: int) -> str:
    """Write wall nanoseconds as ISO 8601 UTC with 6 decimals (Python 3.10 parses no other count)."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{_to_the_second(seconds)}.{rest // 1000:06d}+00:00"


@lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}"


def parse_iso(text: str) -> int:
    """Read an ISO 8601 timestamp as wall nanoseconds; one without zone is UTC.

    Raises ValueError, also outside of what 64 bits hold (1677 to 2262): the index could not keep it.
    """
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    whole = moment.replace(microsecond=0)
    found = int(whole.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
    if abs(found) >= 1 << 63:
        raise ValueError(f"{text} is too far away")
    return found
