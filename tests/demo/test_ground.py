"""Every run has a fresh folder; what an earlier demo wrote is kept, what is not a demo's is not touched."""

import pytest

from otel_gen.demo.ground import fresh
from otel_gen.demo.workload import DemoError


def test_a_new_folder_is_made_private(tmp_path):
    with fresh(tmp_path / "deep" / "demo") as (folder, aside):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert aside is None


def test_an_empty_folder_is_taken_as_it_is(tmp_path):
    with fresh(tmp_path) as (folder, aside):
        assert (folder, aside) == (tmp_path, None)


def test_earlier_demos_are_kept_under_the_next_free_names(tmp_path):
    for number in range(3):
        with fresh(tmp_path / "demo") as (folder, aside):
            (folder / "which").write_text(str(number))
            assert aside == (tmp_path / f"demo.{number}" if number else None)
    kept = {path.name: (path / "which").read_text() for path in tmp_path.iterdir()}
    assert kept == {"demo": "2", "demo.1": "0", "demo.2": "1"}


def test_a_folder_with_something_else_in_it_is_refused_and_not_touched(tmp_path):
    mine = tmp_path / "generation_history.jsonl"
    mine.write_text("{}\n")
    with pytest.raises(DemoError, match="not a demo's"), fresh(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]


def test_a_folder_that_another_demo_uses_is_refused(tmp_path):
    with fresh(tmp_path / "demo") as (folder, _):
        with pytest.raises(DemoError, match="another demo"), fresh(folder):
            pass
        assert folder.exists()
