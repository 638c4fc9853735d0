"""Routes: which requests are generations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from otel_gen.errors import SettingsError
from otel_gen.integrations.asgi import Scope

GENERATIONS = ("POST /generate/", "POST /generate")
_ROUTE = re.compile(r"(?:([A-Z]+) +)?(/[^\s?#]*)")
_PARAMETER = re.compile(r"\\{[^{}/]+\\}")


class Routes:
    """A set of routes: "POST /generate/", or "/generate/" for the same; `{name}` is one part of a path."""

    def __init__(self, routes: str | Iterable[str]) -> None:
        several = isinstance(routes, Iterable) and not isinstance(routes, str)
        self._patterns = [_pattern(route) for route in (routes if several else (routes,))]

    def __contains__(self, scope: Scope) -> bool:
        path, root = scope["path"], scope.get("root_path", "")
        if root and path.startswith(f"{root}/"):
            path = path[len(root) :]
        return any(
            method == scope["method"] and pattern.fullmatch(path) for method, pattern in self._patterns
        )


def _pattern(route: Any) -> tuple[str, re.Pattern[str]]:
    found = _ROUTE.fullmatch(route) if isinstance(route, str) else None
    if found is None:
        raise SettingsError(f"instrument(routes=...): {route!r} is not of the form 'POST /generate/'")
    return found[1] or "POST", re.compile(_PARAMETER.sub("[^/]+", re.escape(found[2])))
