"""The dashboards: committed as generated, linted, and every query of them answered by a real Prometheus."""

from __future__ import annotations

import copy
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_gen.catalog import METRICS

from . import binaries, lint
from .miner import ENDS, Miner, serving
from .servers import Prometheus, running_prometheus, wait_for

BOARD = json.loads((binaries.ROOT / "grafana" / "dashboards" / "overview.json").read_text())
# Units that the board may use; a name that is not one of Grafana's is shown as text behind the number.
UNITS = {"short", "none", "percentunit", "s", "decbytes"}
NAMES = {f"{m.name}_total" if m.kind == "counter" else m.name for m in METRICS.values()}
# On no panel, for a reason.
UNSHOWN = {"gen3d_build_info": "the version of the plugin explains no panel"}

# Zero where nothing goes wrong, and where nothing is under way at that moment.
UNTROUBLED = {
    "gen3d_capture_errors",
    "gen3d_not_durable",
    "gen3d_shed",
    "gen3d_in_flight",
    "gen3d_oldest_undelivered_seconds",
}

Break = Callable[[dict], object]
BREAKS: dict[str, Break] = {
    "editable": lambda board: board.update(editable=True),
    "refreshes": lambda board: board.update(refresh="5s"),
    "inputs": lambda board: board.update(__inputs=[]),
    "no label": lambda board: board["templating"]["list"][1].pop("label"),
    "not refreshed": lambda board: board["templating"]["list"][1].update(refresh=1),
    "no All": lambda board: board["templating"]["list"][2].update(allValue=""),
    "not unique": lambda board: board["panels"][1].update(id=1),
    "on top of": lambda board: board["panels"][1]["gridPos"].update(x=0),
    "no description": lambda board: board["panels"][0].update(description=""),
    "data source": lambda board: board["panels"][0]["targets"][0].update(datasource={"uid": "prometheus"}),
    "does not know": lambda board: board["panels"][0]["fieldConfig"]["defaults"].update(unit="ratio"),
    "without its n": lambda board: board["panels"][0]["targets"].pop(),
    "without the variables": lambda board: _first(board, "sum(increase(gen3d_records_total[24h]))"),
    "does not name": lambda board: _first(
        board, BOARD["panels"][0]["targets"][0]["expr"].replace("24h", "5m")
    ),
    "outside of increase": lambda board: _first(
        board, 'sum(gen3d_records_total{job=~"$job", instance=~"$instance"})'
    ),
    "an exact le": lambda board: _first(
        board, 'increase(gen3d_clip_score_bucket{job=~"$job", instance=~"$instance", le="0.2"}[24h])'
    ),
}


def _first(board: dict, expr: str) -> None:
    board["panels"][0]["targets"][0]["expr"] = expr


@pytest.mark.skipif(sys.version_info < (3, 11), reason="grafana-foundation-sdk needs Python 3.11 (StrEnum)")
def test_the_committed_dashboard_is_what_the_code_makes() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="the `dashboards` dependency group is not installed")
    command = [sys.executable, "-m", "grafana.generate", "--check"]
    done = subprocess.run(command, cwd=binaries.ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_dashboard_keeps_the_rules() -> None:
    assert lint.faults(BOARD, UNITS) == []


@pytest.mark.parametrize("fault", BREAKS)
def test_the_rules_notice_a_broken_dashboard(fault: str) -> None:
    board = copy.deepcopy(BOARD)
    BREAKS[fault](board)
    assert any(fault in found for found in lint.faults(board, UNITS)), lint.faults(board, UNITS)


def test_every_metric_is_on_the_dashboard_and_no_other() -> None:
    variables = [v["query"] for v in BOARD["templating"]["list"]]
    used = lint.metrics([expr for _, expr in lint.queries(BOARD)] + variables)
    assert used - NAMES == set()
    assert NAMES - used == set(UNSHOWN)


def test_no_traces_or_other_data_are_needed_but_prometheus() -> None:
    assert re.findall(r'"type": "(?!prometheus)\w+", "uid"', json.dumps(BOARD)) == []


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_every_query_returns_data(prometheus: Path, tmp_path: Path) -> None:
    with (
        serving(tmp_path) as (miner, target),
        running_prometheus(prometheus, tmp_path, _config(target)) as server,
    ):
        _live(miner)
        wait_for(lambda: server.query("gen3d_records_total"), "the first scrape")
        for title, expr in lint.queries(BOARD):
            asked = expr.replace("$job", ".*").replace("$instance", ".*")
            wait_for(lambda asked=asked: _live(miner) and _numbers(server, asked), f"{title}: {asked}", 20)
        wait_for(lambda: _unmoved(server) <= UNTROUBLED, "every metric to have moved")


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_panels_with_exemplars_lead_to_traces(prometheus: Path, tmp_path: Path) -> None:
    wanted = {t["expr"] for panel in lint.panels(BOARD) for t in panel["targets"] if t.get("exemplar")}
    assert wanted
    with (
        serving(tmp_path) as (miner, target),
        running_prometheus(prometheus, tmp_path, _config(target)) as server,
    ):
        for expr in wanted:
            asked = expr.replace("$job", ".*").replace("$instance", ".*")
            found = wait_for(
                lambda asked=asked: _live(miner) and server.exemplars(asked), f"exemplars of {asked}"
            )
            assert {labels["trace_id"] for labels in found} <= miner.traces


def _live(miner: Miner) -> bool:
    """Two validators, every kind of end; always true."""
    for uid in (57, 142):
        for end in ENDS:
            miner.generation(uid, end)
    return True


def _unmoved(server: Prometheus) -> set[str]:
    """The metrics that show nothing but zeros."""
    suffix = {"counter": "_total", "histogram": "_count", "gauge": ""}
    shown = {m.name: server.query(f"sum({m.name}{suffix[m.kind]}) > 0") for m in METRICS.values()}
    return {name for name, found in shown.items() if not found}


def _numbers(server: Prometheus, expr: str) -> bool:
    """Whether a query answers, and with a number."""
    answer = server.query(expr)
    return any(not math.isnan(value) for _, value in answer)


def _config(target: str) -> str:
    return f"""
global: {{scrape_interval: 500ms}}
scrape_configs: [{{job_name: otel_gen, static_configs: [{{targets: ["{target}"]}}]}}]
"""
