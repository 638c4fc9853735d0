"""Known finds who a verdict is for, by reading only what names it."""

from __future__ import annotations

import pytest

from otel_gen import semconv as sc
from otel_gen.files import Folder
from otel_gen.readers.known import Known, find

TASK = 't"\\é\n7'


@pytest.fixture
def root(world):
    folder = Folder.root(str(world.path))
    yield folder
    folder.close()


def test_a_generation_is_found_by_its_id_wherever_else_that_stands(world, root):
    worker = world.worker()
    gen = worker.start(**{sc.VALIDATOR_UID: 57})
    other = worker.start(**{sc.PROMPT: f'again "{gen.id}"', sc.TASK_ID: gen.id})
    gen.submitted()
    assert find(root, gen.id) == Known(True, find(root, gen.id).start, gen.id)
    assert find(root, gen.id).validator_uid == 57
    assert find(root, other.id).submitted is False
    assert find(root, "01a212bb-2303-7ed8-9e74-1ed0ed43a2fb") is None


def test_of_a_tasks_attempts_the_latest_submitted_is_meant(world, root):
    worker = world.worker()
    first = worker.start(**{sc.TASK_ID: TASK}).submitted()
    worker.start(**{sc.TASK_ID: TASK + "7"}).submitted()
    assert find(root, task_id=TASK).id == first.id
    world.now += 1
    second = worker.start(**{sc.TASK_ID: TASK})
    assert find(root, task_id=TASK).id == first.id, "a running attempt was not submitted"
    second.submitted()
    assert find(root, task_id=TASK).id == second.id
    assert find(root, task_id=TASK[:-1]) is None


def test_what_has_a_record_and_has_left_the_journal_is_found_by_both(world, root):
    worker = world.worker()
    gen = worker.start(**{sc.TASK_ID: TASK}).submitted().end()
    worker.feedback(gen, 0.5)
    world.step()
    worker.die()
    world.step()
    assert find(root, gen.id).id == find(root, task_id=TASK).id == gen.id
