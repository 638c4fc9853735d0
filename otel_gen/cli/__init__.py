"""The command line: each command is one library call and its words."""

from __future__ import annotations

from otel_gen.cli.app import main

__all__ = ["main"]
