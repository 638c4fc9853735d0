"""Folding: events of one generation, in whatever pieces they come, become its state."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_gen import semconv as sc
from otel_gen.events import Began, Noted, Span, Started
from otel_gen.fold import Generation


def fold(*events):
    gen = Generation("id", "worker", "boot")
    for event in events:
        gen.apply(event)
    return gen


def start(**attributes):
    return Started("id", 10, 1, "trace", "root", "", 0, attributes)


def note(wall=20, **attributes):
    return Noted("id", wall, 1, attributes)


def root(**attributes):
    return Span("id", "generation", "trace", "root", "", 1, 10, 90, 1, attributes)


def stage(span_id="s1", name="sdxl", **attributes):
    return Span("id", name, "trace", span_id, "root", 1, 20, 30, 1, {sc.STAGE_NAME: name, **attributes})


def began(span_id="s1", name="sdxl"):
    return Began("id", span_id, "root", name, 20)


def test_a_whole_root_span_replaces_what_start_and_notes_said():
    gen = fold(start(a=1), note(b=2), root(c=3))
    assert gen.attributes == {"c": 3}
    assert gen.head.flags == 1


def test_notes_behind_the_root_span_add_to_it():
    assert fold(root(a=1), note(b=2)).attributes == {"a": 1, "b": 2}


def test_the_first_whole_span_stands():
    gen = fold(root(a=1), root(a=2), stage(x=1), stage(x=2))
    assert gen.attributes == {"a": 1}
    assert gen.stages["s1"].attributes["x"] == 1


def test_a_stage_named_generation_is_a_stage():
    gen = fold(start(), stage(name="generation"))
    assert gen.root is None
    assert list(gen.stages) == ["s1"]


def test_a_stage_that_began_is_unended_until_its_span_comes():
    assert [one.name for one in fold(start(), began()).unended()] == ["sdxl"]
    assert fold(start(), began(), stage()).unended() == []


def test_stages_without_a_start_are_no_generation():
    assert not fold(stage()).known
    assert fold(start()).known
    assert fold(root()).known


@given(
    st.permutations(
        [start(a=1, b=1), stage(), stage("s2", "trellis"), began(), began("s3", "validate"), root(a=2)]
    )
)
def test_the_order_of_what_different_threads_said_does_not_matter(events):
    gen = fold(*events)
    assert gen.attributes == {"a": 2}
    assert set(gen.stages) == {"s1", "s2"}
    assert [one.name for one in gen.unended()] == ["validate"]
    assert gen.start == 10
