"""Stager: bytes before names; what cannot be stored says why and never stops the others."""

from __future__ import annotations

import errno
import hashlib
import os
import threading

import numpy as np
import pytest

import otel_gen
from otel_gen import stager as stager_module
from otel_gen.files import Folder
from otel_gen.job import Job, open_source
from otel_gen.stager import Stager
from tests.support import lines, settled, the_record, until


@pytest.fixture
def staged(tmp_path):
    """Stage one source after the other; gives the finished jobs."""
    pool = Stager(lambda: Folder.root(str(tmp_path / "staging"), create=True))

    def stage(source, size=0, **options):
        job = Job("ply", source, lambda _: None, lambda _: ("ply", "application/x-ply"), size=size, **options)
        pool.submit(job)
        assert job.finished.wait(20)
        return job

    stage.pool = pool
    yield stage
    pool.close(10)


def test_what_finds_no_place_is_hashed_all_the_same(staged, tmp_path):
    (tmp_path / "staging").write_text("a file where the directory belongs")
    job = staged(b"x" * 3_000_000)
    assert (job.digest, job.size) == (hashlib.sha256(b"x" * 3_000_000).hexdigest(), 3_000_000)
    assert (job.name, job.shed) == ("", "write error")


def names(tmp_path):
    return os.listdir(tmp_path / "staging")


BUFFERS = {
    "bytes": b"x" * 3_000_000,
    "bytearray": bytearray(b"y" * 70_000),
    "empty": b"",
    "memoryview": memoryview(b"z" * 100)[10:20],
    "strided": memoryview(bytes(range(100)))[::3],
    "array": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "transposed": np.arange(24, dtype=np.float32).reshape(4, 6).T,
    "empty array": np.zeros((0, 3)),
    "scalar": np.float64(1.5),
}


@pytest.mark.parametrize("buffer", BUFFERS.values(), ids=BUFFERS)
def test_any_buffer_is_staged_byte_for_byte_under_its_digest(staged, tmp_path, buffer):
    job = staged(buffer)
    data = memoryview(buffer).tobytes()
    assert (job.digest, job.size, job.shed) == (hashlib.sha256(data).hexdigest(), len(data), "")
    assert (tmp_path / "staging" / job.name).read_bytes() == data
    assert names(tmp_path) == [job.name]


def test_an_open_file_is_read_to_its_end_and_closed(staged, tmp_path):
    path = tmp_path / "a.ply"
    path.write_bytes(b"p" * 2_500_000)
    fd, size = open_source(str(path))
    path.unlink()  # opened at the call: what becomes of the name does not matter
    job = staged(fd, size)
    assert (job.size, job.shed) == (2_500_000, "")
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_what_is_no_plain_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "nowhere", "/dev/null"):
        with pytest.raises(OSError, match=r"plain file|No such file"):
            open_source(str(path))


def broken():
    raise RuntimeError("another library")


def no_memory():
    raise MemoryError


@pytest.mark.parametrize("source", [broken, no_memory, object(), "text", None], ids=repr)
def test_a_source_that_cannot_be_read_does_not_stop_the_next(staged, tmp_path, source):
    jobs = [staged(source) for _ in range(3)]
    assert [(job.shed, job.digest, job.name) for job in jobs] == [("unreadable", "", "")] * 3
    assert staged(b"good").name in names(tmp_path)


def test_more_than_the_limit_is_hashed_and_not_stored(staged, tmp_path):
    job = staged(b"x" * 100, limit=99)
    assert (job.shed, job.name, job.digest) == (
        "max_artifact_bytes",
        "",
        hashlib.sha256(b"x" * 100).hexdigest(),
    )
    assert names(tmp_path) == []


def test_without_storage_it_is_hashed_only(staged, tmp_path):
    job = staged(b"x" * 100, store=False)
    assert (job.shed, job.name, job.size) == ("", "", 100)
    assert job.digest == hashlib.sha256(b"x" * 100).hexdigest()
    assert not (tmp_path / "staging").exists()


