"""The list of deliberate bugs stays true: each text is there, each test exists, each promise has a bug."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import HERE, applied
from tests.mutants.catalog import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_text_is_there_once_and_its_tests_exist(mutant: Mutant) -> None:
    source = (HERE / "otel_gen" / mutant.file).read_text()
    assert applied(mutant, source) != source
    compile(applied(mutant, source), mutant.file, "exec")
    for test in mutant.tests.split():
        path, _, name = test.partition("::")
        assert f"def {name}" in (HERE / path).read_text()


def test_each_promise_has_one_and_no_two_are_the_same() -> None:
    assert {mutant.promise for mutant in MUTANTS} == {f"I{n}" for n in range(1, 14)}
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 15
