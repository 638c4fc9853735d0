"""The workload holds every awkward kind and the user's own input; only one task is handed out again."""

import base64
from collections import Counter

import pytest

from otel_gen.demo.validators import delay, verdict
from otel_gen.demo.workload import DemoError, plan


def test_forty_tasks_hold_every_kind():
    tasks = plan(40)
    kinds = Counter(task.expected for task in tasks)
    assert len(tasks) == 40
    assert kinds == {"submitted": 28, "withheld": 5, "failed": 5, "interrupted": 1, "cancelled": 1}
    assert {task.reason for task in tasks} >= {
        "oom",
        "connection",
        "bad_image",
        "sparse",
        "similarity_below_threshold",
    }
    assert Counter(task.panel for task in tasks) == {"usual": 38, "late": 1, "invalid": 1}
    assert [task.number for task in tasks] == list(range(40))
    pictures = sum(task.task_type == "IMAGE-TO-3D" for task in tasks)
    assert 6 <= pictures <= 12


def test_only_the_poisoned_task_comes_twice():
    tasks = plan(40)
    (again,) = [task for task in tasks if task.attempt == 2]
    (first,) = [task for task in tasks if task.task_id == again.task_id and task.attempt == 1]
    assert again.prompt == first.prompt
    others = [task.prompt for task in tasks if task is not again]
    assert len(set(others)) == len(others)
    assert len({(task.task_id, task.attempt) for task in tasks}) == 40


def test_two_plans_send_the_same_prompts_under_new_task_ids():
    one, two = plan(40), plan(40)
    assert [task.prompt for task in one] == [task.prompt for task in two]
    assert not {task.task_id for task in one} & {task.task_id for task in two}


def test_the_users_own_input_comes_first_and_may_end_in_any_way(tmp_path):
    image = tmp_path / "mine.gif"
    image.write_bytes(base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"))
    tasks = plan(3, images=[image], prompts=["a thing of mine"])
    assert [task.expected for task in tasks] == [None, None, "withheld"]
    assert [task.task_type for task in tasks[:2]] == ["TEXT-TO-3D", "IMAGE-TO-3D"]
    assert len(plan(1, prompts=["one", "two"])) == 2


def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("not a picture")
    with pytest.raises(DemoError, match=r"words\.txt"):
        plan(3, images=[words])
    with pytest.raises(DemoError, match=r"missing\.png"):
        plan(3, images=[tmp_path / "missing.png"])


def test_validators_accept_about_42_percent_and_never_disclose_less_than_0_6():
    scores = [verdict(number, "usual")["score"] for number in range(2_000)]
    accepted = [score for score in scores if score]
    assert 0.39 < len(accepted) / len(scores) < 0.45
    assert 0.60 <= min(accepted) <= max(accepted) <= 0.93
    assert scores == [verdict(number, "usual")["score"] for number in range(2_000)]


def test_one_validator_fails_and_one_is_late():
    assert verdict(3, "invalid")["validation_failed"] is True
    assert delay(3, "late", 8.0) > 8.0
    assert 0.2 <= delay(3, "usual", 8.0) <= 2.0
