"""Hostile environments: nothing that OpenTelemetry can be told drops, cuts or delays a record."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import AMENDMENTS, differences, lines

ROOT = Path(__file__).parent.parent
TIMES = (
    "timestamp",
    "start",
    "duration_seconds",
    "submission_time",
    "feedback_time",
    "feedback_delay_seconds",
    "stack_trace",
)
IDS = ("generation_id", "trace_id", "span_id", "parent_span_id", "event_id", "checksum", "trace_flags")

ENVIRONMENTS = {
    "sdk": ("sdk", {}),
    "batch": ("batch", {}),
    "always_off": ("sdk", {"OTEL_TRACES_SAMPLER": "always_off"}),
    "ratio": ("sdk", {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}),
    "unsampled remote parent": ("unsampled", {}),
    "attribute count": ("sdk", {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "16", "OTEL_ATTRIBUTE_COUNT_LIMIT": "16"}),
    "attribute length": (
        "sdk",
        {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "32", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "32"},
    ),
    "disabled": ("sdk", {"OTEL_SDK_DISABLED": "true"}),
    "raises in on_start": ("start", {}),
    "raises in on_end": ("end", {}),
    "raises in both": ("both", {}),
    "provider shut down": ("shutdown", {}),
    "provider by variable": ("plain", {"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"}),
    "unknown provider by variable": ("plain", {"OTEL_PYTHON_TRACER_PROVIDER": "no_such_provider"}),
    "unknown context by variable": ("sdk", {"OTEL_PROPAGATORS": "none", "OTEL_TRACES_EXPORTER": "nonsense"}),
    "logfire": ("logfire", {"LOGFIRE_IGNORE_NO_CONFIG": "1"}),
    "logfire always_off": ("logfire", {"OTEL_TRACES_SAMPLER": "always_off"}),
}


def records_under(data_dir, name, variables):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "LOGFIRE_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.scenario", str(data_dir), name],
        cwd=ROOT, env=clean | variables, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [comparable(record) for record in lines(data_dir)], [
        comparable(a) for a in lines(data_dir, AMENDMENTS)
    ]


def comparable(value):
    """A record without ids and times, but with which of them are there."""
    if isinstance(value, dict):
        found = {
            key: value[key] is not None if key in (*TIMES, *IDS) else comparable(value[key]) for key in value
        }
        return {key: sorted(found[key]) if key == "timing" else found[key] for key in found}
    return [comparable(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The records of the scenario with no provider at all."""
    records, amendments = records_under(tmp_path_factory.mktemp("plain") / "data", "plain", {})
    outcomes = sorted(record["outcome"] for record in records)
    assert outcomes == ["accepted", "failed", "rejected", *["unsubmitted"] * 3, "withheld"]
    assert amendments == []
    return records


def in_order(records):
    return sorted(records, key=place)


def place(record):
    generation = record["generation"]
    return record["outcome"], str(generation["attributes"]), [stage["name"] for stage in generation["stages"]]


@pytest.mark.parametrize(("name", "variables"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_the_records_are_the_same(plain, tmp_path, name, variables):
    records, amendments = records_under(tmp_path / "data", name, variables)
    assert differences(in_order(records), in_order(plain)) == []
    assert amendments == []
