"""Zero code: a service that knows nothing of otel_gen, and what is recorded of it."""
