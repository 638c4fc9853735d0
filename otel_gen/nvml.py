"""NVML: what NVIDIA's library says of the GPUs that this process may use; the one place that imports pynvml."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

from otel_gen.errors import MissingExtraError, OtelGenError

MOST: Final = 16
"""Devices that are looked at, so that a label of them comes from a closed set."""


class NoGpuError(OtelGenError):
    """Tell why there are no figures of a GPU."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One device at one moment."""

    index: int
    memory_used: int
    """Bytes, of all processes."""
    memory_total: int
    utilization: float | None
    """Share of the last period in which it computed, 0..1; None where the device does not tell."""


class Devices:
    """The devices that were found. Raises NoGpuError, or MissingExtraError without nvidia-ml-py."""

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise MissingExtraError("nvidia-ml-py", "gpu") from error
        self._nvml: Any = pynvml
        self._handles = self._found()

    def read(self) -> list[Reading]:
        """Ask each device; one that does not answer is left out. Raises NoGpuError where none does."""
        answers = [self._reading(index, handle) for index, handle in self._handles.items()]
        found = [answer for answer in answers if answer is not None]
        if not found:
            raise NoGpuError("no GPU answers any more")
        return found

    def close(self) -> None:
        """Let the library go."""
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            return  # gone already: a driver that was unloaded

    def _found(self) -> dict[int, Any]:
        nvml = self._nvml
        try:
            nvml.nvmlInit()
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            raise NoGpuError(f"no NVIDIA driver answers ({error})") from error
        every = {n: found for n in range(count) if (found := self._device(n)) is not None}
        wanted = chosen({n: uuid for n, (_, uuid) in every.items()}, os.environ.get("CUDA_VISIBLE_DEVICES"))[
            :MOST
        ]
        if not wanted:
            raise NoGpuError("no NVIDIA GPU is there, or CUDA_VISIBLE_DEVICES hides it")
        return {n: every[n][0] for n in wanted}

    def _device(self, index: int) -> tuple[Any, str] | None:
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            return handle, _text(self._nvml.nvmlDeviceGetUUID(handle))
        except self._nvml.NVMLError:
            return None  # lost, or not this user's

    def _reading(self, index: int, handle: Any) -> Reading | None:
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        except self._nvml.NVMLError:
            return None
        return Reading(index, int(memory.used), int(memory.total), self._utilization(handle))

    def _utilization(self, handle: Any) -> float | None:
        try:
            return float(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        except self._nvml.NVMLError:
            return None  # not supported, as on a part of a GPU (MIG)


def chosen(uuids: dict[int, str], visible: str | None) -> list[int]:
    """Choose devices as CUDA does: all, or those of CUDA_VISIBLE_DEVICES up to the first unknown one.

    Of a part of a GPU (MIG) it cannot be told here where it is: all are looked at.
    """
    if visible is None or visible.startswith("MIG-"):
        return sorted(uuids)
    found: list[int] = []
    for word in (word.strip() for word in visible.split(",")):
        index = _index(uuids, word)
        if index is None:
            break
        found.append(index)
    return sorted(set(found))


def _index(uuids: dict[int, str], word: str) -> int | None:
    if word.isdecimal():
        return int(word) if int(word) in uuids else None
    return next((n for n, uuid in uuids.items() if word.startswith("GPU-") and uuid.startswith(word)), None)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
