"""Segments: frames come back whole, damage costs what it hits, a lock tells who lives."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_gen.files import Folder
from otel_gen.segment import HEAD_SIZE, SPARE, SUFFIX, Reader, Writer

PAYLOADS = [b'{"n":1}', b"", b"\0\0\0", b"x" * 40, b"\x89OG1 not a frame"]


@contextmanager
def folder():
    """A directory of its own."""
    with tempfile.TemporaryDirectory() as path:
        opened = Folder.root(path)
        try:
            yield opened
        finally:
            opened.close()


def write(place, payloads, size=4096):
    """A published segment with one frame per payload, numbered from 1; its owner lives."""
    writer = Writer(place, uuid.uuid4().hex, size)
    for number, payload in enumerate(payloads, 1):
        writer.put(number, payload)
    writer.publish()
    return writer


def read_dead(reader):
    """Everything that a dead segment still gives: sequence, payload."""
    found = []
    while True:
        frames = reader.read()
        found += [(sequence, payload) for sequence, payload, _ in frames]
        if not frames and not reader.skip_damage():
            return found


def ends(payloads):
    """Offset behind each frame."""
    at, found = 0, []
    for payload in payloads:
        at += HEAD_SIZE + len(payload)
        found.append(at)
    return found


@pytest.fixture
def place():
    with folder() as opened:
        yield opened


@pytest.fixture
def dead(place):
    """A segment of five frames whose owner is gone: folder, name, bytes up to the end of what was written."""
    writer = write(place, PAYLOADS)
    length = writer.offset
    writer.close()
    return place, writer.name + SUFFIX, place.read(writer.name + SUFFIX)[:length]


def rewritten(dead, data):
    """A reader of the dead segment with other bytes in it."""
    place, name, _ = dead
    with place.opened(name, os.O_WRONLY | os.O_TRUNC) as fd:
        os.write(fd, data)
    return Reader(place, name)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=12))
def test_any_payloads_come_back_in_order_with_their_numbers(payloads):
    with folder() as place:
        writer = write(place, payloads, size=8192)
        reader = Reader(place, writer.name + SUFFIX)
        assert [(n, p) for n, p, _ in reader.read()] == list(enumerate(payloads, 1))
        assert list(writer.frames(0, writer.offset)) == list(enumerate(payloads, 1))
        assert reader.offset == writer.offset
        reader.close()
        writer.close()


def test_more_than_one_chunk_is_read_in_several_steps(place):
    payloads = [bytes([n]) * 200_000 for n in range(1, 13)]
    writer = write(place, payloads, size=4 << 20)
    reader = Reader(place, writer.name + SUFFIX)
    assert len(reader.read()) < len(payloads)
    reader.offset = 0
    assert [payload for _, payload in read_dead(reader)] == payloads
    assert reader.damage == []
    reader.close()
    writer.close()


def test_a_cut_at_every_byte_leaves_the_whole_frames_before_it_and_names_the_rest_torn(dead):
    data, places = dead[2], ends(PAYLOADS)
    for cut in range(len(data)):
        whole = sum(end <= cut for end in places)
        reader = rewritten(dead, data[:cut])
        assert [p for _, p in read_dead(reader)] == PAYLOADS[:whole], cut
        start = places[whole - 1] if whole else 0
        left = data[start:cut].rstrip(b"\0")
        told = [(d.offset, d.data, d.torn) for d in reader.damage]
        assert told == ([(start, left, True)] if left else []), cut
        reader.close()


def test_a_flipped_byte_at_every_place_costs_at_most_the_frame_it_hits(dead):
    data, places = dead[2], ends(PAYLOADS)
    for at in range(len(data)):
        hit = sum(end <= at for end in places)
        start = places[hit - 1] if hit else 0
        for flip in (0x01, 0x80, 0xFF, data[at]):  # the last one makes it a zero
            if flip == 0:
                continue
            changed = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            reader = rewritten(dead, changed + bytes(512))
            kept = list(enumerate(PAYLOADS, 1))
            del kept[hit]
            assert read_dead(reader) == kept, (at, flip)
            assert [d.offset for d in reader.damage] == [start], (at, flip)
            assert reader.damage[0].torn is (hit == len(PAYLOADS) - 1)
            assert reader.damage[0].data.rstrip(b"\0") == changed[start : places[hit]].rstrip(b"\0")
            reader.close()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=8), st.binary(max_size=80), st.data())
def test_foreign_bytes_written_over_a_stretch_never_invent_a_frame(payloads, junk, data):
    with folder() as place:
        writer = write(place, payloads)
        at = data.draw(st.integers(0, writer.offset))
        os.pwrite(writer.fd, junk, at)
        writer.close()
        reader = Reader(place, writer.name + SUFFIX)
        found, wanted = read_dead(reader), list(enumerate(payloads, 1))
        whole = [
            frame for frame, end in zip(wanted, ends(payloads), strict=True)
            if end <= at or end - HEAD_SIZE - len(frame[1]) >= at + len(junk)
        ]  # fmt: skip
        assert set(whole) <= set(found) <= set(wanted)
        assert [n for n, _ in found] == sorted({n for n, _ in found})
        reader.close()


def test_a_live_segment_is_read_up_to_the_first_invalid_place_and_goes_on_later(place):
    writer = write(place, PAYLOADS[:2])
    reader = Reader(place, writer.name + SUFFIX)
    assert len(reader.read()) == 2
    half = writer.offset
    writer.put(3, b"third")
    whole = os.pread(writer.fd, writer.offset - half, half)
    os.pwrite(writer.fd, bytes(len(whole)), half)
    for length in range(len(whole)):
        os.pwrite(writer.fd, whole[:length], half)
        assert reader.read() == []
        assert reader.offset == half
    os.pwrite(writer.fd, whole, half)
    writer.put(4, b"fourth")
    assert [(n, p) for n, p, _ in reader.read()] == [(3, b"third"), (4, b"fourth")]
    assert reader.damage == []
    reader.close()
    writer.close()


def test_zeros_behind_the_last_frame_are_the_end_and_no_damage(place):
    writer = write(place, PAYLOADS, size=1 << 16)
    writer.close()
    assert place.stat(writer.name + SUFFIX).st_size == 1 << 16
    reader = Reader(place, writer.name + SUFFIX)
    assert [p for _, p in read_dead(reader)] == PAYLOADS
    assert reader.damage == []
    reader.close()


def test_a_failed_write_takes_nothing_and_the_next_one_stands_at_its_place(place, monkeypatch):
    writer = write(place, [b"first"])
    real = os.pwrite

    def half(fd, data, at):
        if len(data) > 10:
            return real(fd, data[:7], at)
        raise OSError(28, "full")

    monkeypatch.setattr("otel_gen.segment.os.pwrite", half)
    with pytest.raises(OSError, match="full"):
        writer.put(2, b"xxx" * 30)
    monkeypatch.undo()
    writer.put(2, b"second")
    writer.close()
    reader = Reader(place, writer.name + SUFFIX)
    assert read_dead(reader) == [(1, b"first"), (2, b"second")]
    reader.close()


def test_short_writes_are_gone_on_with(place, monkeypatch):
    writer, real = write(place, []), os.pwrite
    monkeypatch.setattr("otel_gen.segment.os.pwrite", lambda fd, data, at: real(fd, data[:3], at))
    writer.put(1, b"in pieces of three bytes")
    assert list(writer.frames(0, writer.offset)) == [(1, b"in pieces of three bytes")]
    writer.close()


def no_splice(*_):
    raise OSError(22, "this kernel does not read /dev/zero so")


def some_only(out, zeros, _, size, real=os.sendfile):
    return real(out, zeros, None, 5000)


@pytest.mark.parametrize("sendfile", [no_splice, some_only])
def test_a_segment_without_room_leaves_no_file_behind(place, monkeypatch, sendfile):
    monkeypatch.setattr("otel_gen.segment.os.sendfile", sendfile)
    monkeypatch.setattr("otel_gen.segment.os.pwrite", lambda fd, data, at: 0)
    with pytest.raises(OSError, match="no room"):
        Writer(place, "name", 1 << 18)
    assert place.names() == []


@pytest.mark.parametrize("sendfile", [os.sendfile, no_splice, some_only])
def test_a_new_segment_has_all_its_zeros_and_blocks_whatever_the_kernel_can(place, monkeypatch, sendfile):
    monkeypatch.setattr("otel_gen.segment.os.sendfile", sendfile)
    size = (1 << 18) + 100
    writer = Writer(place, "name", size)
    found = os.fstat(writer.fd)
    assert os.pread(writer.fd, size + 1, 0) == bytes(size)
    assert (found.st_size, found.st_blocks * 512 >= size) == (size, True)
    writer.put(1, b"at the beginning")
    assert list(writer.frames(0, writer.offset)) == [(1, b"at the beginning")]
    writer.abandon()


def test_a_segment_asks_for_no_zeros_where_the_device_is_missing(place, monkeypatch):
    real = os.open

    def without(path, *rest, **more):
        if path == "/dev/zero":
            raise FileNotFoundError(path)
        return real(path, *rest, **more)

    monkeypatch.setattr("otel_gen.segment.os.open", without)
    writer = Writer(place, "name", 1 << 17)
    assert os.fstat(writer.fd).st_size == 1 << 17
    writer.abandon()


def test_a_segment_is_seen_under_its_name_only_once_it_is_published(place):
    writer = Writer(place, "name", 4096)
    writer.put(0, b"header")
    assert place.names() == ["name" + SPARE]
    writer.publish()
    assert place.names() == ["name" + SUFFIX]
    assert not writer.gone()
    place.unlink("name" + SUFFIX)
    assert writer.gone()
    writer.close()


OWNER = """
import os, sys, time
from otel_gen.files import Folder
from otel_gen.segment import Writer
folder = Folder.root(sys.argv[1])
writer = Writer(folder, "owned", 4096)
writer.put(1, b"mine")
writer.publish()
if sys.argv[2] == "forks":
    pid = os.fork()
    if pid == 0:
        writer.close()  # what forget() does in a child
        os.write(1, b"child %d\\n" % os.getpid())
        time.sleep(600)
