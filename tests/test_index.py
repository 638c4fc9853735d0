"""The index as a file: transactions are whole, readers see one moment and leave nothing behind."""

from __future__ import annotations

import pytest

from otel_gen import index
from otel_gen.files import Folder
from otel_gen.tables import ArtifactRow, Delivered


@pytest.fixture
def folder(tmp_path):
    made = Folder.root(str(tmp_path / "a #dir?"))
    yield made
    made.close()


@pytest.fixture
def one(folder):
    made = index.create_index(folder)
    index.publish(folder, made)
    yield made
    made.close()


def row(id_, task="t", attempt=1, outcome="unscored", start=0, **more):
    return Delivered(id_, task, attempt, start, outcome, **more)


def test_a_transaction_is_whole_or_nothing(one):
    with pytest.raises(RuntimeError), one.transaction():
        one.add_delivered([row("a")])
        raise RuntimeError
    assert not one.is_delivered("a")
    with one.transaction():
        one.add_delivered([row("a", digest="d")])
    assert one.delivered("a") == row("a", digest="d")


def test_a_reader_sees_one_moment(one, folder):
    reader = index.open_reader(folder)
    reader.db.execute("BEGIN")
    assert reader.delivered("a") is None
    with one.transaction():
        one.add_delivered([row("a")])
    assert reader.delivered("a") is None
    reader.close()
    again = index.open_reader(folder)
    assert again.is_delivered("a")
    again.close()


def test_a_reader_of_an_index_at_rest_makes_no_file(one, folder):
    one.close()
    before = folder.names()
    reader = index.open_reader(folder)
    assert reader.aggregates() == []
    reader.close()
    assert folder.names() == before


def test_a_closed_connection_opens_again_on_use(one):
    one.close()
    assert one.meta("version")


def test_a_new_number_replaces_the_others_once_it_is_published(one, folder):
    one.close()
    second = index.create_index(folder)
    assert index.current_name(folder) == "index-1.db"
    index.publish(folder, second)
    second.close()
    assert index.current_name(folder) == "index-2.db"
    assert folder.names() == ["index", "index-2.db"]


@pytest.mark.parametrize("pointer", [b"", b"../../etc/passwd", b"index-1.db/..", b"\xff\xfe", b"index-x.db"])
def test_a_pointer_that_names_no_index_is_not_followed(folder, pointer):
    folder.replace("index", pointer)
    assert index.current_name(folder) is None
    assert index.open_index(folder) is None
    assert index.open_reader(folder) is None


def test_the_latest_attempt_that_was_submitted_comes_before_those_that_may_have_been(one):
    rows = [
        row("a", start=1, outcome="accepted"), row("b", start=2, outcome="unscored", attempt=2),
        row("c", start=3, outcome="interrupted", attempt=3), row("d", start=4, outcome="withheld", attempt=4),
    ]  # fmt: skip
    with one.transaction():
        one.add_delivered(rows)
    now, by_then = (True, False, False, 3, "c"), (True, True, True, 2, "b")
    assert sorted(one.last_attempts("t", 3)) == [now, by_then]
    assert sorted(one.last_attempts("t", 1)) == [
        (False, False, False, 3, "c"), (False, False, True, 2, "b"), (True, True, True, 1, "a"),
    ]  # fmt: skip
    assert one.attempts("t", 3, "c") == (2, 2, 4)
    assert one.attempt_taken("t", 4)
    assert not one.attempt_taken("t", 5)


def test_a_file_with_two_references_counts_once(one):
    with one.transaction():
        one.add_artifacts([ArtifactRow(id_, "ply", "d", "ply_files/d.ply", 7) for id_ in "ab"])
    assert one.totals() == {"ply": (1, 7)}
    with one.transaction():
        one.drop_artifacts([("a", "ply")])
    assert one.at_path("ply_files/d.ply").id == "b"


def test_outputs_are_overdue_in_the_order_of_their_time(one):
    with one.transaction():
        one.add_artifacts([ArtifactRow(str(due), "ply", "d", f"p{due}", 7, due) for due in (30, 10, 20)])
        one.add_artifacts([ArtifactRow("never", "ply", "d", "p", 7)])
    assert one.next_due() == 10
    assert [found.id for found in one.overdue(20)] == ["10", "20"]
