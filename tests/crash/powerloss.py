"""Power loss: what a disk may show afterwards, rebuilt from a recorded run.

Until a sync has returned, each write and each name that it covers may be there, or not, or by half. A disk is
played back call by call; at any moment it gives a directory as it might be found after the power went there.
The model is harsher than most file systems: a name needs the sync of its directory, a write may be torn at any
byte or leave zeros, and later writes may have come through where earlier ones have not.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HEAD = struct.Struct("=qqqqIIII")
WAYS = ("synced", "all", "prefix", "subset", "torn", "zeros")
"""What is left of what no sync covers: nothing; all; all up to one moment; some; some, by half; some, empty."""


@dataclass(slots=True)
class Call:
    """One recorded call, in the order in which calls took effect."""

    op: str
    node: int
    at: int
    other: int
    name: str
    other_name: str
    data: bytes


def recorded(log: Path) -> Iterator[Call]:
    """Read the log of the shim's mode `record`."""
    data, at = log.read_bytes(), 0
    while at < len(data):
        op, node, offset, other, *sizes, _ = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        parts = []
        for size in sizes:
            parts.append(data[at : at + size])
            at += size
        name, other_name, body = parts
        yield Call(chr(op), node, offset, other, os.fsdecode(name), os.fsdecode(other_name), body)


@dataclass(eq=False, slots=True)
class File:
    """Bytes that are safe, and changes that are not yet: moment, offset (None: a new size), bytes, size."""

    safe: bytearray = field(default_factory=bytearray)
    loose: list[tuple[int, int | None, bytes, int]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Directory:
    """Names that are safe, and changes that are not yet: moment, name, what it stands for, name that goes."""

    safe: dict[str, Node] = field(default_factory=dict)
    loose: list[tuple[int, str | None, Node | None, str | None]] = field(default_factory=list)
    now: dict[str, Node] = field(default_factory=dict)


Node = File | Directory


class Disk:
    """The state of a recorded disk; `play` takes one call after the other."""

    def __init__(self, root: Path, *folders: str) -> None:
        """Begin with a directory that holds nothing but some empty ones."""
        self.moment = 0
        self._begun: dict[tuple[int, int], int] = {}
        self.root = Directory()
        self._nodes: dict[int, Node] = {root.stat().st_ino: self.root}
        for name in folders:
            made = self._nodes[(root / name).stat().st_ino] = Directory()
            self.root.safe[name] = self.root.now[name] = made

    # --- what happened -----------------------------------------------------------------------------------
    def play(self, call: Call) -> None:
        """Take the next call."""
        self.moment += 1
        getattr(self, f"_{call.op}")(call, self._nodes[call.node])

    def _c(self, call: Call, folder: Directory) -> None:
        made = self._nodes[call.other] = File()
        self._name(folder, call.name, made)

    def _m(self, call: Call, folder: Directory) -> None:
        made = self._nodes[call.other] = Directory()
        self._name(folder, call.name, made)

    def _name(self, folder: Directory, name: str, node: Node, goes: str | None = None) -> None:
        folder.loose.append((self.moment, name, node, goes))
        folder.now[name] = node
        if goes is not None:
            folder.now.pop(goes, None)

    def _r(self, call: Call, folder: Directory) -> None:
        assert call.other == call.node, "nothing is renamed from one directory to another"
        self._name(folder, call.other_name, folder.now[call.name], call.name)

    def _l(self, call: Call, folder: Directory) -> None:
        target = self._nodes[call.other]
        assert isinstance(target, Directory)
        self._name(target, call.other_name, folder.now[call.name])

    def _u(self, call: Call, folder: Directory) -> None:
        folder.loose.append((self.moment, None, None, call.name))
        folder.now.pop(call.name)

    def _w(self, call: Call, file: File) -> None:
        file.loose.append((self.moment, call.at, call.data, len(call.data)))

    def _z(self, call: Call, file: File) -> None:
        file.loose.append((self.moment, call.at, b"", call.other))

    def _t(self, call: Call, file: File) -> None:
        file.loose.append((self.moment, None, b"", call.at))

    def _b(self, call: Call, _: Node) -> None:
        self._begun[call.other, call.at] = self.moment

    def _e(self, call: Call, node: Node) -> None:
        begun = self._begun.pop((call.other, call.at))
        covered = [one for one in node.loose if one[0] < begun]
        node.loose = [one for one in node.loose if one[0] > begun]  # type: ignore[assignment]
        if isinstance(node, Directory):
            node.safe = _renamed(node.safe, covered)
        else:
            for one in covered:
                _write(node.safe, *one[1:])

    # --- what may be found -----------------------------------------------------------------------------------
    def found(self, node: Node, *names: str) -> bytes:
        """Give the bytes that a file has now, power or not; empty where there is none."""
        for name in names:
            assert isinstance(node, Directory)
            if name not in node.now:
                return b""
            node = node.now[name]
        assert isinstance(node, File)
        data = bytearray(node.safe)
        for one in node.loose:
            _write(data, *one[1:])
        return bytes(data)

    def left(self, place: Path, way: str, rng: random.Random) -> None:
        """Make the directory as it is found after the power went now, in one of several ways."""
        _Left(way, rng, self.moment).directory(self.root, place)


class _Left:
    """One choice of what is left of everything that no sync covers."""

    def __init__(self, way: str, rng: random.Random, moment: int) -> None:
        self.way, self.rng = way, rng
        self.until = rng.randint(max(moment - 60, 0), moment)
        self.share = rng.choice((0.1, 0.5, 0.9))
        self._made: dict[Node, Path] = {}

    def _stays(self, moment: int) -> bool:
        if self.way in ("synced", "all"):
            return self.way == "all"
        return moment <= self.until if self.way == "prefix" else self.rng.random() < self.share

    def directory(self, node: Directory, place: Path) -> None:
        place.mkdir(mode=0o700)
        names = _renamed(node.safe, [one for one in node.loose if self._stays(one[0])])
        for name, child in names.items():
            if child in self._made:
                os.link(self._made[child], place / name)
            elif isinstance(child, Directory):
                self.directory(child, place / name)
            else:
                self._file(child, place / name)

    def _file(self, node: File, place: Path) -> None:
        data = bytearray(node.safe)
        for moment, at, body, size in node.loose:
            if self._stays(moment):
                _write(data, at, *self._damaged(at, body, size))
        place.touch(mode=0o600)
        place.write_bytes(data)
        self._made[node] = place

    def _damaged(self, at: int | None, body: bytes, size: int) -> tuple[bytes, int]:
        if at is None or self.way not in ("torn", "zeros") or self.rng.random() < 0.5:
            return body, size
        if self.way == "zeros":
            return b"", size
        cut = self.rng.randrange(size)
        return body[:cut], cut


def _renamed(names: dict[str, Node], changes: list) -> dict[str, Node]:
    found = dict(names)
    for _, name, node, goes in changes:
        if goes is not None:
            found.pop(goes, None)
        if name is not None:
            found[name] = node
    return found


def _write(data: bytearray, at: int | None, body: bytes, size: int) -> None:
    """Carry one change out: bytes at an offset, zeros behind them up to its size, or a new size."""
    if at is None:
        del data[size:]
        data.extend(bytes(size - len(data)))
        return
    if len(data) < at + size:
        data.extend(bytes(at + size - len(data)))
    data[at : at + len(body)] = body
    data[at + len(body) : at + size] = bytes(size - len(body))
