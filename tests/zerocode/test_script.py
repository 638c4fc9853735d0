"""A script that is run itself has no import to wait for: what can be is wrapped before it is called."""

from __future__ import annotations

import os
import subprocess

import pytest

import otel_gen
from tests.zerocode.world import BIN, mapped

SCRIPT = """
import asyncio, sys

asyncio.run(asyncio.sleep(0))

def step(x):
    return x + 1

def generate(x):
    return b"p" * step(x)

async def main():
    assert generate(4) == b"ppppp"

if __name__ == "__main__":
    {run}
    print("ran")
"""


SETTINGS = """
[settings]
miner_uid = 226
network = "mainnet"
"""


def run(tmp_path, how, *command, **environ):
    (tmp_path / "worker.py").write_text(SCRIPT.replace("{run}", how))
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(mapped("worker", "generate", ["step"], SETTINGS))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    known = {
        "OTEL_GEN_MAPPING": str(mapping), "OTEL_GEN_DATA_DIR": str(tmp_path / "data"), "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", "OTEL_GEN_FEEDBACK_TIMEOUT": "0",
        "OTEL_GEN_DISK_FREE_ALERT_RATIO": "0",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi,httpx",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    return subprocess.run(
        ["opentelemetry-instrument", "python", *command], cwd=tmp_path, capture_output=True, text=True,
        timeout=60, check=False, env=clean | known | environ, executable=BIN / "opentelemetry-instrument",
    )  # fmt: skip


@pytest.mark.parametrize("command", [["worker.py"], ["-m", "worker"]], ids=["by its file", "by its name"])
def test_a_worker_s_event_loop_is_in_time(tmp_path, command):
    done = run(tmp_path, "asyncio.run(main())", *command, OTEL_GEN_NETWORK="testnet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
    (record,) = otel_gen.read(tmp_path / "data")
    assert [stage["name"] for stage in record["generation"]["stages"]] == ["step"]
    assert record["outcome"] == "unscored"
    assert (record["metadata"]["miner_uid"], record["metadata"]["network"]) == (226, "testnet")


def test_what_is_called_before_is_told_at_the_end_and_does_what_it_did(tmp_path):
    done = run(tmp_path, "generate(1)", "worker.py")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.count("move it into a module that the script imports") == 1
    assert "worker:generate, worker:step" in done.stderr
    assert not (tmp_path / "data").exists()


def test_variables_alone_configure_with_the_first_generation(tmp_path):
    code = (
        "import otel_gen\nwith otel_gen.generation(prompt='a chair') as gen:\n"
        "    assert gen.durable\nprint(otel_gen.feedback(gen.id, score=0.7).reason)"
    )
    done = run(tmp_path, "pass", "-c", code, OTEL_GEN_MAPPING="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
    (record,) = otel_gen.read(tmp_path / "data")
    assert record["outcome"] == "accepted"


def test_an_application_that_configures_itself_keeps_the_word(tmp_path):
    code = (
        f"import otel_gen\notel_gen.configure(data_dir={str(tmp_path / 'own')!r}, miner_uid=5)\n"
        "with otel_gen.generation(prompt='a chair'): pass"
    )
    done = run(tmp_path, "pass", "-c", code, OTEL_GEN_MAPPING="")
    assert (done.returncode, done.stderr) == (0, "")
    (record,) = otel_gen.read(tmp_path / "own")
    assert record["metadata"]["miner_uid"] == 5
    assert not (tmp_path / "data").exists()


def test_a_wrong_variable_is_told_and_the_program_runs(tmp_path):
    code = "import otel_gen\nwith otel_gen.generation() as gen: print(repr(gen.id))"
    done = run(tmp_path, "pass", "-c", code, OTEL_GEN_MAPPING="", OTEL_GEN_DURABILITY="half")
    assert (done.returncode, done.stdout) == (0, "''\n")
    assert done.stderr.count("OTEL_GEN_DURABILITY: 'half' is not") == 1


def test_a_tool_that_the_service_starts_is_left_alone(tmp_path):
    done = run(tmp_path, "pass", "-c", "print('a tool')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a tool\n", "")
    assert not (tmp_path / "data").exists()
