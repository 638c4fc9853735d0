"""The view of the journal: each event once, whatever was damaged, and whenever its owner died."""

from __future__ import annotations

import os

from otel_gen import events
from otel_gen.events import Header, Noted
from otel_gen.files import Folder
from otel_gen.journal import Journal
from otel_gen.settings import Policy
from otel_gen.view import View


def numbers(view):
    return [event.attributes["n"] for _, _, event in view.poll() if isinstance(event, Noted)]


def test_what_stands_behind_damage_of_a_rolled_segment_is_read_once_its_owner_is_dead(tmp_path):
    def header(worker):
        return events.encode(Header(worker, "boot", 1, 1, Policy()))

    journal = Journal(lambda: Folder.root(str(tmp_path)), header, full=False, size=4096)
    for n in range(100):
        journal.append(events.encode(Noted(f"g{n}", 1, 1, {"n": n, "x": "x" * 60})))
    path = tmp_path / journal.chain.names[0]
    at = path.read_bytes().index(b'"g5"')
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"?", at)
    folder = Folder.root(str(tmp_path))
    view = View(folder)
    found = numbers(view)
    assert found[:5] == [0, 1, 2, 3, 4]
    assert found[-1] == 99
    assert list(view.damage()) == [], "in a live segment it may still be half visible"
    journal.chain.let_all_go()
    found += numbers(view)
    assert sorted(found) == [n for n in range(100) if n != 5]
    assert [damage.torn for _, damage in view.damage()] == [False]
    assert numbers(view) == []
    view.close()
    folder.close()
