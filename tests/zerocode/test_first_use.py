"""What stands ready to configure does so once, with whoever is first; the others wait for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import otel_gen
from otel_gen import install
from tests.support import settled, the_record

THREADS = 8


@pytest.fixture
def ready(data_dir):
    """Configuring stands ready; gives how often it was done."""
    done = []

    def configure():
        done.append(threading.get_ident())
        otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)

    install.on_first_use(configure)
    yield done
    install.install(None)


def test_nothing_is_made_before_the_first_use(ready, data_dir):
    assert not data_dir.exists()
    assert ready == []


def test_of_several_at_once_one_configures_and_all_are_recorded(ready, data_dir):
    barrier = threading.Barrier(THREADS)

    def work(_):
        barrier.wait()
        with otel_gen.generation() as gen:
            return gen.id

    with ThreadPoolExecutor(THREADS) as pool:
        ids = set(pool.map(work, range(THREADS)))
    assert len(ready) == 1
    assert settled(data_dir).keys() == ids


def test_a_verdict_is_a_use_too(ready):
    assert otel_gen.feedback("0198f2d0-0000-7000-8000-000000000000", score=0.5)
    assert len(ready) == 1


def test_who_configures_before_keeps_the_word(ready, data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0, miner_uid=5)
    with otel_gen.generation():
        pass
    assert the_record(data_dir)["metadata"]["miner_uid"] == 5
    assert ready == []


def test_after_shutdown_it_is_over(ready):
    otel_gen.shutdown()
    with otel_gen.generation() as gen:
        assert gen.id == ""
    assert ready == []
