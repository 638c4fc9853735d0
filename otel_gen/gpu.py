"""GPU: the peaks of memory and utilisation while stages run, sampled by a thread that runs only then.

idle -> (a stage begins, or old figures are asked for) sampling -> (no stage for LINGER seconds) idle
The first thread finds out whether there is a GPU; where there is none it says so once, and is the last.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from otel_gen import semconv as sc
from otel_gen.aggregate import Key
from otel_gen.errors import OtelGenError
from otel_gen.nvml import Devices, Reading
from otel_gen.threads import started

log = logging.getLogger("otel_gen")


class Peaks:
    """The highest values that were seen while a stage ran, over all devices."""

    __slots__ = ("memory", "samples", "utilization")

    def __init__(self) -> None:
        self.memory = self.samples = 0
        self.utilization: float | None = None

    def take(self, readings: Iterable[Reading]) -> None:
        """See one sample."""
        self.samples += 1
        for reading in readings:
            self.memory = max(self.memory, reading.memory_used)
            if reading.utilization is not None:
                self.utilization = max(self.utilization or 0.0, reading.utilization)

    def attributes(self) -> dict[str, float]:
        """Describe them; nothing where the stage was too short for a sample."""
        if not self.samples:
            return {}
        known = {} if self.utilization is None else {sc.GPU_UTILIZATION: self.utilization}
        return {sc.GPU_MEMORY: self.memory, sc.GPU_SAMPLES: self.samples, **known}


class Gpu:
    """Sample the GPUs of this process. `_lock` guards the open stages, the last readings and the thread."""

    EVERY = 0.1  # seconds between two samples
    LINGER = 2.0  # seconds without a stage before the thread ends
    STALE = 2.0  # seconds after which figures that are asked for are read anew
    AFTER_FAULT = 5.0  # seconds before devices that did not answer are asked again

    def __init__(
        self, absent: Callable[[], None] = lambda: None, *, find: Callable[[], Devices] = Devices
    ) -> None:
        self._absent, self._find = absent, find
        self._lock = threading.Lock()
        self._open: dict[int, Peaks] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._last: list[Reading] = []
        self._at = 0.0
        self._asked = False
        self._stop = threading.Event()
        self._devices: Devices | None = None

    # --- stages -----------------------------------------------------------------------------------------
    def begin(self) -> Peaks:
        """Watch from here on; returns at once."""
        peaks = Peaks()
        with self._lock:
            self._open[id(peaks)] = peaks
            if len(self._open) == 1:
                self._go()
        return peaks

    def end(self, peaks: Peaks) -> dict[str, float]:
        """Stop watching and give the peaks as attributes."""
        with self._lock:
            self._open.pop(id(peaks), None)
        return peaks.attributes()

    # --- figures ----------------------------------------------------------------------------------------
    def figures(self) -> dict[Key, float]:
        """Give the last readings and their age; never waits, but has old ones read anew for the next time."""
        with self._lock:
            readings, age = self._last, time.monotonic() - self._at
            if readings and age > self.STALE:
                self._asked = True
                self._go()
        return _series(readings, age) if readings else {}

    def close(self, timeout: float) -> None:
        """End the thread and let the library go."""
        self._stop.set()
        self._wake.set()
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        if self._devices is not None and self._thread is None:
            self._devices.close()

    # --- the thread -------------------------------------------------------------------------------------
    def _go(self) -> None:
        self._wake.set()
        if self._thread is None and not self._stop.is_set():
            self._thread = started(self._run, "otel_gen-gpu")

    def _run(self) -> None:
        devices = self._devices or self._look()
        while devices is not None and self._wanted():
            self._stop.wait(self._sample(devices))

    def _look(self) -> Devices | None:
        try:
            self._devices = self._find()
        except Exception as reason:  # noqa: BLE001 - a foreign library; without it the service is the same
            self._stop.set()
            self._absent()
            log.info("otel_gen has no figures of a GPU: %s", reason if _ours(reason) else repr(reason))
        return self._devices

    def _wanted(self) -> bool:
        """Tell whether to sample, after a while without a stage for the last time."""
        self._rest()
        with self._lock:
            wanted = self._needed and not self._stop.is_set()
            self._asked = False
            if not wanted:
                self._thread = None
            return wanted

    def _rest(self) -> None:
        with self._lock:
            self._wake.clear()
            idle = not self._needed
        if idle and not self._stop.is_set():
            self._wake.wait(self.LINGER)

    @property
    def _needed(self) -> bool:
        return bool(self._open) or self._asked

    def _sample(self, devices: Devices) -> float:
        """Take one sample; returns how long to pause."""
        try:
            readings = devices.read()
        except Exception as error:  # noqa: BLE001 - a foreign library; the next sample may succeed
            log.debug("otel_gen could not read the GPU: %r", error)
            return self.AFTER_FAULT
        with self._lock:
            self._last, self._at = readings, time.monotonic()
            for peaks in self._open.values():
                peaks.take(readings)
        return self.EVERY


def _ours(reason: Exception) -> bool:
    return isinstance(reason, OtelGenError)


def _series(readings: list[Reading], age: float) -> dict[Key, float]:
    found: dict[Key, float] = {("gen3d_gpu_sample_age_seconds", ()): age}
    for reading in readings:
        labels = (str(reading.index),)
        found["gen3d_gpu_memory_used_bytes", labels] = reading.memory_used
        found["gen3d_gpu_memory_total_bytes", labels] = reading.memory_total
        if reading.utilization is not None:
            found["gen3d_gpu_utilization_ratio", labels] = reading.utilization
    return found
