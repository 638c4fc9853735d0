"""Instrumentor: what `opentelemetry-instrument` loads; a mistake in it or its mapping harms nobody."""

from __future__ import annotations

import atexit
import os
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from otel_gen import install, pipeline
from otel_gen.errors import OtelGenError
from otel_gen.guard import log
from otel_gen.zerocode import web
from otel_gen.zerocode.calls import AroundGeneration, AroundStage
from otel_gen.zerocode.mapping import VARIABLE, Mapping, Plan, read
from otel_gen.zerocode.wrapping import Wrapping, carry_into_pools, when_loaded


class OtelGenInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Configure by OTEL_GEN_* variables, and wrap what the file named by OTEL_GEN_MAPPING maps."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Ask for nothing: any Python service will do."""
        return ()

    _service: Service | None = None

    def _instrument(self, **_: Any) -> None:
        try:
            self._service = start()
        except OtelGenError as error:
            log.error("otel_gen records nothing: %s", error)
        except Exception:  # noqa: BLE001 - an instrumentor that raises ends all that stand behind it
            log.exception("otel_gen records nothing")

    def _uninstrument(self, **_: Any) -> None:
        from otel_gen.runtime import shutdown

        if self._service is not None:
            self._service.end()
        shutdown()


def start() -> Service | None:
    """Begin by the environment; gives the service that is mapped. Raises SettingsError for a wrong mapping."""
    path = os.environ.get(VARIABLE)
    if path:
        service = Service(read(path))
        service.begin()
        return service
    if any(name.startswith("OTEL_GEN_") for name in os.environ):
        install.on_first_use(_configure)
    return None


def _configure(**keywords: Any) -> None:
    from otel_gen.runtime import configure

    try:
        configure(**keywords)
    except OtelGenError as error:
        log.error("otel_gen records nothing: %s", error)
    except Exception:  # noqa: BLE001 - the service has not asked for this and goes on
        log.exception("otel_gen records nothing")


class Service:
    """A service under a mapping. A process that has a target is configured, not each tool that it starts:
    when it says that it has started, or with the first generation, unless it does so itself before.
    """

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._wrapping = Wrapping(self._wrapper, mapping.plans, self._found, lambda: self._enabled)
        self._enabled, self._has_target, self._told = True, False, False

    def begin(self) -> None:
        """Wait for the service's modules."""
        web.hook(self._wrapping.around, self._started, self._closed, lambda: self._enabled)
        carry_into_pools(lambda: self._enabled)
        when_loaded("asyncio", "run", self._running, lambda: self._enabled)
        atexit.register(self._at_exit)
        self._wrapping.begin()

    def end(self) -> None:
        """Leave the wrapped functions to themselves from now on."""
        self._enabled = False

    def _wrapper(self, plan: Plan) -> AroundStage | AroundGeneration:
        return AroundStage(plan) if plan.name else AroundGeneration(plan, self._before, self._after)

    def _found(self) -> None:
        if not self._has_target:
            self._has_target = True
            install.on_first_use(self._configure)

    def _configure(self) -> None:
        """Configure by the file, and before it by the environment."""
        settings = self._mapping.settings
        _configure(**{n: v for n, v in settings.items() if not os.environ.get(f"OTEL_GEN_{n.upper()}")})

    def _before(self) -> None:
        """Wrap what a script defines: it has been loaded by now."""
        self._wrapping.script()

    def _running(self, wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap what a script defines before its event loop runs: a worker's loop, say."""
        self._wrapping.script()
        return wrapped(*args, **kwargs)

    def _at_exit(self) -> None:
        """Name what a script defines that was never come by, as no generation began."""
        missed = [] if self._told or not self._enabled else self._wrapping.in_script()
        if missed:
            log.warning(
                "otel_gen mapping: %s: %s: the script that is run defines this itself and nothing was recorded; "
                "move it into a module that the script imports", self._mapping.path, ", ".join(missed),
            )  # fmt: skip

    def _after(self) -> None:
        """Say once what is wrapped, when the first generation ends: late imports are done by then."""
        if not self._told:
            self._told = True
            complete, said = self._wrapping.report()
            (log.info if complete else log.warning)("otel_gen mapping: %s: %s", self._mapping.path, said)

    def _started(self) -> None:
        """Configure, if the application did not, and see to what a killed service left."""
        from otel_gen.runtime import serve

        install.active()
        serve()

    def _closed(self) -> None:
        """Deliver and flush: a server may end the process by a signal, where no exit handler runs."""
        from otel_gen.runtime import shutdown

        shutdown(timeout=8.0)
        pipeline.flush_application(2.0)