def test_a_full_disk_is_said_and_leaves_no_file(staged, tmp_path, monkeypatch):
    def full(fd, data):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(stager_module, "write_all", full)
    job = staged(b"x" * 100)
    assert (job.shed, bool(job.digest), names(tmp_path)) == ("disk full", True, [])


def test_what_does_not_fit_into_memory_is_given_up_and_room_comes_back(staged, monkeypatch):
    monkeypatch.setattr(Stager, "MAX_WAITING", 100)
    assert staged(b"x", size=101).shed == "backlog"
    for _ in range(10):
        assert staged(lambda: b"decoded " * 3, size=90).shed == ""


def test_a_large_open_file_takes_no_room_in_memory(staged, tmp_path):
    path = tmp_path / "a.ply"
    path.write_bytes(b"x")
    assert staged(os.open(path, os.O_RDONLY), size=Stager.MAX_WAITING + 1).shed == ""


def test_a_job_for_a_closed_stager_is_given_up_at_once(tmp_path):
    pool = Stager(lambda: Folder.root(str(tmp_path / "staging"), create=True))
    for name in ("a", "b", "c"):
        pool.submit(Job("ply", name.encode(), lambda _: None, lambda _: ("ply", "")))
    pool.close(10)
    told = []
    job = Job("ply", b"x", told.append, lambda _: ("ply", ""))
    pool.submit(job)
    assert job.finished.wait(20)
    assert (job.shed, told) == ("backlog", [job])


# --- through the API ---------------------------------------------------------------------------------------
def test_a_mutable_buffer_that_misses_the_deadline_is_given_up(data_dir, monkeypatch):
    free = threading.Event()
    real = Stager._stage
    monkeypatch.setattr(Stager, "_stage", lambda pool, job: free.wait(20) and real(pool, job))
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, deadline=0.01)
    with otel_gen.generation() as mutable:
        mutable.output(ply=bytearray(b"x"))
    with otel_gen.generation() as fixed:
        fixed.output(ply=b"x")
    assert not mutable.durable
    free.set()
    records = settled(data_dir)
    assert records[mutable.id]["generation"]["output"]["shed"] == "deadline"
    assert "shed" not in records[fixed.id]["generation"]["output"]


def test_a_path_is_opened_at_the_call(configured, tmp_path):
    path = tmp_path / "out.ply"
    path.write_bytes(b"first")
    with otel_gen.generation() as gen:
        gen.output(ply=path)
        path.unlink()
        gen.submitted()
        otel_gen.feedback(gen.id, score=1)
    output = the_record(configured)["generation"]["output"]
    assert (configured / output["ply_file_path"]).read_bytes() == b"first"
    assert output["ply_file_hash"] == "sha256:" + hashlib.sha256(b"first").hexdigest()


def test_an_inspector_that_fails_holds_no_record_back(configured, monkeypatch):
    with otel_gen.generation() as warm:
        pass
    monkeypatch.setattr(warm.capture, "_inspect", lambda _: 1 / 0)
    with otel_gen.generation() as gen:
        gen.output(ply=b"x")
        gen.submitted()
    until(lambda: len(lines(configured)) == 2)


def test_parts_of_an_output_merge(configured):
    with otel_gen.generation() as gen:
        gen.output(ply=b"ply bytes")
        gen.output(spz=b"spz bytes", num_gaussians=3)
        gen.output(image=b"\x89PNG\r\n\x1a\n")
        gen.submitted()
        otel_gen.feedback(gen.id, score=1)
    output = the_record(configured)["generation"]["output"]
    assert all(output[key] for key in ("ply_file_hash", "spz_file_hash", "ply_file_path", "spz_file_path"))
    assert output["num_gaussians"] == 3


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 2), (64, 2)])
def test_one_core_is_left_to_the_application(tmp_path, monkeypatch, cores, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    pool = Stager(lambda: Folder.root(str(tmp_path / "staging"), create=True))
    jobs = [
        Job("ply", b"x", lambda _: None, lambda _: ("ply", "application/x-ply"), store=True) for _ in range(5)
    ]
    for job in jobs:
        pool.submit(job)
    assert len(pool._threads) == threads
    pool.close(10)
    assert all(job.digest for job in jobs)
