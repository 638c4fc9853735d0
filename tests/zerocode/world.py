"""Shared by the tests of zero code: mapping files, a 3D service to call, what an OTLP endpoint was sent."""

from __future__ import annotations


def mapped(module, generation, stages, more=""):
    """Write a mapping of a module's functions; `more` may name the module as {module}."""
    tables = [f'[generation]\ntarget = "{module}:{generation}"']
    tables += [f'[[stage]]\ntarget = "{module}:{target}"' for target in stages]
    return "\n\n".join([*tables, more.format(module=module)])
