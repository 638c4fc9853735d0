"""docs/fastapi.md: its examples run and do what the page says, its tables are those of the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from otel_gen import signing
from otel_gen.integrations.fastapi import instrument
from otel_gen.spool import Spool
from tests.support import lines, python

PAGE = (Path(__file__).parent.parent.parent / "docs" / "fastapi.md").read_text(encoding="utf-8")
ONE_LINE, HANDLER, SIGNED, REMOTE = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
CALL = """
import asyncio, httpx
from tests.integrations.test_instrument import lifespan
async def call():
    async with lifespan(app), httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://service"
    ) as client:
        answer = await client.post("/generate/", data={"prompt": "a red chair"}, headers={"X-Task-Id": "t-1"})
        print(answer.status_code, answer.headers["X-Generation-Id"])
asyncio.run(call())
"""


def run(example, folder):
    here = str(Path(__file__).parent.parent.parent)
    return python(
        f"import os, sys; os.chdir(sys.argv[1])\n{example}",
        folder,
        OTEL_GEN_FEEDBACK_TIMEOUT="0",
        PYTHONPATH=here,
    )


def test_the_one_line_makes_a_record_with_what_the_request_said(tmp_path):
    assert len(ONE_LINE.splitlines()) <= 15
    status, id_ = run(ONE_LINE + CALL, tmp_path).split()
    (record,) = lines(tmp_path / "data")
    assert (status, record["metadata"]["generation_id"], record["outcome"]) == ("200", id_, "unscored")
    assert (record["task"]["prompt"], record["metadata"]["task_id"]) == ("a red chair", "t-1")


def test_the_handler_says_more(tmp_path):
    run(HANDLER + CALL, tmp_path)
    (record,) = lines(tmp_path / "data")
    assert record["outcome"] == "withheld"
    assert record["generation"]["submission"]["rejection_value"] == 0.09
    assert [stage["name"] for stage in record["generation"]["stages"]] == ["trellis"]


def test_what_is_signed_as_shown_is_believed():
    shown = {}
    exec(SIGNED, shown)  # noqa: S102 - our own page
    headers = {name.lower(): value for name, value in shown["headers"].items()}
    assert signing.verify(shown["key"], headers, shown["body"], int(shown["timestamp"])) == shown["nonce"]


def test_what_cannot_be_sent_is_kept(tmp_path):
    assert run(REMOTE, tmp_path) == "True\n"
    spool = Spool(tmp_path / "feedback-spool")
    assert len(spool.waiting()) == 1
    spool.close()


def test_every_option_is_in_the_table_and_no_other():
    table = PAGE.split("## Options")[1].split("## Ending")[0]
    shown = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    keywords = inspect.signature(instrument).parameters.values()
    known = [p.name for p in keywords if p.kind is p.KEYWORD_ONLY]
    assert sorted(shown) == sorted(set(known) - {"registry"})
