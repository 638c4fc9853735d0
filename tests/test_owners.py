"""What another user makes in a data_dir hides nothing: root gives it away, the rest is told and waited for."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

import otel_gen
from otel_gen import index
from otel_gen.checked import feedback
from otel_gen.files import Folder
from otel_gen.readers.verify import verify
from otel_gen.recover import recover
from otel_gen.request import delete
from tests.world import World

SERVICE = 65_534


@contextmanager
def the_service():
    """Act as the user of the service: as another one where we are root, who may open everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(SERVICE)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory):
    """Load everything first: another user may not be able to read the interpreter's files."""
    world = World(tmp_path_factory.mktemp("first") / "data")
    world.worker(feedback_timeout=0.0).start().submitted().end()
    world.step()
    verify(world.path)
    world.close()
    recover(str(world.path), today={})


@pytest.fixture
def place():
    """A directory of the service's user."""
    path = Path(tempfile.mkdtemp())  # pytest's own directories are closed to others
    if os.geteuid() == 0:
        os.chown(path, SERVICE, SERVICE)
    yield path
    otel_gen.shutdown()
    shutil.rmtree(path)


@pytest.fixture
def from_root(place):
    """The same, for a test that acts as root in it."""
    if os.geteuid():
        pytest.skip("acting as another user needs root")
    return place


def submission(path):
    """Let the service make a generation that waits for its verdict, and be gone."""
    with the_service():
        world = World(path)
        gen = world.worker().start().submitted().end()
        world.step()
        world.close()
    return gen.id


def owners(path):
    return {os.lstat(found).st_uid for found in (path, *path.rglob("*"))}


# --- what root makes ---------------------------------------------------------------------------------------
def test_what_root_makes_belongs_to_the_owner_of_the_directory_before_anything_is_in_it(
    from_root, monkeypatch
):
    sizes, chown = [], os.chown
    monkeypatch.setattr(os, "chown", lambda f, *a, **k: (sizes.append(os.stat(f).st_size), chown(f, *a, **k)))
    folder = Folder.root(str(from_root / "above" / "data"))
    inner = folder.sub("inner")
    inner.replace("replaced", b"x")
    inner.append("appended", b"x\n")
    made = index.create_index(inner)
    index.publish(inner, made)
    assert {"replaced", "appended", "index", "index-1.db", "index-1.db-wal"} <= set(inner.names())
    assert owners(from_root) == {SERVICE}
    assert set(sizes[3:]) == {0}, "behind the three directories: files, empty as yet"
    made.close()
    inner.close()
    folder.close()


def test_what_root_left_behind_goes_to_the_owner_once_root_writes_it_again(from_root):
    (from_root / "lines").touch(0o600)
    folder = Folder.root(str(from_root))
    folder.append("lines", b"x\n")
    folder.close()
    assert owners(from_root) == {SERVICE}


def test_what_the_service_made_in_a_directory_of_root_stays_its_own(from_root):
    os.chown(from_root, 0, 0)
    (from_root / "lines").touch(0o600)
    os.chown(from_root / "lines", SERVICE, SERVICE)
    folder = Folder.root(str(from_root))
    folder.append("lines", b"x\n")
    folder.close()
    assert os.stat(from_root / "lines").st_uid == SERVICE


@pytest.mark.parametrize(
    ("code", "refused"),
    [(errno.EPERM, nullcontext()), (errno.EDQUOT, pytest.raises(OSError, match="quota"))],
)
def test_only_a_file_system_without_owners_may_refuse_one(from_root, monkeypatch, code, refused):
    monkeypatch.setattr(os, "chown", lambda *_, **__: (_ for _ in ()).throw(OSError(code, os.strerror(code))))
    folder = Folder.root(str(from_root))
    with refused:
        folder.append("lines", b"x\n")
    folder.close()


def test_a_verdict_that_root_records_is_applied_by_the_service(from_root):
    data_dir = from_root / "data"
    id_ = submission(data_dir)
    assert feedback(data_dir, id_, score=0.9)
    otel_gen.shutdown()
    with the_service():
        recover(str(data_dir), today={})
        (record,) = otel_gen.read(data_dir)
        assert verify(data_dir).problems == []
    assert (record["outcome"], record["validator_feedback"]["score"]) == ("accepted", 0.9)


@pytest.mark.parametrize(
    "act", [delete, lambda path, _: recover(path, today={}, rebuild=True)], ids=["delete", "rebuild"]
)
def test_after_a_command_of_root_the_service_goes_on_delivering(from_root, act):
    data_dir = from_root / "data"
    id_ = submission(data_dir)
    act(str(data_dir), id_)
    assert owners(from_root) == {SERVICE}
    later = submission(data_dir)
    with the_service():
        recover(str(data_dir), today={"feedback_timeout": 0.0})
        assert later in {record["metadata"]["generation_id"] for record in otel_gen.read(data_dir)}


# --- what cannot be opened -----------------------------------------------------------------------------------
def test_a_segment_of_another_user_blocks_nothing_is_told_and_is_delivered_once_it_may_be_read(place, caplog):
    with the_service():
        world = World(place / "data")
        gen = world.worker(feedback_timeout=5.0).start().submitted().end()
        other = world.worker()
        other.feedback(gen, 0.9)
        staged = world.path / ".otel_gen" / "staging" / "unknown.ply"
        staged.touch(0o600)
        os.utime(staged, (0, 0))
        (name,) = other.journal.chain.names
        segment = world.path / ".otel_gen" / "segments" / name
        other.die()
        segment.chmod(0)
        assert (world.step(), world.step(later=10), world.step()) == (0, 1, 0)
        assert gen.record["outcome"] == "unscored"
        assert world.files(".otel_gen/quarantine") == set()
        assert staged.exists(), "what cannot be read may name it"
        warnings = [one for one in caplog.messages if name in one]
        assert len(warnings) == 1
        assert "Permission denied" in warnings[0]
        (problem,) = verify(world.path, world.clock).problems
        place = f".otel_gen/segments/{name}"
        assert (problem.kind, problem.place) == ("segment", place)
        assert problem.text == "cannot be read (Permission denied)"
        there = f"{world.path}/.otel_gen/segments"
        assert problem.hint == f"run as root: chown --reference={there} {there}/{name}"
        segment.chmod(0o600)
        world.step()
        assert (gen.record["outcome"], gen.record["validator_feedback"]["score"]) == ("accepted", 0.9)
        world.close()
        assert verify(world.path, world.clock).problems == []


def test_a_note_of_an_earlier_look_in_quarantine_hides_no_segment(place):
    with the_service():
        world = World(place / "data")
        worker = world.worker()
        worker.feedback(None, 0.5, id="0198c0de-0000-7000-8000-0123456789ab")
        (name,) = worker.journal.chain.names
        worker.die()
        (world.path / ".otel_gen" / "segments" / name).chmod(0)
        world.tree.set_aside(f"{name}.0.unreadable", b"Permission denied")
        assert [one.kind for one in verify(world.path, world.clock).problems] == ["segment"]
        world.close()
