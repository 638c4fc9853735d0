"""Options of the legacy logger by the settings of otel_gen."""

from __future__ import annotations

import difflib
import os
from typing import Any

from otel_gen import sanitize
from otel_gen.errors import SettingsError
from otel_gen.settings import Settings

_NAMES = {
    "store_ply_files": "store_ply",
    "ply_min_score_threshold": "ply_min_score",
    "store_rejected_sample_rate": "rejected_sample_rate",
    "disk_space_alert_threshold": "disk_free_alert_ratio",
    "ply_storage_alert_gb": "ply_storage_alert_bytes",
    "stats_log_interval": "stats_interval",
}
_DEFAULTS = {
    "data_dir": "data", "miner_uid": 226, "miner_version": "phase1_phase2_v1.0", "network": "mainnet",
}  # fmt: skip
_OTHERS = ("registry", "clock")
_GIGA = 1e9
_MAX_CONFIG = 32_768


def settings(options: dict[str, Any]) -> dict[str, Any]:
    """Give the keywords of configure() for these options; None counts as not given. Raises SettingsError."""
    found = {
        _known(name): _GIGA * value if name == "ply_storage_alert_gb" and _is_number(value) else value
        for name, value in options.items()
        if value is not None or name in _OTHERS
    }
    unset = [name for name in _DEFAULTS if not os.environ.get(f"OTEL_GEN_{name.upper()}")]
    return {name: _DEFAULTS[name] for name in unset} | found


def _known(name: str) -> str:
    known = (*_NAMES, *Settings.__dataclass_fields__, *_OTHERS)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        raise SettingsError(f"init_logger(): unknown option {name!r}; {hint}")
    return _NAMES.get(name, name)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plain(config: Any) -> dict[str, Any]:
    """Read settings that a caller passes: a mapping, or an object's own members (argparse's Namespace)."""
    if not isinstance(config, dict):
        config = getattr(config, "__dict__", None)
    found = sanitize.clean(config if isinstance(config, dict) else {}, limit=_MAX_CONFIG)
    return found if isinstance(found, dict) else {}


def changes(given: Any) -> dict[str, Any]:
    """Read changes of settings: old and new by name, or only what is new."""
    return {
        name: {"old": one.get("old"), "new": one.get("new")}
        if isinstance(one, dict) and one and set(one) <= {"old", "new"}
        else {"old": None, "new": one}
        for name, one in plain(given).items()
    }