os.write(1, b"ready\\n")  # at once: two processes write here
time.sleep(600)
"""


@pytest.mark.crash
@pytest.mark.parametrize("kind", ["alone", "forks"])
def test_a_held_lock_means_alive_and_a_free_one_dead_even_when_a_fork_of_the_owner_lives(place, kind):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, place.path, kind], stdout=subprocess.PIPE, text=True
    )
    children = []
    try:
        said = [owner.stdout.readline().split() for _ in range(2 if kind == "forks" else 1)]
        assert ["ready"] in said
        children = [int(pid) for word, *rest in said if word == "child" for pid in rest]
        reader = Reader(place, "owned" + SUFFIX)
        assert reader.alive()
        assert reader.alive(), "a look lets the lock as it is"
        assert [p for _, p, _ in reader.read()] == [b"mine"]
        owner.kill()
        owner.wait(30)
        assert not reader.alive()
        assert len(children) == (kind == "forks")
        reader.close()
    finally:
        owner.kill()
        owner.wait(30)
        for child in children:
            os.kill(child, signal.SIGKILL)
        owner.stdout.close()


def test_two_who_look_at_once_never_take_each_other_for_the_owner(place):
    write(place, PAYLOADS).close()
    (name,) = place.names()
    one, other = Reader(place, name), Reader(place, name)
    fcntl.flock(one.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # in the middle of its look
    assert not other.alive()
    one.close()
    other.close()
