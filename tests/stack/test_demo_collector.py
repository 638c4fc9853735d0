"""The demo beside the real Collector: every sampled generation arrives, no content does, the numbers agree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_gen.demo import checks, runner, scrape
from otel_gen.demo.tally import tally
from otel_gen.demo.workload import plan
from tests.support import lines

from . import binaries
from .conftest import need
from .pages import attribute, own, spans
from .servers import Collector, fetch, free_port, running, running_collector, wait_for

COUNT = 20
CLI = (sys.executable, "-m", "otel_gen.cli")
Record = dict[str, Any]
pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


@dataclass
class Played:
    """A demo that is over: its data, the spans that arrived, and the Collector, which still runs."""

    data_dir: Path
    traces: Path
    agent: Collector
    target: str

    @property
    def records(self) -> list[Record]:
        return list(checks.read_all(self.data_dir))

    @property
    def sampled(self) -> list[Record]:
        """All but the one whose worker was killed: the sampler is the SDK's own, which takes everything."""
        ended = [record for record in self.records if record["outcome"] != "interrupted"]
        return [record for record in ended if record["metadata"]["trace_flags"] == 1]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Play it, the service told of the Collector by the variables that every OpenTelemetry SDK knows."""
    home = tmp_path_factory.mktemp("demo")
    target = f"127.0.0.1:{free_port()}"
    with running_collector(need(binaries.collector), home, target) as agent:
        with pytest.MonkeyPatch.context() as user:
            user.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{agent.http_port}")
            user.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            assert runner.run(count=COUNT, data_dir=home / "data", json_output=True) == 0
        there = Played(home / "data", home / "arrived.jsonl", agent, target)
        wanted = _places(there.sampled)
        wait_for(lambda: wanted <= {_place(span) for span in spans(agent.traces)}, "every span on record")
        shutil.copyfile(agent.traces, there.traces)
        yield there


def test_the_generation_spans_in_the_file_are_those_of_all_records_but_the_killed_one(played: Played) -> None:
    assert (len(played.records), len(played.sampled)) == (COUNT, COUNT - 1)
    arrived = [_place(span) for span in _own(played) if span["name"] == "generation"]
    on_record = {place for place in _places(played.sampled) if place[2] == "generation"}
    assert len(arrived) == COUNT - 1
    assert set(arrived) == on_record


def test_the_other_spans_of_otel_gen_are_the_stages_on_record_under_their_generation(played: Played) -> None:
    arrived = [span for span in _own(played) if span["name"] != "generation"]
    on_record = {
        (record["metadata"]["generation_id"], stage["span_id"]): (stage["parent_span_id"], stage["name"])
        for record in played.records
        for stage in record["generation"]["stages"]
    }
    seen = {(_generation(span), span["spanId"]): (span["parentSpanId"], span["name"]) for span in arrived}
    assert len(seen) == len(arrived)
    assert seen.items() <= on_record.items()


def test_no_prompt_hotkey_picture_or_error_text_is_in_the_file(played: Played) -> None:
    written = played.traces.read_text()
    texts = {task.prompt[:60] for task in plan(COUNT)}
    errors = {record["failure_analysis"]["error_message"] for record in played.records} - {None, ""}
    kept = (played.data_dir / checks.HISTORY).read_text()
    assert [text for text in texts | errors if text in kept]  # the records have them
    assert [text for text in texts | errors if text in written] == []
    assert re.findall(r"5Demo|hotkey|service\.py|[A-Za-z0-9+/]{100}", written) == []


def test_replaying_the_file_counts_every_filtered_span_and_makes_no_record(
    played: Played, tmp_path: Path
) -> None:
    there = spans(played.traces)  # FastAPI's among them, where it makes some
    reasons = Counter("filtered" if _generation(span) else "not of otel_gen" for span in there)
    history = (played.data_dir / checks.HISTORY).read_bytes()
    for data_dir in (tmp_path / "empty", played.data_dir):
        command = [*CLI, "replay", str(played.traces), "--data-dir", str(data_dir), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        said = json.loads(done.stdout)
        assert (said["records"], said["spans"], said["skipped"]) == (0, 0, len(there))
        assert said["reasons"] == dict(reasons)
    assert reasons["filtered"] > COUNT
    assert lines(tmp_path / "empty") == []
    assert (played.data_dir / checks.HISTORY).read_bytes() == history


def test_the_collectors_metrics_are_the_counts_over_the_records(played: Played, tmp_path: Path) -> None:
    port = played.target.rpartition(":")[2]
    command = [*CLI, "metrics", "--data-dir", str(played.data_dir), "--port", port]
    shown = f"http://127.0.0.1:{played.agent.prometheus_port}/metrics"
    direct = f"http://{played.target}/metrics"
    with running(command, tmp_path / "metrics.log", ready=direct):
        wait_for(lambda: own(direct).items() <= own(shown).items(), "the same samples from the Collector")
        counted = tally(played.records)
        assert counted["gen3d_records_total", ()] == COUNT
        assert list(scrape.differences(scrape.parse(fetch(shown, "text/plain")), counted)) == []


def _own(played: Played) -> list[Record]:
    """The spans of otel_gen that arrived."""
    return [span for span in spans(played.traces) if _generation(span)]


def _generation(span: Record) -> str:
    """The generation that a span belongs to; empty for a span of somebody else."""
    return attribute(span, "gen3d.generation.id").get("stringValue", "")


def _place(span: Record) -> tuple[str, str, str]:
    return span["traceId"], span["spanId"], span["name"]


def _places(records: list[Record]) -> set[tuple[str, str, str]]:
    """The spans that records stand for: trace, span and name."""
    return {
        (record["metadata"]["trace_id"], one["span_id"], one["name"])
        for record in records
        for one in (record["metadata"] | {"name": "generation"}, *record["generation"]["stages"])
    }
