"""Modules: which of the loaded modules a target means; a script that is run is `__main__`, whatever its name."""

from __future__ import annotations

import os
import sys
from typing import Any

from otel_gen.zerocode.mapping import Target


def module(target: Target) -> Any:
    """Give a target's module if it is loaded: by its name, or as the script that is run."""
    return sys.modules.get(target.module) or (
        sys.modules.get("__main__") if is_script(target.module) else None
    )


def is_script(name: str) -> bool:
    """Tell whether the program that runs is the module of this name (`python serve.py`, `python -m serve`)."""
    main: Any = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return bool(spec.name in (name, f"{name}.__main__"))
    file = getattr(main, "__file__", None) or (sys.argv or [""])[0]  # the former goes when the script is done
    path = os.path.splitext(os.path.abspath(file))[0]
    return path.split(os.sep)[-name.count(".") - 1 :] == name.split(".")


def names(function: Any) -> tuple[str, str]:
    """Say where a function was defined: its module's name and its path there."""
    return getattr(function, "__module__", None) or "", getattr(function, "__qualname__", None) or ""


def means(target: Target, function: Any) -> bool:
    """Tell whether a target is this function."""
    home, path = names(function)
    return path == target.path and (
        home == target.module or (home == "__main__" and is_script(target.module))
    )
