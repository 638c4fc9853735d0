"""One segment: an append-only file of checksummed frames that only its owner writes.

Frame: magic (4 bytes), payload length, crc32 of sequence + payload, sequence (little endian), payload.
The file is preallocated with zeros, so a zero where a magic belongs is the end. The owner holds an
exclusive flock for life; a free lock proves that the owner is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

from otel_gen import pwrite
from otel_gen.events import MAX_PAYLOAD
from otel_gen.files import Folder

MAGIC = b"\x89OG1"
_HEAD = struct.Struct("<4sIIQ")
_SEQUENCE = struct.Struct("<Q")
_pack_head, _pack_sequence = _HEAD.pack, _SEQUENCE.pack
HEAD_SIZE = _HEAD.size
_CHECKED = HEAD_SIZE - _SEQUENCE.size
SUFFIX = ".seg"
SPARE = ".spare"
_LOOKED_AT = 3
"""One write of four is watched for others that want the interpreter's lock: the clocks take as long as the write."""
SEALED_ROOM = 128
"""Bytes kept free for the frame that seals a full segment."""
_OVERHEAD = HEAD_SIZE + SEALED_ROOM
_ZEROS = bytes(1 << 16)
"""Written, not only reserved: later frames meet pages that exist, and fdatasync has no extents to convert.

In small pieces, as sendfile does: where one of 1 MB makes one large folio, each later write to it takes twice as long.
"""


def parse(data: bytes, at: int) -> tuple[int, bytes, int] | None:
    """Read the frame at an offset: sequence, payload, next offset; None where none is whole and right."""
    if at + HEAD_SIZE > len(data):
        return None
    magic, length, crc, sequence = _HEAD.unpack_from(data, at)
    end = at + HEAD_SIZE + length
    if magic != MAGIC or length > MAX_PAYLOAD or end > len(data):
        return None
    if crc32(data[at + _CHECKED : end]) != crc:
        return None
    return sequence, data[at + HEAD_SIZE : end], end


def framed(sequence: int, payload: bytes) -> bytes:
    """Make the bytes of a frame."""
    crc = crc32(payload, crc32(_pack_sequence(sequence)))
    return _pack_head(MAGIC, len(payload), crc, sequence) + payload


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a dead segment that holds no frame though it is not empty."""

    offset: int
    data: bytes
    torn: bool
    """True at the end of what was written: cut short; False in the middle: wrong bytes."""


class Writer:
    """The owner's end of a segment: frames at known offsets, retried at the same place."""

    def __init__(self, folder: Folder, name: str, size: int) -> None:
        """Make a preallocated, locked file under its spare name. Raises OSError when there is no room."""
        self.folder, self.name, self.full = folder, name, size - _OVERHEAD
        self.offset = 0
        self.fd = folder.open(name + SPARE, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_zeros(self.fd, size)
        except BaseException:
            self.abandon()
            raise

    def publish(self) -> None:
        """Give the segment its final name, after its header frame is written."""
        self.folder.rename(self.name + SPARE, self.name + SUFFIX)

    def put(self, sequence: int, payload: bytes, overdue: float = math.inf) -> None:
        """Write one frame; on an error nothing is taken and the next call writes at the same place.

        overdue: from when on (monotonic) the disk is not trusted to answer at once.
        """
        data = (
            _pack_head(MAGIC, len(payload), crc32(payload, crc32(_pack_sequence(sequence))), sequence)
            + payload
        )
        if sequence & _LOOKED_AT and not pwrite.keep_until:
            written = os.pwrite(self.fd, data, self.offset)
        else:
            written = pwrite.pwrite(self.fd, data, self.offset, overdue)
        if written != len(data):
            self._write_rest(data, written)
        self.offset += len(data)

    def _write_rest(self, data: bytes, written: int) -> None:
        """Write what a short write left."""
        while written != len(data):
            more = os.pwrite(self.fd, data[written:], self.offset + written)
            if not more:
                raise OSError(28, "short write")
            written += more

    def gone(self) -> bool:
        """Tell whether the file has lost its name (data_dir removed, or delivered and deleted)."""
        return os.fstat(self.fd).st_nlink == 0

    def frames(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Read back what was written between two offsets: sequence, payload."""
        data, at = os.pread(self.fd, end - start, start), 0
        while found := parse(data, at):
            yield found[0], found[1]
            at = found[2]

    def close(self) -> None:
        """Let the file and its lock go."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def abandon(self) -> None:
        """Remove a segment that nobody shall read; what the disk refuses is left for the next sweep."""
        self.close()
        with contextlib.suppress(OSError):
            self.folder.unlink(self.name + SPARE)
            self.folder.unlink(self.name + SUFFIX)


def _write_zeros(fd: int, size: int) -> None:
    for at in range(_sent_zeros(fd, size), size, len(_ZEROS)):
        length = min(len(_ZEROS), size - at)
        if os.pwrite(fd, _ZEROS[:length], at) < length:
            raise OSError(28, "no room for a segment")


def _sent_zeros(fd: int, size: int) -> int:
    """Have the kernel write zeros to an empty file, in pieces of its own; tell how many it wrote.

    That is one call: between any two, the application's threads and this one would contend for the interpreter.
    """
    try:
        zeros = os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return os.sendfile(fd, zeros, None, size)
    except OSError:  # a kernel before 6.5 does not read this device so
        return 0
    finally:
        os.close(zeros)


class Reader:
    """Anybody's view of a segment: reads on from where it stopped, never beyond what is valid."""

    CHUNK = 1 << 20

    def __init__(self, folder: Folder, name: str) -> None:
        self.name = name
        self.fd = folder.open(name)
        self.offset = 0
        self.damage: list[Damage] = []

    def alive(self) -> bool:
        """Tell whether the owner still holds its lock (a shared lock is tried and let go)."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        return False

    def read(self) -> list[tuple[int, bytes, int]]:
        """Take the next whole frames, at most a chunk of them: sequence, payload, offset behind each."""
        if os.pread(self.fd, 4, self.offset) != MAGIC:
            return []
        data, at, frames = os.pread(self.fd, self.CHUNK, self.offset), 0, []
        while found := parse(data, at):
            at = found[2]
            frames.append((found[0], found[1], self.offset + at))
        self.offset += at
        return frames

    def skip_damage(self) -> bool:
        """In a dead segment, step over bytes that are no frame; tell whether anything may follow."""
        size = os.fstat(self.fd).st_size
        data = os.pread(self.fd, size - self.offset, self.offset) if size > self.offset else b""
        if not data.strip(b"\0"):
            return False
        at = data.find(MAGIC, 1)
        while at >= 0 and parse(data, at) is None:
            at = data.find(MAGIC, at + 1)
        lost = data[:at] if at >= 0 else data.rstrip(b"\0")
        self.damage.append(Damage(self.offset, lost, torn=at < 0))
        self.offset += at if at >= 0 else len(data)
        return at >= 0

    def sync(self) -> None:
        """Make what was read durable, whoever wrote it."""
        os.fdatasync(self.fd)

    def close(self) -> None:
        """Let the file go."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
