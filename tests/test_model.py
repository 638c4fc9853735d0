"""A data_dir against a plain dictionary: any order of work, verdicts, deaths, restarts, time and rotation."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from otel_gen import maintain
from otel_gen import semconv as sc
from otel_gen.readers.verify import verify
from otel_gen.settings import Policy
from tests.crash.numbers import differences
from tests.world import Gen, Worker, World, named_files

TIMEOUT = 600
MONTH = 40 * 86400
TICK = 0.01  # between any two events, whose order decides which verdict is the first
SAID = ("submitted", "withheld", "failed", None)
BODIES = [bytes([n]) * 100 for n in range(3)]


@dataclass
class Known:
    """What the model knows of a generation."""

    gen: Gen
    worker: Worker
    said: str | None = None
    submitted_at: float = 0.0
    ended: bool = False
    stages: list[str] = field(default_factory=list)
    verdicts: list[float] = field(default_factory=list)
    outcome: str | None = None
    """Of its record; None while it has none."""
    body: bytes | None = None
    recorded_at: float = 0.0
    kept: bool = True
    """False where its verdict came when an undecided output had gone."""

    def settle(self, now: float, alive: bool) -> None:
        """Decide as docs/record-format.md says: what was said, a verdict, or a wait that is over."""
        if self.outcome is not None or (alive and not self.ended):
            return
        self.recorded_at = now
        if self.verdicts and (self.said in ("submitted", None) or (not self.ended and self.said is not None)):
            self.outcome = word(self.verdicts[0])
        elif self.said == "submitted":
            self.outcome = "unscored" if now - self.submitted_at >= TIMEOUT else None
        elif not self.ended:
            self.outcome = "interrupted"
        else:
            self.outcome = self.said or "unsubmitted"

    def judge(self, score: float, now: float) -> None:
        """Take a verdict; one that comes after the record changes only what no verdict has decided."""
        self.verdicts.append(score)
        if self.outcome in ("unscored", "unsubmitted", "interrupted"):
            self.outcome = word(score)
            self.kept = now - self.recorded_at < Policy().undecided_keep


def word(score: float) -> str:
    return "accepted" if score > 0 else "rejected"


class Model(RuleBasedStateMachine):
    """Every rule does the same to a data_dir and to a dictionary; `deliver` compares them."""

    gens = Bundle("gens")

    @initialize()
    def begin(self) -> None:
        self.place = tempfile.TemporaryDirectory(prefix="model-")
        self.world = World(Path(self.place.name) / "data")
        self.alive: list[Worker] = []
        self.known: dict[str, Known] = {}

    def tick(self) -> None:
        self.world.now += TICK

    # --- work --------------------------------------------------------------------------------------------
    def worker(self, number: int) -> Worker:
        """One of at most three living processes; dead ones are replaced."""
        while len(self.alive) <= number:
            self.alive.append(self.world.worker(feedback_timeout=TIMEOUT, rejected_sample_rate=0.5))
        return self.alive[number]

    @rule(target=gens, number=st.integers(0, 2), task=st.sampled_from([None, "one", "two"]))
    def start(self, number: int, task: str | None) -> str:
        self.tick()
        worker = self.worker(number)
        gen = worker.start(**({} if task is None else {sc.TASK_ID: task}))
        self.known[gen.id] = Known(gen, worker)
        return gen.id

    @rule(
        target=gens, number=st.integers(0, 2), said=st.sampled_from(SAID), body=st.sampled_from([None, *BODIES]),
        score=st.sampled_from([None, 0.0, 0.7]),
    )  # fmt: skip
    def whole(self, number: int, said: str | None, body: bytes | None, score: float | None) -> str:
        """A generation from its start to its verdict."""
        id_ = self.start(number, None)
        self.stage(id_, "sdxl")
        if body is not None:
            self.output(id_, body)
        self.finish(id_, said, ends=True)
        if score is not None:
            self.feedback(id_, score, number)
        return id_

    def running(self, id_: str) -> Known | None:
        one = self.known[id_]
        return one if not one.ended and one.worker in self.alive else None

    @rule(id_=gens, name=st.sampled_from(["sdxl", "trellis"]))
    def stage(self, id_: str, name: str) -> None:
        if (one := self.running(id_)) is not None:
            one.gen.stage(name, TICK)
            one.stages.append(name)

    @rule(id_=gens, body=st.sampled_from(BODIES))
    def output(self, id_: str, body: bytes) -> None:
        if (one := self.running(id_)) is not None and one.body is None:
            one.gen.staged("ply", body)
            one.body = body

    @rule(id_=gens, said=st.sampled_from(SAID), ends=st.booleans())
    def finish(self, id_: str, said: str | None, ends: bool) -> None:
        if (one := self.running(id_)) is None:
            return
        self.tick()
        if said is not None:
            getattr(one.gen, said)()
            one.said, one.submitted_at = said, self.world.now
        if ends:
            one.gen.end()
            one.ended = True

    @rule(id_=gens, score=st.sampled_from([0.0, 0.7, 0.9]), number=st.integers(0, 2))
    def feedback(self, id_: str, score: float, number: int) -> None:
        """A verdict from whatever process, for a generation that runs, waits or has its record."""
        self.tick()
        one = self.known[id_]
        self.worker(number).feedback(one.gen, score, validator_uid=57)
        one.judge(score, self.world.now)

    # --- what comes between --------------------------------------------------------------------------------
    @rule(number=st.integers(0, 2))
    def kill(self, number: int) -> None:
        if number < len(self.alive):
            self.alive.pop(number).die()

    @rule(seconds=st.sampled_from([1.0, TIMEOUT / 2, TIMEOUT + 1.0, MONTH]))
    def wait(self, seconds: float) -> None:
        self.deliver()  # what comes after the wait shall not be taken for what came before
        self.world.now += seconds
        self.deliver()

    @rule()
    def reopen(self) -> None:
        self.world.restart()

    @rule()
    def rotate(self) -> None:
        self.deliver()
        maintain.rotate(self.world.leader)
        self.compare()

    @rule()
    def fold(self) -> None:
        self.deliver()
        maintain.fold(self.world.leader)
        self.compare()

    # --- the comparison --------------------------------------------------------------------------------------
    @rule()
    def deliver(self) -> None:
        self.tick()
        self.world.step()
        for one in self.known.values():
            one.settle(self.world.now, one.worker in self.alive)
        self.compare()

    def compare(self) -> None:
        records = self.world.records()
        expected = {id_: one for id_, one in self.known.items() if one.outcome is not None}
        assert {id_: record["outcome"] for id_, record in records.items()} == {
            id_: one.outcome for id_, one in expected.items()
        }
        for id_, one in expected.items():
            found = records[id_]["generation"]
            assert [stage["name"] for stage in found["stages"]] == one.stages
            if one.body is not None and one.outcome == "accepted":
                assert bool(list(named_files(records[id_]))) == one.kept, "an accepted output has its file"

    def teardown(self) -> None:
        """At the end all die, all waits are over, and everything is held against everything."""
        for worker in self.alive:
            worker.die()
        self.alive.clear()
        self.wait(TIMEOUT + 1.0)
        self.world.restart()
        assert len(self.world.records()) == len(self.known)
        if self.known:
            assert differences(self.world.path) == {}
        assert verify(self.world.path, self.world.clock).problems == []
        self.world.close()
        self.place.cleanup()


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, print_blob=True,
            suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate, Phase.shrink),
        ),
    )  # fmt: skip


def test_a_data_dir_is_what_a_dictionary_says() -> None:
    run(20, 25)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_data_dir_is_what_a_dictionary_says_for_long() -> None:
    run(600, 60)
