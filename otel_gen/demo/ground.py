"""The folder that a demo writes: fresh for each run, an older demo's kept beside it, no other touched."""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from otel_gen.demo.workload import UsageError

MARK = ".otel-gen-demo"


@contextmanager
def fresh(data_dir: str | Path) -> Iterator[tuple[Path, Path | None]]:
    """Give an empty folder, held for this run alone, and where an earlier demo's went to.

    Raises UsageError for a folder with something else in it, for one that another demo still uses, and for one
    that cannot be written.
    """
    folder = Path(data_dir).resolve()
    try:
        aside = _set_aside(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = os.open(folder / MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UsageError(f"{folder} cannot be used ({error.strerror}); choose another --data-dir") from error
    try:
        _hold(mark, folder)
        yield folder, aside
    finally:
        os.close(mark)


def _set_aside(folder: Path) -> Path | None:
    """Move an earlier demo's folder to the next free name."""
    if not folder.exists() or not any(folder.iterdir()):
        return None
    if not (folder / MARK).is_file():
        raise UsageError(f"{folder} holds something that is not a demo's; choose another --data-dir")
    mark = os.open(folder / MARK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _hold(mark, folder)
        names = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
        return folder.rename(next(name for name in names if not name.exists()))
    finally:
        os.close(mark)


def _hold(mark: int, folder: Path) -> None:
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"another demo is using {folder}; end it, or choose another --data-dir") from error
