"""The corpus: all cases, and the process that runs them (python -m tests.bad_input.corpus DATA_DIR)."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

import otel_gen
from tests.bad_input import attributes, clouds, ids, images, prompts, scores
from tests.bad_input.case import Case, Told, run

CASES = {
    case.name: case
    for module in (prompts, images, clouds, scores, ids, attributes)
    for case in module.cases()
}


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def tell(case: Case) -> Told:
    """Run one case; whatever it raises is what the application would have got."""
    value, error, found = case.make(), "", ("", "")
    _forget_peak()
    began = time.process_time()
    try:
        found = run(case, value)
    except BaseException as raised:  # SystemExit of a hostile object included
        error = f"{type(raised).__name__}: {raised!s:.200}"
    seconds = time.process_time() - began
    return Told(case.name, found[0], seconds, _peak(), error, found[1])


def main() -> None:
    """Run every case, shut down, and tell what came of each, then what /metrics said at the end."""
    import numpy  # noqa: F401 - loaded as in a service, so that no case pays for it

    registry = CollectorRegistry()
    otel_gen.configure(
        data_dir=sys.argv[1],
        registry=registry,
        feedback_timeout=0,
        rejected_sample_rate=0,
        durability="process",
    )
    with otel_gen.generation(task_type="IMAGE-TO-3D", image=images.png()) as gen:  # first use of everything
        gen.output(ply=clouds.whole())
        gen.submitted()
    for case in CASES.values():
        print(json.dumps(asdict(tell(case))), flush=True)
    assert otel_gen.shutdown(60), "not delivered"
    otel_gen.configure(data_dir=sys.argv[1], registry=registry)
    print(json.dumps({"metrics": generate_latest(registry).decode()}))
    otel_gen.shutdown()


if __name__ == "__main__":
    main()
