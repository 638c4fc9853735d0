"""Attempts count what began earlier, whatever the order in which they are seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_gen.attempts import Attempts

STARTS = st.lists(st.tuples(st.integers(0, 5), st.text("abc", min_size=1, max_size=3)), unique=True)


@given(STARTS, st.randoms())
def test_before_counts_the_earlier_starts_in_any_order_of_arrival(starts: list, random: object) -> None:
    attempts = Attempts()
    shuffled = list(starts)
    random.shuffle(shuffled)
    for start in [*shuffled, *shuffled]:
        attempts.add("task", start)
    assert [attempts.before("task", start) for start in sorted(starts)] == list(range(len(starts)))
    assert attempts.latest_first("task") == [id_ for _, id_ in sorted(starts, reverse=True)]


@given(STARTS)
def test_nothing_is_left_of_a_task_whose_attempts_went(starts: list) -> None:
    attempts = Attempts()
    for start in starts:
        attempts.add("task", start)
    for start in starts:
        attempts.remove("task", start)
    assert attempts.latest_first("task") == []
    assert attempts.before("task", (9, "z")) == 0
