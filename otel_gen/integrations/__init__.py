"""Integrations: doors to otel_gen for services as they are, one module a door."""
