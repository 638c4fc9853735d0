"""A line file takes whole appends or none, whatever the disk does."""

from __future__ import annotations

import errno
import os

import pytest

from otel_gen.errors import StorageError
from otel_gen.files import Folder
from otel_gen.lines import Lines


@pytest.fixture
def lines(tmp_path):
    folder = Folder.root(str(tmp_path))
    yield Lines(folder, "lines.jsonl")
    folder.close()


def test_what_is_appended_is_read_back_with_its_offsets(lines):
    lines.append(b'{"a":1}\n{"b":2}\n')
    place = lines.append(b'{"c":3}\n')
    assert list(lines.read_from()) == [(0, b'{"a":1}\n'), (8, b'{"b":2}\n'), (16, b'{"c":3}\n')]
    assert (place.size, list(lines.read_from(16))) == (24, [(16, b'{"c":3}\n')])
    assert lines.place() == place


@pytest.mark.parametrize("fails_after", [0, 1, 5, 15])
def test_a_full_disk_leaves_the_file_as_it_was(lines, monkeypatch, fails_after):
    lines.append(b"before\n")
    real, left = os.write, [fails_after]

    def full(fd, data):
        if not left[0]:
            raise OSError(errno.ENOSPC, "no space left")
        written = real(fd, bytes(data)[: left[0]])
        left[0] -= written
        return written

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="no space"):
            lines.append(b"sixteen letters\n" * 2)
    assert list(lines.read_from()) == [(0, b"before\n")]
    lines.append(b"after\n")
    assert [line for _, line in lines.read_from()] == [b"before\n", b"after\n"]


def test_where_a_broken_append_cannot_be_cut_back_nothing_more_is_appended(lines, monkeypatch):
    lines.append(b"before\n")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "the disk")))
        patched.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "and the cut")))
        with pytest.raises(OSError, match="the disk"):
            lines.append(b"torn")
    with pytest.raises(StorageError, match="torn tail"):
        lines.append(b"after\n")
    assert lines.cut_torn_tail() == (7, b"torn")
    lines.append(b"after\n")
    assert [line for _, line in lines.read_from()] == [b"before\n", b"after\n"]


@pytest.mark.parametrize("cut", range(1, 17))
def test_a_tail_torn_at_any_byte_is_cut_back_to_the_last_whole_line(lines, cut):
    whole = b"first line\nsecond\n"
    lines.append(whole)
    path = os.path.join(lines.folder.path, lines.name)
    os.truncate(path, cut)
    kept = whole[:cut].rpartition(b"\n")
    keep = len(kept[0]) + 1 if kept[1] else 0
    offset, torn = lines.cut_torn_tail()
    assert (offset if torn else cut, torn) == (keep if torn else cut, whole[keep:cut])
    assert b"".join(line for _, line in lines.read_from()) == whole[:keep]


def test_nothing_is_read_behind_a_half_line(lines):
    lines.append(b"whole\nhalf")
    assert list(lines.read_from()) == [(0, b"whole\n")]


@pytest.mark.parametrize("plant", ["symlink", "fifo", "hard link", "directory"])
def test_what_is_no_plain_file_is_refused(lines, tmp_path, plant):
    path, other = tmp_path / "lines.jsonl", tmp_path / "other"
    other.write_text("outside")
    if plant == "symlink":
        path.symlink_to(other)
    elif plant == "fifo":
        os.mkfifo(path)
    elif plant == "hard link":
        os.link(other, path)
    else:
        path.mkdir()
    with pytest.raises((OSError, StorageError)):
        lines.append(b"x\n")
    assert other.read_text() == "outside"
