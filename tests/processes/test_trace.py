"""One trace over three real processes, seen at a real OTLP endpoint, and one record with the verdict."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import pytest

import otel_gen
from tests.stack import binaries
from tests.stack.conftest import need
from tests.stack.servers import free_port, running, running_collector, wait_for
from tests.support import lines

from .otlp import in_file, running_sink

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SERVICES = {"miner", "service", "three_d"}


class Three:
    """The 3D service and the generation service as processes; the miner is a process at each call."""

    def __init__(self, stack, endpoint, home):
        self.data_dir = home / "data"
        self.home = home
        self._common = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        self.three_d = self._serve(stack, "three_d")
        self.service = self._serve(
            stack, "service", TRELLIS_URL=self.three_d, OTEL_GEN_DATA_DIR=str(self.data_dir),
            OTEL_GEN_FEEDBACK_TIMEOUT="30",
        )  # fmt: skip

    def _serve(self, stack, name, **variables):
        url = f"http://127.0.0.1:{(port := free_port())}"
        command = [sys.executable, "-m", "uvicorn", f"{name}:app", "--port", str(port)]
        stack.enter_context(
            running(
                command, self.home / f"{name}.log", ready=f"{url}/health", cwd=EXAMPLES,
                variables=self._common | {"OTEL_SERVICE_NAME": name, **variables},
            )
        )  # fmt: skip
        return url

    def mine(self, *arguments):
        """Run the miner for one task; gives what it said of the generation."""
        named = {"OTEL_SERVICE_NAME": "miner", "SERVICE_URL": self.service}
        done = subprocess.run(
            [sys.executable, EXAMPLES / "miner.py", *arguments], capture_output=True, text=True, timeout=60,
            env=self._common | named | {"OTEL_GEN_DATA_DIR": str(self.data_dir)}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def records(self):
        return {record["metadata"]["generation_id"]: record for record in otel_gen.read(self.data_dir)}


@pytest.fixture(params=["sink", pytest.param("collector", marks=pytest.mark.stack)])
def endpoint(request, tmp_path):
    """An OTLP endpoint: its address, and a function that gives the spans it has taken."""
    if request.param == "sink":
        with running_sink() as sink:
            yield sink.url, sink.spans
    else:
        with running_collector(need(binaries.collector), tmp_path, "127.0.0.1:1") as agent:
            yield f"http://127.0.0.1:{agent.http_port}", lambda: in_file(agent.traces)


def test_one_trace_leads_from_the_miner_to_the_3d_service_and_into_one_record(endpoint, tmp_path):
    address, seen = endpoint
    with ExitStack() as stack:
        three = Three(stack, address, tmp_path)
        kept_back = three.mine("task-1", "chair")
        by_task = three.mine("task-1", "a red chair", "--by-task")
        by_id = three.mine("task-2", "a blue chair")
        wait_for(lambda: len(three.records()) == 3, "three records")
        traces = {r["metadata"]["trace_id"] for r in three.records().values()}
        whole = {("three_d", "gaussians", trace) for trace in traces}
        wait_for(lambda: whole <= {(s.service, s.name, s.trace) for s in seen()}, "the spans of all services")
        wait_for(lambda: sum(s.name == "generation" for s in seen()) == 3, "the spans of the generations")
    assert [said[0] for said in (kept_back, by_task, by_id)] == ["withheld", "durable", "durable"]
    records = three.records()
    assert set(records) == {said[1] for said in (kept_back, by_task, by_id)}
    assert len(lines(three.data_dir)) == 3
    assert records[kept_back[1]]["outcome"] == "withheld"
    for (_, id_), attempt in ((by_task, 2), (by_id, 1)):
        judged(records[id_], attempt)
    for record in records.values():
        connected(record, seen())


def judged(record, attempt):
    """The record holds the validator, its score and the whole of its answer."""
    feedback = record["validator_feedback"]
    assert (record["outcome"], record["metadata"]["attempt"]) == ("accepted", attempt)
    assert (record["metadata"]["validator_uid"], feedback["validator_uid"]) == (57, 57)
    assert (feedback["score"], feedback["average_fidelity_score"]) == (0.81, 0.74)
    assert feedback["current_duel_rating"] == 1512
    assert feedback["cooldown_until"] > 0


def connected(record, spans):
    """The spans of a record's trace, one in the other, from the miner's to the 3D service's innermost."""
    mine = [span for span in spans if span.trace == record["metadata"]["trace_id"]]
    assert {span.service for span in mine} == SERVICES
    above = {span.id: span for span in mine}
    (span,) = [span for span in mine if span.name == "gaussians"]
    chain = [span]
    while chain[-1].parent:
        chain.append(above[chain[-1].parent])
    chain.reverse()  # newer versions of FastAPI add spans of their own in between
    assert [service for service, _ in groupby(span.service for span in chain)] == [
        "miner", "service", "three_d",
    ]  # fmt: skip
    names = [span.name for span in chain]
    assert (names[0], names[-1]) == ("task", "gaussians")
    root, stage = names.index("generation"), names.index("trellis")
    assert stage == root + 1
    assert chain[root].id == record["metadata"]["span_id"]
    (asked,) = [span for span in chain if "generation.id" in span.attributes]
    assert asked.service == "three_d"
    assert asked.attributes["generation.id"] == record["metadata"]["generation_id"]
