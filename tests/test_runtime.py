"""Runtime: configure and shutdown, as often as one likes, in any order."""

from __future__ import annotations

import logging
import re
import threading
import time

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

import otel_gen
from otel_gen.errors import SettingsError
from otel_gen.leading import LeaderThread
from otel_gen.process import serve
from otel_gen.tree import LeaderLock, Tree
from tests.support import lines, python, settled, the_record, until


def one(**keywords):
    with otel_gen.generation(**keywords) as gen:
        gen.withheld("x")
    return gen


def test_the_same_settings_again_are_a_no_op_and_others_change_nothing(data_dir):
    first = otel_gen.configure(data_dir=data_dir, registry=None, miner_uid=1)
    assert otel_gen.configure(data_dir=str(data_dir), registry=None, miner_uid="1") == first
    with pytest.raises(SettingsError, match="another miner_uid"):
        otel_gen.configure(data_dir=data_dir, registry=None, miner_uid=2)
    with pytest.raises(SettingsError, match="did you mean 'miner_uid'"):
        otel_gen.configure(data_dir=data_dir, registry=None, miner_id=1)
    one()
    assert the_record(data_dir)["metadata"]["miner_uid"] == 1


def test_a_wrong_setting_configures_nothing(data_dir):
    with pytest.raises(SettingsError):
        otel_gen.configure(data_dir=data_dir, registry=None, deadline="soon")
    with otel_gen.generation() as gen:
        assert gen.id == ""


def test_after_shutdown_calls_are_no_ops_until_configure_starts_anew(data_dir, tmp_path):
    otel_gen.configure(data_dir=data_dir, registry=None)
    before = one()
    open_block = otel_gen.generation()
    left = open_block.__enter__()
    stage = left.stage("open")
    stage.__enter__()
    assert otel_gen.shutdown() is True
    stage.__exit__(None, None, None)
    left.submitted()
    left.output(ply=b"late")
    with left.stage("late"):
        pass
    open_block.__exit__(None, None, None)
    assert otel_gen.current_generation() is None
    assert one().id == ""
    assert not otel_gen.feedback(before.id, score=1)
    assert otel_gen.shutdown() is True
    assert {r["metadata"]["generation_id"]: r["outcome"] for r in lines(data_dir)} == {
        before.id: "withheld", left.id: "interrupted",
    }  # fmt: skip
    otel_gen.configure(data_dir=tmp_path / "other", registry=None)
    after = one()
    assert list(settled(tmp_path / "other")) == [after.id]
    assert len(lines(data_dir)) == 2


def test_what_awaits_feedback_stays_in_the_journal_and_is_no_reason_to_say_no(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None)
    with otel_gen.generation() as gen:
        gen.submitted()
    assert otel_gen.shutdown() is True
    assert lines(data_dir) == []
    otel_gen.configure(data_dir=data_dir, registry=None)
    assert otel_gen.feedback(gen.id, score=0.5)
    assert the_record(data_dir)["outcome"] == "accepted"


def test_nothing_is_touched_before_the_first_event(configured):
    assert otel_gen.shutdown() is True
    assert not configured.exists()


LEFT = """
import os, sys, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0)
block = otel_gen.generation(task_type="TEXT-TO-3D"); block.__enter__()
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def left(data_dir):
    """The data_dir of a process that was killed in a generation, and nobody delivers."""
    with pytest.raises(AssertionError):
        python(LEFT, data_dir)
    assert lines(data_dir) == []
    return data_dir


def test_a_scrape_alone_sees_to_what_a_killed_process_left(left):
    registry = CollectorRegistry()
    otel_gen.configure(data_dir=left, registry=registry, feedback_timeout=0)
    assert threading.active_count() == 1
    shown = b'gen3d_generations_total{outcome="interrupted",task_type="TEXT-TO-3D"} 1.0'
    until(lambda: shown in generate_latest(registry), 10)
    assert the_record(left)["outcome"] == "interrupted"


def test_a_service_that_waits_makes_no_file_and_takes_over_what_another_one_begins(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    serve()
    time.sleep(0.3)
    assert not data_dir.exists()
    with pytest.raises(AssertionError):
        python(LEFT, data_dir)
    until(lambda: lines(data_dir), 5)
    assert the_record(data_dir)["outcome"] == "interrupted"


def test_the_first_event_of_a_service_that_waits_does_not_wait_for_its_next_look(data_dir, monkeypatch):
    monkeypatch.setattr(LeaderThread, "TRY", 3600)
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    serve()
    time.sleep(0.1)
    one()
    until(lambda: lines(data_dir))


def test_the_end_of_a_service_without_work_waits_for_nobody(left):
    otel_gen.configure(data_dir=left, registry=None)
    serve()
    until(lambda: lines(left))
    began = time.monotonic()
    assert otel_gen.shutdown() is True
    assert time.monotonic() - began < 5
    assert threading.active_count() == 1


def test_variables_alone_configure_nothing(tmp_path):
    code = """
