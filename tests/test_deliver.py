"""Exactly once: a leader dies between any two steps of a delivery, and the next one makes it good."""

from __future__ import annotations

import pytest

from otel_gen.index import Index
from otel_gen.ledger import Ledger
from otel_gen.lines import Lines
from otel_gen.store import Store
from otel_gen.view import View
from tests.world import Crash

STEPS = {
    "segments synced": (View, "sync"),
    "file named": (Store, "keep"),
    "names synced": (Store, "sync"),
    "sample named": (Store, "copy"),
    "lines appended": (Lines, "append"),
    "all lines appended": (Ledger, "append"),
    "rows written": (Ledger, "commit"),
    "staged files removed": (Ledger, "bury"),
    "file removed": (Store, "remove"),
    "numbers written": (Index, "set_cursors"),
    "segments retired": (View, "remove"),
}


def die_at(monkeypatch, step, *, after, nth=1):
    """Let the leader die before or after the nth time of a step."""
    kind, name = STEPS[step]
    real, seen = getattr(kind, name), []

    def dying(self, *args, **kwargs):
        seen.append(name)
        if len(seen) == nth and not after:
            raise Crash
        result = real(self, *args, **kwargs)
        if len(seen) == nth:
            raise Crash
        return result

    monkeypatch.setattr(kind, name, dying)
    return seen


def workload(world):
    """Records of several outcomes with files; then late verdicts of every effect."""
    worker = world.worker(rejected_sample_rate=0.0, feedback_timeout=10.0)
    sampled = world.worker(rejected_sample_rate=1.0, feedback_timeout=10.0)
    late = [worker.start().staged("ply", b"late %d" % n).submitted().end() for n in range(2)]
    late.append(sampled.start().staged("ply", b"late sampled").submitted().end())
    yield late
    world.now += 20
    yield late
    for gen, score in zip(late, (0.9, 0.0, 0.0), strict=True):
        worker.feedback(gen, score, validator_uid=57)
    made = [worker.start().staged("ply", b"one").submitted().end() for _ in range(2)]
    made.append(worker.start().staged("ply", b"two").submitted().end())
    made.append(sampled.start().staged("ply", b"three").withheld().end())
    made.append(worker.start().staged("image", b"\x89PNG", "png").failed().end())
    for gen, score in zip(made, (0.8, 0.0, 0.0), strict=False):
        worker.feedback(gen, score, validator_uid=57)
    sampled.die()
    yield late + made


def told(world, gens):
    """What the files and the index say in the end, ids and times apart."""
    shown = []
    for gen in gens:
        one = gen.record
        output = one["generation"]["output"]
        paths = [output.get(key) for key in ("ply_file_path", "rejected_sample_path")]
        shown.append((one["outcome"], *paths, one["task"]["image_file_path"]))
    files = [world.files(name) for name in ("images", "ply_files", "ply_files/rejected_samples")]
    return shown, files, world.files(".otel_gen/staging"), world.counters()


def run(world):
    gens = []
    for gens in workload(world):  # noqa: B007 - the last ones are wanted
        world.step()
    return gens


def step_again(world):
    """Step; after a crash, look at the worst moment, then let the next leader step."""
    try:
        world.step()
    except Crash:
        world.restart()
        world.check()  # no dangling path and no pair
        world.step()


@pytest.fixture
def expected(tmp_path_factory):
    from tests.world import World

    world = World(tmp_path_factory.mktemp("calm") / "data")
    gens = run(world)
    found = told(world, gens)
    world.close()
    return found


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", sorted(STEPS))
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_crash_anywhere_in_a_delivery_loses_and_repeats_nothing(world, expected, step, after, nth):
    gens = []
    with pytest.MonkeyPatch.context() as patched:
        seen = die_at(patched, step, after=after, nth=nth)
        for gens in workload(world):  # noqa: B007
            step_again(world)
    assert seen, "the step never came"
    world.restart()
    world.step()
    found = told(world, gens)
    assert found[:3] == expected[:3]
    assert found[3] == expected[3]


def test_a_second_recovery_changes_no_byte_and_no_row(world):
    run(world)
    world.restart()
    world.step()
    before = {p: p.read_bytes() for p in world.path.rglob("*") if p.is_file() and ".otel_gen" not in p.parts}
    rows, counters = world.rows(), world.counters()
    world.restart()
    world.step()
    after = {p: p.read_bytes() for p in world.path.rglob("*") if p.is_file() and ".otel_gen" not in p.parts}
    assert (after, world.rows(), world.counters()) == (before, rows, counters)


def test_a_readme_is_written_once_and_never_again(world):
    world.step()
    assert (world.path / "README.md").read_text().startswith("# What is here")
    (world.path / "README.md").write_text("mine")
    world.restart()
    world.step()
    assert (world.path / "README.md").read_text() == "mine"
