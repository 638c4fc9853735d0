"""Options: the keywords of instrument(), checked once, before the application is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from otel_gen.door import Door
from otel_gen.integrations.routes import Routes
from otel_gen.settings import flag, number_from, registry_of, whole_from, wrong
from otel_gen.signing import key_bytes


@dataclass(frozen=True)
class Options:
    """The keywords as they are used; `feedback` takes what comes to the endpoint, None for no endpoint."""

    routes: Routes
    prompt_field: str
    describe: Callable[[Any], Any] | None
    config: Any
    metrics: str | None
    feedback: Door | None
    cancel_on_disconnect: bool
    keep_product: bool
    body_limit: int
    drain_seconds: float
    registry: Any


def checked(**options: Any) -> Options:
    """Check all keywords. Raises SettingsError."""
    return Options(**{name: _CHECKS[name](f"instrument({name}=...)", options[name]) for name in _CHECKS})


def _field(place: str, value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    raise wrong(place, value, "the name of a field")


def _function(place: str, value: Any) -> Any:
    if value is None or callable(value):
        return value
    raise wrong(place, value, "a function of the request")


def _path(place: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value.startswith("/")):
        return value
    raise wrong(place, value, "a path like '/metrics', or None")


def _door(_: str, value: Any) -> Door | None:
    return None if value is None else Door(None if value == "loopback" else key_bytes(value))


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "routes": lambda _, value: Routes(value),
    "prompt_field": _field,
    "describe": _function,
    "config": lambda _, value: value,  # of any type: the sanitiser takes it
    "metrics": _path,
    "feedback": _door,
    "cancel_on_disconnect": flag,
    "keep_product": flag,
    "body_limit": whole_from(0),
    "drain_seconds": number_from(0.0, 86_400.0),
    "registry": registry_of,
}
