"""Settings: keywords of configure() and OTEL_GEN_* variables, checked once and frozen."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from otel_gen.errors import SettingsError


class Policy(msgspec.Struct, frozen=True, omit_defaults=False):
    """The settings that decide about a process' generations; they travel with its segments."""

    miner_uid: int | None = None
    miner_hotkey: str | None = None
    miner_version: str | None = None
    network: str | None = None
    feedback_timeout: float = 600.0
    store_images: bool = True
    store_ply: bool = True
    ply_min_score: float = 0.0
    rejected_sample_rate: float = 0.10
    rejected_sample_max_bytes: int = 10_000_000_000
    undecided_keep: float = 86_400.0


@dataclass(frozen=True)
class Settings:
    """All settings with their defaults; units in the comments.

    Each is a keyword of configure() and, in capitals behind OTEL_GEN_, an environment variable.
    """

    data_dir: str = "data"
    miner_uid: int | None = None
    miner_hotkey: str | None = None
    miner_version: str | None = None
    network: str | None = None
    durability: str = "full"  # full: acknowledged survives power loss; process: survives kill -9
    deadline: float = 2.0  # seconds that a call may wait for the disk
    feedback_timeout: float = 600.0  # seconds after a submission until it is written as unscored
    store_images: bool = True
    store_ply: bool = True
    ply_min_score: float = 0.0  # accepted outputs under this score are not kept
    rejected_sample_rate: float = 0.10  # share of rejected outputs that is kept
    rejected_sample_max_bytes: int = 10_000_000_000  # byte budget of that sample
    max_artifact_bytes: int = 500_000_000  # a larger artifact is not stored
    undecided_keep: float = 86_400.0  # seconds that an output without a verdict is kept
    capture_content: bool = False  # True: prompts, hotkeys and error texts on the application's spans
    otlp: bool = False  # True: set up an OTLP pipeline where the application has none
    disk_free_alert_ratio: float = 0.20  # log a warning below this share of free space
    ply_storage_alert_bytes: float = 300e9  # log a warning above this size of ply_files/
    stats_interval: int = 100  # records between two log lines with the running totals; 0: none
    metrics_port: int | None = None  # serve /metrics on 127.0.0.1 at this port; 0: a free one

    def policy(self) -> Policy:
        """Take the part that travels with the segments."""
        return Policy(**{name: getattr(self, name) for name in Policy.__struct_fields__})


def resolve(keywords: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """Make settings of keywords, then OTEL_GEN_* variables, then defaults. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for name in keywords:
        if name not in _CHECKS:
            raise SettingsError(f"configure(): unknown setting {name!r}{_nearest(name)}")
    for name, check in _CHECKS.items():
        variable = f"OTEL_GEN_{name.upper()}"
        if name in keywords:
            values[name] = check(f"configure({name}=...)", keywords[name])
        elif environ.get(variable):
            values[name] = check(variable, environ[variable])
    values.setdefault("data_dir", _path("data_dir", Settings.data_dir))  # wherever the process goes later
    return Settings(**values)


def explicit(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read only what OTEL_GEN_* variables set today, checked. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    found = {name: environ.get(f"OTEL_GEN_{name.upper()}") for name in _CHECKS}
    return {n: _CHECKS[n](f"OTEL_GEN_{n.upper()}", v) for n, v in found.items() if v}


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(str(name), _CHECKS, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(_CHECKS)}"


def registry_of(place: str, value: Any) -> Any:
    """Take a prometheus_client registry, 'default' or None."""
    if value is None or value == "default" or (hasattr(value, "register") and hasattr(value, "collect")):
        return value
    raise wrong(place, value, "a prometheus_client registry, 'default' or None")


def wrong(place: str, value: object, wanted: str) -> SettingsError:
    """Say that what was given at a place is not what is wanted there."""
    return SettingsError(f"{place}: {str(value)[:80]!r} is not {wanted}")


def _path(place: str, value: Any) -> str:
    try:
        text = os.fspath(value)
    except TypeError:
        raise wrong(place, value, "a directory path") from None
    text = os.fsdecode(text)
    if not text or "\0" in text:
        raise wrong(place, value, "a directory path")
    return os.path.abspath(os.path.expanduser(text))


def _text(place: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and len(value) <= 256 and value.isprintable()):
        return value
    raise wrong(place, value, "a printable text of at most 256 characters")


def flag(place: str, value: Any) -> bool:
    """Check a switch; words for it, as in variables, are taken too. Raises SettingsError."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        known = {"true": True, "1": True, "yes": True, "on": True}
        known |= {"false": False, "0": False, "no": False, "off": False}
        if value.strip().lower() in known:
            return known[value.strip().lower()]
    raise wrong(place, value, "true or false")


def number_from(low: float, high: float = math.inf) -> Callable[[str, Any], float]:
    """Make a check of finite numbers; a text that is one is taken too."""
    wanted = f"a number from {low:g}" + (f" to {high:g}" if high < math.inf else " on")

    def check(place: str, value: Any) -> float:
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError):
            number = math.nan
        if not low <= number <= high or number == math.inf:
            raise wrong(place, value, wanted)
        return number

    return check


def whole_from(low: int, high: int | None = None, *, none: bool = False) -> Callable[[str, Any], Any]:
    """Make a check of whole numbers; a text that is one is taken too."""
    wanted = f"a whole number from {low}" + (f" to {high}" if high is not None else " on")

    def check(place: str, value: Any) -> int | None:
        if none and value is None:
            return None
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError):
            number = math.nan
        if not number.is_integer() or number < low or (high is not None and number > high):
            raise wrong(place, value, wanted)
        return int(number)

    return check


def _durability(place: str, value: Any) -> str:
    if value not in ("full", "process"):
        raise wrong(place, value, "'full' or 'process'")
    return str(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "data_dir": _path,
    "miner_uid": whole_from(0, 65_535, none=True),
    "miner_hotkey": _text,
    "miner_version": _text,
    "network": _text,
    "durability": _durability,
    "deadline": number_from(0.0, 60.0),
    "feedback_timeout": number_from(0.0),
    "store_images": flag,
    "store_ply": flag,
    "ply_min_score": number_from(0.0, 1.0),
    "rejected_sample_rate": number_from(0.0, 1.0),
    "rejected_sample_max_bytes": whole_from(0),
    "max_artifact_bytes": whole_from(0),
    "undecided_keep": number_from(0.0),
    "capture_content": flag,
    "otlp": flag,
    "disk_free_alert_ratio": number_from(0.0, 1.0),
    "ply_storage_alert_bytes": number_from(0.0),
    "stats_interval": whole_from(0),
    "metrics_port": whole_from(0, 65_535, none=True),
}
assert set(_CHECKS) == {field.name for field in fields(Settings)}  # noqa: S101 - one list, two shapes
