"""Everything is opened below one directory, by its owner alone, and nothing through a link."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

import otel_gen
from otel_gen.clock import Clock
from otel_gen.errors import SettingsError, StorageError
from otel_gen.files import Folder
from otel_gen.tree import LeaderLock, Tree, beat_age


@pytest.fixture
def root(tmp_path):
    folder = Folder.root(str(tmp_path / "data"))
    yield folder
    folder.close()


def mode(path):
    return os.stat(path).st_mode & 0o777


@pytest.fixture
def synced(monkeypatch):
    """Paths that are made durable, in order."""
    found, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (found.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    return found


def test_opening_waits_for_no_disk_and_the_first_sync_makes_all_names_above_durable(tmp_path, synced):
    folder = Folder.root(str(tmp_path / "one" / "two"))
    inner = folder.sub("inner").sub(".", create=False)
    assert synced == []
    inner.sync()
    names = [str(tmp_path / name) for name in ("..", ".", "one", "one/two", "one/two/inner")]
    assert synced == [os.path.normpath(name) for name in names]
    inner.sync()
    assert synced[5:] == synced[4:5]
    folder.sub("later").sync()
    assert str(tmp_path / "one" / "two") in synced[6:]


def test_threads_that_sync_one_directory_each_wait_until_all_names_are_durable(tmp_path, monkeypatch):
    folder, gate, real = Folder.root(str(tmp_path / "one" / "data")), threading.Barrier(4), os.fsync
    done = []

    def fsync(fd):
        with suppress(threading.BrokenBarrierError):
            gate.wait(0.2)
        real(fd)

    def work():
        folder.sync()
        done.append(True)

    monkeypatch.setattr(os, "fsync", fsync)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 4


def test_a_directory_that_another_process_made_is_made_durable_too(tmp_path, synced):
    (tmp_path / "data" / "inner").mkdir(parents=True)
    Folder.root(str(tmp_path / "data")).sub("inner").sync()
    assert synced == [str(tmp_path), str(tmp_path / "data"), str(tmp_path / "data" / "inner")]


def test_a_directory_whose_name_cannot_be_made_durable_is_so_with_the_next_sync(tmp_path, monkeypatch):
    folder, synced, real = Folder.root(str(tmp_path / "data")), [], os.fsync
    with monkeypatch.context() as bad:
        bad.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output error"):
            folder.sync()
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), real(fd)))
    folder.sync()
    assert len(synced) == 3  # the one above it is there, but made durable by whom?


def test_a_directory_that_was_moved_is_synced_all_the_same(tmp_path):
    folder = Folder.root(str(tmp_path / "one" / "data"))
    os.rename(tmp_path / "one", tmp_path / "two")
    folder.sync()
    folder.append("lines", b"x")
    assert (tmp_path / "two" / "data" / "lines").read_bytes() == b"x"


def test_modes_are_the_owners_alone_whatever_the_umask(root, tmp_path):
    old = os.umask(0)
    try:
        root.sub("inner").close()
        root.replace("file", b"x")
        root.append("lines", b"x\n")
    finally:
        os.umask(old)
    assert mode(tmp_path / "data") == mode(tmp_path / "data" / "inner") == 0o700
    assert mode(tmp_path / "data" / "file") == mode(tmp_path / "data" / "lines") == 0o600


@pytest.mark.parametrize(
    ("holds", "after"),
    [
        ((), 0o700),
        ((".gitkeep", "lost+found"), 0o700),
        (("generation_history.jsonl", "pending_generations.json", "images"), 0o700),
        (("notes.txt",), 0o755),
        (("generation_history.jsonl", "notes.txt"), 0o755),
    ],
)
def test_a_directory_that_somebody_uses_for_other_things_keeps_its_mode(tmp_path, holds, after):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    data_dir.chmod(0o755)
    for name in holds:
        (data_dir / name).touch()
    for _ in range(2):
        Tree(str(data_dir)).close()
        assert mode(data_dir) == after
    assert mode(data_dir / ".otel_gen") == 0o700


def test_a_directory_for_everybody_is_refused_and_stays_so(tmp_path):
    place = tmp_path / "tmp"
    place.mkdir()
    place.chmod(0o1777)
    with pytest.raises(StorageError, match="tmp: is for everybody"):
        Tree(str(place))
    with pytest.raises(SettingsError, match="tmp: is for everybody"):
        otel_gen.configure(data_dir=place, registry=None)
    assert place.stat().st_mode & 0o7777 == 0o1777
    assert os.listdir(place) == []


def test_a_replaced_file_is_synced_before_its_name_and_its_name_after(root, tmp_path, monkeypatch):
    root.sync()
    order, fsync, rename = [], os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    monkeypatch.setattr(os, "rename", lambda *a, **k: (order.append("rename"), rename(*a, **k)))
    root.replace("file", b"x")
    assert order == [str(tmp_path / "data" / ".file.tmp"), "rename", str(tmp_path / "data")]


def test_a_file_that_was_there_with_another_mode_is_made_private_before_it_is_written(root, tmp_path):
    (tmp_path / "data" / "lines").touch(mode=0o644)
    root.append("lines", b"x\n")
    assert mode(tmp_path / "data" / "lines") == 0o600


@pytest.mark.parametrize("write", [lambda r: r.replace("file", b"x"), lambda r: r.append("file", b"x")])
def test_nothing_is_written_through_a_link(root, tmp_path, write):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / "data" / "file").symlink_to(outside)
    with suppress(OSError, StorageError):
        write(root)
    assert outside.read_text() == "mine"


def test_a_link_in_place_of_a_directory_is_refused_by_name(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "inner").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="inner: not a plain directory"):
        root.sub("inner")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EACCES, "inner: Permission denied; run this as the user of the service"),
        (errno.EPERM, "inner: Operation not permitted; run this as the user of the service"),
        (errno.EIO, "inner: Input/output error; see to it and try again"),
    ],
)
def test_a_directory_that_cannot_be_opened_is_not_called_something_to_remove(root, monkeypatch, code, said):
    root.sub("inner").close()
    with monkeypatch.context() as bad:
        bad.setattr(os, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(code, os.strerror(code))))
        with pytest.raises(StorageError, match=said) as raised:
            root.sub("inner")
    assert "remove" not in str(raised.value)


def test_a_data_dir_of_another_user_names_the_user_to_be(root, monkeypatch):
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES))
    with monkeypatch.context() as bad:
        bad.setattr(os, "open", lambda *_, **__: (_ for _ in ()).throw(denied))
        with pytest.raises(
            StorageError, match="data: Permission denied; run this as the user of the service"
        ):
            Folder.root(root.path, create=False)


def test_a_replaced_file_is_the_old_or_the_new_one(root, monkeypatch):
    root.replace("file", b"old")
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "power")))
        with pytest.raises(OSError, match="power"):
            root.replace("file", b"new")
    assert root.read("file") == b"old"
    root.replace("file", b"new")
    assert root.read("file") == b"new"


def test_a_directory_knows_that_it_was_removed(root, tmp_path):
    inner = root.sub("inner")
    assert not inner.gone()
    (tmp_path / "data" / "inner").rmdir()
    assert inner.gone()
    inner.close()


def test_only_one_holds_the_leader_lock_and_its_age_is_told(tmp_path):
    now = [100 * 10**9]
    clock = Clock(lambda: now[0], lambda: now[0])
    tree = Tree(str(tmp_path / "data"))
    first, second = LeaderLock(tree.dot), LeaderLock(tree.dot)
    assert beat_age(tree.dot, clock) is None
    assert (first.take(), second.take()) == (True, False)
    first.beat(clock.boot())
    now[0] += 3 * 10**9
    assert beat_age(tree.dot, clock) == 3.0
    assert second.holder() == str(os.getpid())
    first.release()
    assert second.take()
    second.release()
    tree.close()


def test_the_same_damage_is_kept_once(tmp_path):
    tree = Tree(str(tmp_path / "data"))
    assert tree.set_aside("a.torn", b"first")
    assert not tree.set_aside("a.torn", b"second")
    assert tree.quarantine.read("a.torn") == b"first"
    tree.close()


def test_threads_that_list_one_folder_at_once_see_every_name(tmp_path):
    for n in range(500):
        (tmp_path / f"{n:03d}").touch()
    folder = Folder.root(str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: len(folder.names()), range(400)))
    folder.close()
    assert set(found) == {500}


def test_a_removed_folder_has_no_names(tmp_path):
    folder = Folder.root(str(tmp_path / "data"))
    (tmp_path / "data").rmdir()
    assert (folder.gone(), folder.names()) == (True, [])
    folder.close()
