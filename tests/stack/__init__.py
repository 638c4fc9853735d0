"""Tests against real servers: Prometheus 2.42 and 3, promtool, the OpenTelemetry Collector."""
