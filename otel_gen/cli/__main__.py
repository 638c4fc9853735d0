"""Run the command line as `python -m otel_gen.cli`."""

from __future__ import annotations

from otel_gen.cli.app import main

main()