import otel_gen, threading
with otel_gen.generation() as gen: assert gen.id == ""
assert threading.active_count() == 1
otel_gen.configure(registry=None)
with otel_gen.generation() as gen: assert gen.id
"""
    python(code, OTEL_GEN_DATA_DIR=str(tmp_path / "data"), OTEL_GEN_MINER_UID="5")
    (record,) = lines(tmp_path / "data")
    assert record["metadata"]["miner_uid"] == 5


def test_an_application_that_is_not_configured_imports_neither_sqlite_nor_the_leader():
    code = """
import sys, otel_gen
otel_gen.generation, otel_gen.stage, otel_gen.current_generation
with otel_gen.generation() as gen, gen.stage("a"): pass
heavy = {"sqlite3", "numpy", "prometheus_client", "otel_gen.leader", "fastapi"}
print(sorted(heavy & sys.modules.keys()))
"""
    assert python(code).strip() == "[]"


def test_a_registry_shows_the_metrics_and_twice_is_harmless(data_dir):
    registry = CollectorRegistry()
    for _ in range(2):
        otel_gen.configure(data_dir=data_dir, registry=registry)
    one(task_type="TEXT-TO-3D")
    until(lambda: b'gen3d_withheld_total{reason="x"} 1.0' in generate_latest(registry))
    assert b"gen3d_generations_total" not in generate_latest(CollectorRegistry())
    otel_gen.shutdown()
    otel_gen.configure(data_dir=data_dir, registry=registry)
    until(lambda: b'gen3d_withheld_total{reason="x"} 1.0' in generate_latest(registry))


def test_the_default_registry_is_prometheus_clients(data_dir):
    otel_gen.configure(data_dir=data_dir)
    otel_gen.configure(data_dir=data_dir, registry=CollectorRegistry())
    assert b"gen3d_generations_total" in generate_latest(REGISTRY)
    registry = CollectorRegistry()
    registry.register(otel_gen.collector())
    assert b"gen3d_generations_total" in generate_latest(registry)


def test_a_data_dir_that_cannot_be_made_breaks_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    otel_gen.configure(data_dir=tmp_path / "file" / "data", registry=None, deadline=0.05)
    with otel_gen.generation() as gen:
        with gen.stage("a"):
            pass
        gen.output(ply=b"x")
        gen.submitted()
    assert not gen.durable
    result = otel_gen.feedback(gen.id, score=1)
    assert (bool(result), result.reason) == (False, "not durable yet")
    assert otel_gen.shutdown(timeout=0.5) is False
    assert not [r for r in caplog.records if r.levelno >= logging.CRITICAL]


def test_what_cannot_be_written_is_said_to_be_lost_and_not_to_be_kept(tmp_path, caplog):
    (tmp_path / "file").touch()
    otel_gen.configure(data_dir=tmp_path / "file" / "data", registry=None)
    one()
    with caplog.at_level(logging.WARNING, "otel_gen"):
        assert otel_gen.shutdown(1.0) is False
    said = [r.getMessage() for r in caplog.records if "data: " in r.getMessage()][-1]
    assert re.search(r"file/data: [\d,]+ bytes of events could not be written and are lost; make room", said)
    assert "keeps" not in said


def test_what_is_not_delivered_in_time_is_said_to_be_kept(data_dir, caplog):
    tree = Tree(str(data_dir))
    lock = LeaderLock(tree.dot)
    assert lock.take()
    otel_gen.configure(data_dir=data_dir, registry=None)
    one()
    with caplog.at_level(logging.WARNING, "otel_gen"):
        assert otel_gen.shutdown(0.3) is False
    lock.release()
    tree.close()
    (said,) = (r.getMessage() for r in caplog.records)
    assert f"{data_dir}: not everything is delivered; the journal keeps it" in said
    assert f"otel-gen recover --data-dir {data_dir}" in said


def test_an_index_that_cannot_be_read_is_no_reason_for_shutdown_to_raise(configured):
    tree = Tree(str(configured))
    tree.dot.replace("index", b"index-1.db")
    tree.dot.replace("index-1.db", b"no database" * 1000)
    lock = LeaderLock(tree.dot)
    assert lock.take()  # somebody else delivers, and only its index could say what
    one()
    assert otel_gen.shutdown(timeout=0.3) is False
    lock.release()
    tree.close()


def test_variables_that_ask_for_otlp_without_the_package_are_no_reason_to_fail(tmp_path):
    code = """
import sys
sys.modules["opentelemetry.exporter.otlp.proto.grpc.trace_exporter"] = None
import otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None)
with otel_gen.generation() as gen: assert gen.id
otel_gen.shutdown()
try: otel_gen.configure(data_dir=sys.argv[1], registry=None, otlp=True)
except otel_gen.OtelGenError as error: print(error)
"""
    said = python(code, tmp_path / "data", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert "pip install 'otel-gen[otlp]'" in said
    assert len(lines(tmp_path / "data")) == 1


def test_a_registry_that_is_none_is_refused_before_anything_is_configured(data_dir):
    with pytest.raises(SettingsError, match=r"configure\(registry=...\): 'nope' is not a prometheus_client"):
        otel_gen.configure(data_dir=data_dir, registry="nope")
    with otel_gen.generation():
        assert otel_gen.current_generation() is None
    assert not data_dir.exists()
