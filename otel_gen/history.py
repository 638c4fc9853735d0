"""History: all line files of a data_dir as they stood at one moment, rotation or not."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from otel_gen.errors import DamageError, StorageError
from otel_gen.files import Folder
from otel_gen.lines import AMENDMENTS, HISTORY
from otel_gen.record import Record
from otel_gen.tombs import MARK
from otel_gen.tree import DOT

INTENT = "intent.json"
ARCHIVE = "archive"
NOTE = "deleting.json"
"""In .otel_gen while a deletion is under way."""
_MONTH = re.compile(r"generation_history_(\d{4}-\d{2})\.jsonl(\.gz)?")
_OURS = re.compile(r"generation_(history(_\d{4}-\d{2})?|amendments)\.jsonl(\.gz)?")
_NEW = re.compile(r"\.(generation_[a-z0-9_.-]+)\.new")
_PARTS = ("task", "validator_feedback", "failure_analysis")
_CHUNK = 1 << 20
_LOOKS = 100
_loads = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Part:
    """One file as it was when it was opened, to be read as often as wanted, never beyond its size then."""

    name: str
    """Path below data_dir."""
    fd: int
    inode: int
    size: int

    @property
    def compressed(self) -> bool:
        """Tell whether offsets count inflated bytes."""
        return self.name.endswith(".gz")

    def lines(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Read lines: offset, line with its newline; only what is torn has none. Raises DamageError."""
        at, rest = start, b""
        try:
            for chunk in self._inflated() if self.compressed else self._chunks(start, end):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield at, line + b"\n"
                    at += len(line) + 1
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DamageError(self.name, at, f"cannot be inflated ({error})", "restore it") from error
        if rest:
            yield at, rest

    def _chunks(self, start: int, end: int | None) -> Iterator[bytes]:
        end = self.size if end is None else min(end, self.size)
        while chunk := os.pread(self.fd, max(min(_CHUNK, end - start), 0), start):
            yield chunk
            start += len(chunk)

    def _inflated(self) -> Iterator[bytes]:
        os.lseek(self.fd, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self.fd), "rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk


@dataclass(slots=True)
class History:
    """The line files of one moment: no record stands in two of them because a rotation is under way."""

    months: list[Part] = field(default_factory=list)
    """Oldest first, the current file last."""
    amendments: Part | None = None

    def parts(self) -> list[Part]:
        """All files."""
        return [*([self.amendments] if self.amendments else []), *self.months]

    def close(self) -> None:
        """Let the files go."""
        for part in self.parts():
            os.close(part.fd)


@contextmanager
def opened(root: Folder) -> Iterator[History]:
    """Open all line files as they stand at one moment. Raises StorageError for one that cannot be opened."""
    found = _consistent(root)
    try:
        yield found
    finally:
        found.close()


def _consistent(root: Folder) -> History:
    """Open everything, look again, and begin anew where a rename came between."""
    for _ in range(_LOOKS):
        found = History()
        try:
            for name, path in _places(root).items():
                _take(found, name, _open_part(root, name, path))
            if {part.name: part.inode for part in found.parts()} == _inodes(root):
                return found
        except FileNotFoundError:
            pass
        except BaseException:
            found.close()
            raise
        found.close()
    raise StorageError(root.path, "its history files do not keep still", "see what else renames them")


def _take(found: History, name: str, part: Part) -> None:
    if name == AMENDMENTS:
        found.amendments = part
    else:
        found.months.append(part)


def _places(root: Folder) -> dict[str, str]:
    """Map line files to where their content stands: amendments, then months, then the current file.

    What an intent says counts as done: its new files are complete, only their names are not.
    """
    found = {name: name for name in root.names() if is_line_file(name)}
    for name, stays in _intent(root).items():
        if not stays:
            found.pop(name, None)
        elif root.exists(f".{name}.new"):
            found[name] = f".{name}.new"
    found |= {f"{ARCHIVE}/{name}": f"{ARCHIVE}/{name}" for name in _archived(root)}
    return dict(sorted(found.items(), key=_order))


def _order(place: tuple[str, str]) -> tuple[int, str]:
    name = place[0].rpartition("/")[2]
    return (0 if name == AMENDMENTS else 2 if name == HISTORY else 1), name


def _archived(root: Folder) -> list[str]:
    if not root.exists(ARCHIVE):
        return []
    with _folder(root, ARCHIVE) as archive:
        return [name for name in archive.names() if _MONTH.fullmatch(name)]


@contextmanager
def _folder(root: Folder, name: str) -> Iterator[Folder]:
    folder = root.sub(name, create=False)
    try:
        yield folder
    finally:
        folder.close()


def _intent(root: Folder) -> dict[str, bool]:
    """Read what a replacement under way has decided; nothing where none is."""
    if not root.exists(DOT):
        return {}
    with _folder(root, DOT) as dot:
        try:
            return decided(root, dot.read(INTENT))
        except FileNotFoundError:
            return {}


def is_line_file(name: str) -> bool:
    """Tell whether a name in data_dir is one of a history or of the amendments."""
    return _OURS.fullmatch(name) is not None


def decided(root: Folder, data: bytes) -> dict[str, bool]:
    """Understand an intent; of an unreadable one this much is known: every new file is complete."""
    try:
        found = msgspec.json.decode(data, type=dict[str, bool])
    except msgspec.DecodeError:
        found = {new[1]: True for name in root.names() if (new := _NEW.fullmatch(name))}
    return {name: stays for name, stays in found.items() if is_line_file(name)}


def _open_part(root: Folder, name: str, path: str) -> Part:
    try:
        if name.startswith(f"{ARCHIVE}/"):
            with _folder(root, ARCHIVE) as archive:
                fd = archive.open(path.rpartition("/")[2])
        else:
            fd = root.open(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(
            os.path.join(root.path, path),
            f"cannot be read ({error.strerror})",
            "make it a plain file of yours",
        ) from error
    state = os.fstat(fd)
    return Part(name, fd, state.st_ino, state.st_size)


def _inodes(root: Folder) -> dict[str, int]:
    return {
        name: os.stat(path, dir_fd=root.fd, follow_symlinks=False).st_ino
        for name, path in _places(root).items()
    }


# --- what readers and the leader ask ---------------------------------------------------------------------
def records(root: Folder) -> Iterator[Record]:
    """Read all records as written, tombstones too, oldest first; what is no whole record is passed over."""
    with opened(root) as found:
        for part in found.months:
            yield from records_in(part, look=is_record)


def parsed(line: bytes) -> Record:
    """Read one whole line; an empty dict where it is no JSON object."""
    try:
        found = _loads(line) if line.endswith(b"\n") else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def is_record(record: Record) -> bool:
    """Tell whether an object has the parts that every record has."""
    metadata, generation = record.get("metadata"), record.get("generation")
    return (
        isinstance(metadata, dict)
        and isinstance(metadata.get("generation_id"), str)
        and isinstance(generation, dict)
        and all(isinstance(record.get(key), dict) for key in _PARTS)
    )


def is_kept(record: Record) -> bool:
    """Tell a record from what is none, or stands in place of a deleted one."""
    return is_record(record) and MARK not in record


def records_in(part: Part, look: Callable[[Record], bool] = is_kept) -> Iterator[Record]:
    """Read the records of one file; what is no whole record is passed over."""
    try:
        yield from filter(look, (parsed(line) for _, line in part.lines()))
    except DamageError:
        return
