"""Job: one artifact on its way, and the sources that its bytes come from."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from otel_gen.bell import Latch

CHUNK = 1 << 20
_DESCRIPTOR = 1 << 20  # an open file holds no bytes, but there shall not be thousands of them

Sniff = Callable[[bytes], tuple[str, str]]
"""First bytes -> extension, media type."""


@dataclass
class Job:
    """One artifact on its way; `done` is called once, from a stager thread, with the result set."""

    kind: str
    source: Any
    """bytes, a memoryview, an open file descriptor, or a function that gives bytes."""
    done: Callable[[Job], None]
    sniff: Sniff
    store: bool = True
    limit: int = 1 << 62
    size: int = 0
    weight: int = 0
    """Bytes of memory that it holds while it waits."""
    mutable: bool = False
    cancelled: bool = False
    superseded: bool = False
    """True once another artifact of the kind was handed over in its place."""
    complete: bool = False
    """True once it is inspected too."""
    finished: Latch = field(default_factory=Latch)
    """Set once it is staged, or given up, and that is journalled."""
    _then: list[Callable[[], None]] = field(default_factory=list)
    digest: str = ""
    name: str = ""
    extension: str = ""
    media_type: str = ""
    shed: str = ""
    head: bytes = b""

    @property
    def stopped(self) -> bool:
        """Tell whether nobody wants its bytes any more."""
        return self.cancelled or self.superseded

    def weigh(self) -> int:
        """Note the bytes of memory that it will hold."""
        self.weight = _DESCRIPTOR if isinstance(self.source, int) else self.size
        return self.weight

    def finish(self) -> None:
        """Say that staging has ended; wakes whoever waits."""
        self.finished.set()
        while self._then:
            self._then.pop()()

    def when_finished(self, then: Callable[[], None]) -> None:
        """Call back, from a stager thread or at once, when staging has ended."""
        self._then.append(then)
        if self.finished.is_set():
            self.finish()


def read_source(source: Any) -> Iterator[memoryview]:
    """Give the bytes of a source, in chunks."""
    if isinstance(source, int):
        while chunk := os.read(source, CHUNK):
            yield memoryview(chunk)
        return
    view = memoryview(source)
    view = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
    for at in range(0, len(view), CHUNK):
        yield view[at : at + CHUNK]


def close_source(source: Any) -> None:
    """Let a source go that nobody will read (again)."""
    if isinstance(source, int):
        os.close(source)


def open_source(path: Any) -> tuple[int, int]:
    """Open a file that a caller names, now: descriptor, size. Raises OSError for what is no plain file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    state = os.fstat(fd)
    if not stat.S_ISREG(state.st_mode):
        os.close(fd)
        raise OSError(22, "not a plain file")
    return fd, state.st_size
