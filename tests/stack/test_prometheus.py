"""The acceptance page: its rules please both promtools, and a real Prometheus fires it and keeps silent."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import binaries
from .conftest import need
from .miner import Miner, serving
from .servers import Collector, Prometheus, running_collector, running_prometheus, wait_for

HOME = binaries.ROOT / "collector" / "prometheus"
RULES = HOME / "rules" / "acceptance.yml"
CASES = HOME / "tests" / "acceptance.yml"
PAGE, VALIDATOR_PAGE = "OtelGenAcceptanceCollapsed", "OtelGenValidatorRejectsAll"

# The rules with an hour in 15 s and six in 30 s, for tests that do not wait for hours.
FASTER = [("[1h]", "[15s]"), ("[6h]", "[30s]"), ("for: 10m", "for: 2s"), ("interval: 1m", "interval: 1s")]

# Each change makes the page wrong; the unit tests have to notice.
MUTATIONS = [
    ("upper1h < 0.35", "upper1h < 0.10"),
    ("upper1h < 0.35", "upper1h < 0.80"),
    ("upper6h < 0.20", "upper6h < 0.01"),
    ("upper6h < 0.20", "upper6h < 0.70"),
    ("increase1h >= 9.5", "increase1h >= 950"),
    ("increase6h >= 9.5", "increase6h >= 950"),
    ("for: 10m", "for: 12h"),
    ("or instance:gen3d_feedback:increase1h * 0", ""),
    ("or validator:gen3d_feedback:increase6h * 0", ""),
    ('verdict=~"accepted|rejected"', 'verdict=~".+"'),
    ("sum by (job, instance) (", "sum by (job) ("),
    ("severity: page", "severity: ticket"),
]


@pytest.mark.stack
def test_the_configuration_and_the_rules_pass_the_linter(promtool: Path) -> None:
    for what, path in (("config", HOME / "prometheus.yml"), ("rules", RULES)):
        done = _promtool(promtool, "check", what, "--lint=all", "--lint-fatal", str(path))
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.stack
def test_the_unit_tests_of_the_rules_pass(promtool: Path) -> None:
    done = _promtool(promtool, "test", "rules", str(CASES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.stack
@pytest.mark.parametrize(("right", "wrong"), MUTATIONS)
def test_the_unit_tests_of_the_rules_notice_a_wrong_rule(tmp_path: Path, right: str, wrong: str) -> None:
    promtool = need(binaries.promtool)
    assert right in RULES.read_text()
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / RULES.name).write_text(RULES.read_text().replace(right, wrong))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / CASES.name).write_text(CASES.read_text())
    done = _promtool(promtool, "test", "rules", str(tmp_path / "tests" / CASES.name))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED" in done.stdout + done.stderr


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_the_page_fires_for_a_validator_that_rejects_everything(prometheus: Path, tmp_path: Path) -> None:
    with _watched(prometheus, tmp_path) as (miner, server):
        miner.seen(57)
        _answer(miner, server, {57: 0})
        page = wait_for(lambda: _answer(miner, server, {57: 0}) and server.firing(PAGE), PAGE, 90)
        mine = wait_for(
            lambda: _answer(miner, server, {57: 0}) and server.firing(VALIDATOR_PAGE), VALIDATOR_PAGE, 90
        )
    assert [alert["severity"] for alert in page] == ["page"]
    assert [alert["validator_uid"] for alert in mine] == ["57"]


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_the_page_stays_silent_at_45_percent_and_names_the_one_that_rejects(
    prometheus: Path, tmp_path: Path
) -> None:
    shares = {57: 0, 142: 45, 212: 45, 27: 45, 49: 45}
    with _watched(prometheus, tmp_path) as (miner, server):
        for uid in shares:
            miner.seen(uid)
        alone = wait_for(
            lambda: _answer(miner, server, shares) and server.firing(VALIDATOR_PAGE), VALIDATOR_PAGE, 90
        )
        judged = server.query("instance:gen3d_feedback:increase1h")[0][1]
        upper = server.query("instance:gen3d_acceptance:wilson99_upper1h")[0][1]
        assert server.firing(PAGE) == []
        assert {alert["validator_uid"] for alert in alone} == {"57"}
        assert judged >= 10
        assert upper > 0.35


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_no_page_is_even_pending_for_a_validator_at_45_percent(prometheus: Path, tmp_path: Path) -> None:
    with _watched(prometheus, tmp_path) as (miner, server):
        miner.seen(57)
        wait_for(lambda: _answer(miner, server, {57: 45}) and _bound(server), "a recorded bound", 60)
        accepted, judged, upper = _bound(server)
        assert server.query("count_over_time(ALERTS[5m])") == []
    assert accepted / judged == pytest.approx(0.45, abs=0.08)
    assert upper == pytest.approx(_wilson_upper(accepted, judged), rel=1e-4)


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_prometheus_keeps_the_trace_ids_of_slow_generations(prometheus: Path, tmp_path: Path) -> None:
    with _watched(prometheus, tmp_path) as (miner, server):
        miner.generation(57, "accepted")
        found = wait_for(lambda: server.exemplars("gen3d_stage_duration_seconds_bucket"), "exemplars")
    assert {labels["trace_id"] for labels in found} == miner.traces


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_the_committed_configuration_counts_each_generation_once_beside_the_collector(
    prometheus: Path, otelcol: Path, tmp_path: Path
) -> None:
    with serving(tmp_path) as (miner, target), running_collector(otelcol, tmp_path, target) as agent:
        miner.generation(57, "accepted")
        with running_prometheus(prometheus, tmp_path / "tsdb", _committed(target, agent)) as server:
            wait_for(lambda: server.query("gen3d_records_total == 1"), "otel_gen's own metrics")
            wait_for(lambda: server.query('up{job="otelcol"} == 1'), "the Collector's metrics about itself")
            wait_for(
                lambda: _scraped(server, "otelcol_metrics") > 100,
                "the Collector's copy of otel_gen's metrics",
            )
            assert server.query("sum(gen3d_records_total)") == [({}, 1)]
            assert {labels["job"] for labels, _ in server.query('{__name__=~"gen3d_.+"}')} == {"otel_gen"}


def test_each_alert_leads_to_a_runbook_paragraph_and_to_a_dashboard_that_exist() -> None:
    rules = RULES.read_text()
    headings = re.findall(r"^#+ (.+)$", (binaries.ROOT / "docs" / "operate.md").read_text(), re.MULTILINE)
    boards = {
        json.loads(path.read_text())["uid"] for path in (binaries.ROOT / "grafana/dashboards").glob("*.json")
    }
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert alerts == [PAGE, VALIDATOR_PAGE]
    assert re.findall(r"runbook_url: docs/operate\.md#(\w+)", rules) == [alert.lower() for alert in alerts]
    assert set(alerts) <= set(headings)
    assert set(re.findall(r"dashboard_url: \S+/d/(\S+)", rules)) <= boards


@contextmanager
def _watched(binary: Path, home: Path) -> Iterator[tuple[Miner, Prometheus]]:
    """A miner's metrics, scraped twice a second by a Prometheus with the fast copy of the rules."""
    rules = RULES.read_text()
    for slow, fast in FASTER:
        rules = rules.replace(slow, fast)
    (home / "rules.yml").write_text(rules)
    with (
        serving(home) as (miner, target),
        running_prometheus(binary, home / "tsdb", _config(target, home)) as server,
    ):
        yield miner, server


