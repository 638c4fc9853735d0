"""Process managers: load, kill -9, restart, SIGTERM; each request that was answered is exactly one record."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from otel_gen.semconv import OUTCOMES
from tests.crash import numbers
from tests.stack import binaries
from tests.stack.conftest import need
from tests.stack.pages import own
from tests.support import lines

from . import managers, node
from .load import CLIENTS, ask, load
from .managers import soon
from .three_d import running_three_d

OTEL_GEN = managers.BIN / "otel-gen"
SOME = 10
BEYOND = 2.5
"""Seconds that a request takes while the service is to stop; pm2 by itself would wait for 1.6."""


@pytest.fixture
def three_d():
    with running_three_d() as running:
        yield running


@pytest.fixture
def home(tmp_path, three_d):
    return managers.Home(tmp_path / "miner", TRELLIS_URL=three_d.url)


SLOW = pytest.param("preloaded", marks=pytest.mark.slow)


@pytest.fixture(params=["uvicorn", "gunicorn", "supervisord", "pm2", SLOW])
def manager(request, home):
    if request.param == "pm2":
        with managers.pm2(home, node.need_pm2()) as running:
            yield running
    else:
        with getattr(managers, request.param)(home) as running:
            yield running


@pytest.mark.crash
@pytest.mark.timeout(300)  # five starts of an interpreter with everything in it, on a machine with other work
def test_under_load_kills_and_restarts_every_answered_request_is_exactly_one_record(manager, three_d):
    home = manager.home
    with load(home.url) as answers:
        soon(lambda: len(answers.ids) >= SOME, "answers")
        before = answers.pids
        manager.kill(answers.acknowledged[-1][1])
        soon(lambda: answers.by(none_of=before) >= SOME, "answers of a new worker after a kill")
        before = answers.pids
        manager.restart()
        soon(lambda: answers.by(none_of=before) >= SOME, "answers after a restart")
    shown_as_written(home, answers)
    with load(home.url) as more, ThreadPoolExecutor() as pool:
        soon(lambda: len(more.ids) >= SOME, "answers before the stop")
        held = pool.submit(ask, home.url, "a held chair")
        assert three_d.holds.wait(30)
        stopped = pool.submit(manager.stop)
        time.sleep(BEYOND)
        three_d.let_go.set()
        stopped.result()
        more.take(held.result())
    home.run(OTEL_GEN, "recover")
    home.run(OTEL_GEN, "verify")
    exactly_one_record_each(home, answers, more)


def shown_as_written(home, answers):
    """At a quiet moment /metrics of whichever worker answers equals the lines."""
    url, kind = f"{home.url}/metrics", "TEXT-TO-3D"

    def quiet():
        written, found = lines(home.data), own(url)
        ids = {record["metadata"]["generation_id"] for record in written}
        counts = (
            found[f'gen3d_generations_started_total{{task_type="{kind}"}}'],
            found["gen3d_records_total{}"],
        )
        return (written, found) if set(answers.ids) <= ids and counts == (len(ids), len(ids)) else None

    written, found = soon(quiet, "a quiet moment")
    outcomes = Counter(record["outcome"] for record in written)
    assert outcomes["unscored"] >= 3 * SOME
    shown = {
        outcome: found[f'gen3d_generations_total{{outcome="{outcome}",task_type="{kind}"}}']
        for outcome in OUTCOMES
    }
    assert shown == {outcome: outcomes[outcome] for outcome in OUTCOMES}
    assert found["gen3d_in_flight{}"] == 0


def exactly_one_record_each(home, *loads):
    """Each answered request has its record, as answered; what was cut off has at most one."""
    records = {record["metadata"]["generation_id"]: record for record in lines(home.data)}
    answered = [id_ for answers in loads for id_ in answers.ids]
    assert [odd for answers in loads for odd in answers.odd] == []
    assert len(set(answered)) == len(answered) >= 4 * SOME
    assert len(lines(home.data)) == len(records)
    assert set(answered) <= records.keys()
    assert {records[id_]["outcome"] for id_ in answered} == {"unscored"}
    cut_off = sum(len(answers.sent) for answers in loads) - len(answered)
    assert len(records) - len(answered) <= cut_off
    # One worker was killed, with at most what these clients had asked for; in order nothing is interrupted.
    assert sum(record["outcome"] == "interrupted" for record in records.values()) <= CLIENTS
    assert numbers.differences(home.data) == {}


@pytest.fixture
def logrotate():
    return need(binaries.logrotate)


def test_logrotate_moves_the_service_s_log_and_the_data_dir_stays(home, logrotate):
    rotate = [logrotate, "--force", "--state", home.path / "state", home.example("logrotate.conf")]
    with managers.supervisord(home) as manager, load(home.url) as answers:
        soon(lambda: len(answers.ids) >= SOME, "answers")
        home.run(*rotate)
        seen = len(answers.ids)
        soon(lambda: len(answers.ids) >= seen + SOME, "answers after the rotation")
        manager.stop()
    assert "POST /generate/" in (home.log / "generation.log.1").read_text()
    assert "POST /generate/" in (home.log / "generation.log").read_text()
    assert not list(home.data.glob("*.1"))
    home.run(OTEL_GEN, "recover")
    assert set(answers.ids) <= {record["metadata"]["generation_id"] for record in lines(home.data)}


def test_a_logrotate_that_moves_the_history_all_the_same_costs_no_record(home, logrotate):
    (home.path / "wrong.conf").write_text(f"{home.data}/*.jsonl {{\n    rotate 9\n    create 0600\n}}\n")
    with managers.uvicorn(home) as manager, load(home.url) as answers:
        for _ in range(2):
            seen = len(answers.ids)
            soon(lambda seen=seen: len(answers.ids) >= seen + SOME, "answers")
            soon(lambda: lines(home.data), "records")
            home.run(logrotate, "--force", "--state", home.path / "state", home.path / "wrong.conf")
        manager.stop()
    home.run(OTEL_GEN, "recover")
    names = sorted(path.name for path in home.data.glob("generation_history.jsonl*"))
    assert len(names) == 3
    ids = [record["metadata"]["generation_id"] for name in names for record in lines(home.data, name)]
    assert len(ids) == len(set(ids))
    assert set(answers.ids) <= set(ids)
    assert len(answers.ids) >= 2 * SOME


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on the PATH")
def test_the_systemd_unit_has_nothing_to_complain_about(home):
    unit = home.example("otel-gen-generation.service")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, ours) == (0, [])
