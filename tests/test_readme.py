"""README.md: its examples run, its commands exist, and the record it shows is the one its example writes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from otel_gen.cli.app import app
from otel_gen.recover import recover
from tests.support import lines, python

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
SHOWN = json.loads(re.search(r"^```json\n(.*?)^```", README, re.DOTALL | re.MULTILINE)[1])
COMMANDS = re.findall(r"^(?:\s*|.*`)(?:\.venv/bin/)?(otel-gen [a-z][^`#\n]*)", README, re.MULTILINE)
ASKING = [shlex.split(line) for line in COMMANDS if line.strip().endswith(("--data-dir data", "-n 5"))]
VARIES = {
    "generation_id", "timestamp", "trace_id", "sdxl_time", "trellis_time", "total_time",
    "feedback_delay_seconds",
}  # fmt: skip
DOORS = re.findall(
    r"^```(?:python|sh)\n(.*?)^```",
    README.split("## Ways in")[1].split("## Operate")[0],
    re.DOTALL | re.MULTILINE,
)
CALL = """
import asyncio, httpx
from tests.integrations.test_instrument import lifespan
async def call():
    async with lifespan(app), httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://service"
    ) as client:
        answer = await client.post("/generate/", data={"prompt": "a red chair"})
        print(answer.status_code, answer.headers["X-Generation-Id"])
asyncio.run(call())
"""


def run(example, folder, **env):
    """Run one example of the README with a folder of its own as working directory."""
    return python(f"import os, sys; os.chdir(sys.argv[1])\n{example}", folder, **env)


def missing(shown, found, path=""):
    """What a shortened record says that the whole one does not; of what varies only the type counts."""
    if isinstance(shown, dict) and isinstance(found, dict):
        return [
            gap
            for key, value in shown.items()
            for gap in (
                [f"{path}.{key}: {value!r} is of another type"]
                if key in VARIES and type(value) is not type(found.get(key))
                else [] if key in VARIES else missing(value, found.get(key), f"{path}.{key}")
            )
        ]  # fmt: skip
    return [] if shown == found else [f"{path}: {shown!r} is {found!r}"]


def test_there_is_an_example_of_at_most_12_statements_first_and_others_follow():
    assert len(EXAMPLES) == 5
    assert len([line for line in EXAMPLES[0].splitlines() if line.strip()]) <= 12


@pytest.mark.parametrize("door", DOORS)
def test_each_way_in_takes_at_most_15_lines(door):
    assert 0 < len([line for line in door.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_runs(tmp_path, number):
    run(EXAMPLES[number], tmp_path)


def test_the_record_that_is_shown_is_the_one_the_first_example_writes(tmp_path):
    run(EXAMPLES[0], tmp_path)
    (record,) = lines(tmp_path / "data")
    assert missing(SHOWN, record) == []
    assert (tmp_path / "data" / SHOWN["generation"]["output"]["ply_file_path"]).stat().st_size == 85


def test_functions_threads_and_reading_back_work_as_shown(tmp_path):
    out = run(EXAMPLES[1], tmp_path)
    assert re.fullmatch(r"withheld \{'trellis_time': [\d.e-]+, 'total_time': [\d.e-]+\}\n", out)
    (record,) = lines(tmp_path / "data")
    assert record["generation"]["attributes"] == {"gpu": "0"}
    assert record["generation"]["submission"]["rejection_reason"] == "too_few_bytes"


def test_the_service_as_shown_answers_and_records_its_answer(tmp_path):
    env = {"OTEL_GEN_FEEDBACK_TIMEOUT": "0", "PYTHONPATH": str(ROOT)}
    status, id_ = run(EXAMPLES[2] + CALL, tmp_path, **env).split()
    (record,) = lines(tmp_path / "data")
    assert (status, id_) == ("200", record["metadata"]["generation_id"])
    assert [stage["name"] for stage in record["generation"]["stages"]] == ["trellis"]


def test_the_commands_without_a_change_are_those_that_the_page_runs():
    page = (ROOT / "docs" / "zero-code.md").read_text()
    (shown,) = [door for door in DOORS if "opentelemetry-instrument" in door]
    assert f"```sh\n{shown}```" in page  # tests/zerocode/test_page.py runs it


def test_the_calls_of_the_former_logger_record_what_they_say(tmp_path):
    run(EXAMPLES[3], tmp_path)
    recover(str(tmp_path / "data"))
    (record,) = lines(tmp_path / "data")
    assert (record["outcome"], record["validator_feedback"]["score"]) == ("accepted", 0.81)
    assert record["generation"]["timing"]["sdxl_time"] == 2.5


def test_the_miner_answers_for_a_task_of_the_service(tmp_path):
    run(
        "import otel_gen\notel_gen.configure(data_dir='data', registry=None)\n"
        "with otel_gen.generation(task_id='task-1', validator_uid=57) as gen: gen.submitted()\n"
        "otel_gen.shutdown()",
        tmp_path,
    )  # fmt: skip
    run(EXAMPLES[4], tmp_path)
    recover(str(tmp_path / "data"))
    (record,) = lines(tmp_path / "data")
    assert (record["outcome"], record["validator_feedback"]["score"]) == ("accepted", 0.81)
    assert record["validator_feedback"]["average_fidelity_score"] == 0.78


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_that_is_shown_exists_with_its_options(line):
    _, name, *words = shlex.split(line)
    command = typer.main.get_command(app).commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_the_commands_that_ask_say_that_all_is_well_after_the_first_example(tmp_path, monkeypatch):
    run(EXAMPLES[0], tmp_path)
    monkeypatch.chdir(tmp_path)
    asked = [words[1:] for words in ASKING if not {"ID", "OLD_DIR"} & set(words)]
    assert {words[0] for words in asked} == {
        "verify", "stats", "tail", "pending", "recover", "fold", "rotate",
    }  # fmt: skip
    for words in asked:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (words, result.output)


def test_every_make_target_that_is_named_exists():
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert named >= {"demo", "test", "test-all", "bench", "lint"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets


def test_every_file_that_is_named_exists():
    named = re.findall(r"`((?:otel_gen|collector|grafana|docs|tests)/[^` ]*)`", README)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