def _config(target: str, home: Path) -> str:
    return f"""
global: {{scrape_interval: 500ms, evaluation_interval: 1s}}
rule_files: [{home / "rules.yml"}]
scrape_configs: [{{job_name: otel_gen, static_configs: [{{targets: ["{target}"]}}]}}]
"""


def _committed(target: str, agent: Collector) -> str:
    """prometheus.yml with the ports of this test, and a pace that does not try patience."""
    text = (HOME / "prometheus.yml").read_text()
    places = {
        "127.0.0.1:9464": target,
        "127.0.0.1:8889": f"127.0.0.1:{agent.prometheus_port}",
        "127.0.0.1:8888": f"127.0.0.1:{agent.self_port}",
        "scrape_interval: 15s": "scrape_interval: 500ms",
        "rules/*.yml": str(HOME / "rules" / "*.yml"),
    }
    for ours, here in places.items():
        assert ours in text
        text = text.replace(ours, here)
    return text


def _scraped(server: Prometheus, job: str) -> float:
    """How many samples the last scrape of a job brought, before any were dropped."""
    answer = server.query(f'scrape_samples_scraped{{job="{job}"}}')
    return answer[0][1] if answer else 0


def _answer(miner: Miner, server: Prometheus, accepted_percent: dict[int, int]) -> bool:
    """Each validator judges four results of otel_gen's; true once Prometheus has seen them."""
    for uid, percent in accepted_percent.items():
        for _ in range(4):
            miner.verdict(uid, "accepted" if miner.made * 37 % 100 < percent else "rejected")
    return bool(server.query("gen3d_feedback_total"))


def _bound(server: Prometheus) -> tuple[float, float, float] | None:
    """Accepted, judged and the bound of the rule, of one evaluation."""
    names = (
        "gen3d_feedback_accepted:increase1h",
        "gen3d_feedback:increase1h",
        "gen3d_acceptance:wilson99_upper1h",
    )
    at = server.query("timestamp(instance:gen3d_acceptance:wilson99_upper1h)")
    values = [server.query(f"instance:{name} @ {at[0][1]:.3f}") for name in names] if at else []
    if not values or not all(values) or values[1][0][1] < 100:
        return None
    return values[0][0][1], values[1][0][1], values[2][0][1]


def _wilson_upper(accepted: float, judged: float, z: float = 2.5758) -> float:
    ratio = accepted / judged
    centre = ratio + z * z / (2 * judged)
    spread = z * math.sqrt(ratio * (1 - ratio) / judged + z * z / (4 * judged * judged))
    return (centre + spread) / (1 + z * z / judged)


def _promtool(binary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(binary), *arguments], capture_output=True, text=True, timeout=100, check=False)
