"""Planted files are refused by name, forged verdicts change nothing, paths in lines lead nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import uuid

import pytest

import otel_gen
from otel_gen import semconv as sc
from otel_gen.checked import feedback
from otel_gen.errors import OtelGenError, UnknownGenerationError, WrongValidatorError
from otel_gen.readers.verify import verify
from otel_gen.record import seal
from otel_gen.recover import recover
from tests.support import lines
from tests.world import World

HISTORY, AMENDMENTS = "generation_history.jsonl", "generation_amendments.jsonl"
UNKNOWN = "0198c0de-0000-7000-8000-0123456789ab"


# --- planted files -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A data_dir with every kind of file in it, and a generation that waits for a recovery."""
    before = os.umask(0o077)
    world = World(tmp_path_factory.mktemp("whole") / "data")
    worker = world.worker(feedback_timeout=0.0)
    config = {sc.MINER_CONFIG: '{"steps":4}', sc.MINER_CONFIG_HASH: f"sha256:{'0' * 64}"}
    gens = [
        worker.start(**config).staged("image", b"png", "png").staged("ply", b"ply").submitted().end()
        for _ in range(3)
    ]
    worker.die()
    world.step()
    other = world.worker(feedback_timeout=0.0)
    other.feedback(gens[0], 0.5)
    other.feedback(None, 0.5, id=UNKNOWN)
    world.step(later=100)
    other.start().withheld().end()
    other.die()
    world.close()
    os.umask(before)
    return world.path


FILES = [
    HISTORY, AMENDMENTS, "miner_config_history.jsonl", "README.md", "images", "ply_files",
    "ply_files/rejected_samples", "archive", "generation_history_2026-01.jsonl",
    f".{HISTORY}.new", ".otel_gen", ".otel_gen/index", ".otel_gen/index-1.db", ".otel_gen/index-1.db-wal",
    ".otel_gen/index-2.db", ".otel_gen/.index.tmp", ".otel_gen/totals.jsonl", ".otel_gen/intent.json",
    ".otel_gen/deleting.json", ".otel_gen/leader.lock", ".otel_gen/commands", ".otel_gen/staging",
    ".otel_gen/segments", ".otel_gen/segments/x.seg", ".otel_gen/segments/x.seg.spare",
    ".otel_gen/quarantine", ".otel_gen/quarantine/aside.jsonl", "images/0000000000000000.png",
]  # fmt: skip
PLANTS = {
    "symlink": lambda path, outside: path.symlink_to(outside / "file"),
    "symlink to a directory": lambda path, outside: path.symlink_to(outside),
    "symlink to nothing": lambda path, outside: path.symlink_to(outside / "nothing"),
    "fifo": lambda path, _: os.mkfifo(path),
    "hard link": lambda path, outside: os.link(outside / "file", path),
}


def said(action, data_dir):
    """What a command says: nothing, or an error of otel_gen; any other exception is a defect."""
    try:
        action(str(data_dir))
    except OtelGenError as error:
        return str(error)
    return ""


RARER = ("symlink to a directory", "symlink to nothing")


@pytest.mark.parametrize(
    "plant", [pytest.param(one, marks=[pytest.mark.slow] if one in RARER else []) for one in PLANTS]
)
@pytest.mark.parametrize("name", FILES)
def test_what_is_planted_is_refused_by_name_or_passed_over_and_nothing_outside_changes(
    whole, tmp_path, name, plant
):
    data_dir, outside = tmp_path / "data", tmp_path / "outside"
    shutil.copytree(whole, data_dir)
    outside.mkdir()
    (outside / "file").write_text("mine\n")
    (outside / "file").chmod(0o644)
    place = data_dir / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    PLANTS[plant](place, outside)
    for action in (lambda path: recover(path, today={}), verify, lambda path: list(otel_gen.read(path))):
        error = said(action, data_dir)
        assert not error or name.split("/")[-1] in error, error
    assert os.listdir(outside) == ["file"]
    assert (outside / "file").read_text() == "mine\n"
    assert (outside / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("plant", PLANTS)
def test_a_service_goes_on_beside_what_is_planted_and_says_so_once_it_is_gone(
    data_dir, tmp_path, plant, caplog
):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine\n")
    data_dir.mkdir()
    PLANTS[plant](data_dir / HISTORY, outside)
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=0)
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="a chair") as gen:
        gen.submitted()
    assert gen.durable
    assert not otel_gen.shutdown(0.5)
    assert f"{HISTORY}: " in caplog.text
    (data_dir / HISTORY).unlink()
    assert recover(str(data_dir), today={}).records == 1
    assert (outside / "file").read_text() == "mine\n"


def test_a_path_in_a_line_that_leads_out_removes_nothing_there(world, tmp_path):
    victim = tmp_path / "victim.ply"
    victim.write_text("mine")
    worker = world.worker(feedback_timeout=0.0)
    worker.start().staged("ply", b"ply").submitted().end()
    worker.die()
    world.step()
    world.restart()
    (record,) = world.lines()
    record["generation"]["output"]["ply_file_path"] = "ply_files/../../victim.ply"
    (world.path / HISTORY).write_bytes(seal({k: v for k, v in record.items() if k != "checksum"}))
    (world.path / ".otel_gen" / "index").unlink()
    world.leader.step()
    world.now += 10 * 86_400
    world.leader.step()
    assert victim.read_text() == "mine"


SERVICE = """
import sys, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0, rejected_sample_rate=1)
for n in range(30):
    png = b"\\x89PNG\\r\\n\\x1a\\n" + bytes([n])
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="x", image=png, config={"n": n}) as gen:
        gen.output(ply=b"ply %d" % n)
        gen.submitted()
        otel_gen.feedback(gen.id, score=n % 2)
    otel_gen.feedback("0198c0de-0000-7000-8000-0123456789ab", score=1)
    print(n, flush=True)
    sys.stdin.readline()
otel_gen.shutdown()
"""


def test_everything_is_its_owners_alone_while_it_is_written_under_umask_0(tmp_path):
    data_dir, seen = tmp_path / "data", set()
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE, data_dir],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        umask=0,
    ) as service:
        while service.stdout.readline():
            for path in (data_dir, *data_dir.rglob("*")):
                try:
                    mode = path.lstat().st_mode
                except FileNotFoundError:
                    continue  # moved on
                assert mode & 0o777 == (0o700 if stat.S_ISDIR(mode) else 0o600), path
                seen.add(path.relative_to(data_dir).parts[:2])
            service.stdin.write("\n")
            service.stdin.flush()
        assert service.wait(30) == 0
    assert {(".otel_gen", "segments"), (".otel_gen", "staging"), ("images",), (HISTORY,)} <= seen


# --- forged verdicts ---------------------------------------------------------------------------------------
@pytest.fixture
def scored(data_dir):
    """A data_dir with one accepted generation and one that waits for its verdict; the ids of both."""
    otel_gen.configure(data_dir=data_dir, registry=None, rejected_sample_rate=0)
    made = []
    for n in range(2):
        with otel_gen.generation(
            task_type="TEXT-TO-3D", prompt=f"chair {n}", task_id=f"task-{n}", validator_uid=57
        ) as gen:
            gen.output(ply=b"ply %d" % n)
            gen.submitted()
        made.append(gen.id)
    assert otel_gen.feedback(made[0], score=0.8, validator_uid=57)
    assert otel_gen.shutdown()
    return data_dir, made


def otel_gen_feedback(data_dir, *args):
    """The command line; exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "otel_gen.cli", "feedback", "--data-dir", data_dir, "--json", *map(str, args)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "id_",
    [
        UNKNOWN,
        "../../etc/passwd",
        "",
        "%00",
        "' OR 1=1 --",
        f"{UNKNOWN}\n",
        "*",
        f"{UNKNOWN[:-1]}g",
        "x" * 10_000,
    ],
    ids=["unknown", "path", "empty", "escaped", "sql", "newline", "wildcard", "no digit", "long"],
)
def test_a_forged_id_is_refused_and_leaves_no_trace(scored, id_):
    data_dir, _ = scored
    before = {p: p.read_bytes() for p in data_dir.rglob("*") if p.is_file()}
    code, text = otel_gen_feedback(data_dir, "--score", "1", "--validator-uid", "57", "--", id_)
    assert code == 1
    assert json.loads(text)["ok"] is False
    assert {p: p.read_bytes() for p in data_dir.rglob("*") if p.is_file()} == before


def test_guessed_ids_are_refused(scored):
    data_dir, (_, waiting) = scored
    guesses = [str(uuid.uuid4()) for _ in range(40)]
    guesses += [f"{waiting[:-n]}{uuid.uuid4().hex[:n]}" for n in range(1, 13) for _ in range(3)]
    guesses += [waiting[:-1] + digit for digit in "0123456789abcdef" if digit != waiting[-1]]
    refused = 0
    for guess in set(guesses) - {waiting}:
        with pytest.raises(UnknownGenerationError, match="nothing was recorded"):
            feedback(data_dir, guess, score=1.0, validator_uid=57)
        refused += 1
    assert refused > 80
    assert not (data_dir / AMENDMENTS).exists()


def test_the_first_durable_verdict_wins_and_a_later_one_is_an_amendment_that_is_not_applied(scored):
    data_dir, (accepted, waiting) = scored
    assert otel_gen_feedback(data_dir, waiting, "--score", 0.7, "--validator-uid", 57)[0] == 0
    recover(str(data_dir), today={})
    assert otel_gen_feedback(data_dir, accepted, "--score", 0, "--validator-uid", 57)[0] == 0
    assert feedback(data_dir, accepted, validation_failed=True)
    assert feedback(data_dir, accepted, score=0.9)
    assert feedback(data_dir, waiting, score=0, validator_uid=57)
    assert feedback(data_dir, task_id="task-1", score=0.9, validator_uid=57)
    recover(str(data_dir), today={})
    amendments = lines(data_dir, AMENDMENTS)
    assert [one["applied"] for one in amendments] == [False] * 5
    verdicts = {r["metadata"]["generation_id"]: r["validator_feedback"] for r in otel_gen.read(data_dir)}
    assert {id_: verdict["score"] for id_, verdict in verdicts.items()} == {accepted: 0.8, waiting: 0.7}
    assert len(list((data_dir / "ply_files").glob("*.ply"))) == 2
    assert verify(data_dir).problems == []


def test_a_verdict_of_another_validator_is_refused(scored):
    data_dir, (accepted, waiting) = scored
    code, text = otel_gen_feedback(data_dir, waiting, "--score", 1, "--validator-uid", 3)
    assert (code, json.loads(text)["ok"]) == (1, False)
    assert "made for validator 57, not for 3" in text
    for id_, task_id in ((accepted, None), (waiting, None), (None, "task-0"), (None, "task-1")):
        with pytest.raises(WrongValidatorError, match="nothing was recorded"):
            feedback(data_dir, id_, task_id=task_id, score=1, validator_uid=3)
    recover(str(data_dir), today={"feedback_timeout": 0})
    assert lines(data_dir, AMENDMENTS) == []
    assert {r["metadata"]["generation_id"]: r["outcome"] for r in lines(data_dir)} == {
        accepted: "accepted", waiting: "unscored",
    }  # fmt: skip
    shutil.rmtree(data_dir / ".otel_gen")
    with pytest.raises(WrongValidatorError):  # told by the files alone
        feedback(data_dir, waiting, score=1, validator_uid=3)


def test_a_verdict_that_is_sent_again_writes_nothing(scored):
    data_dir, (accepted, _) = scored
    for _ in range(3):
        assert feedback(data_dir, accepted, score=0.8, validator_uid=57)
    recover(str(data_dir), today={})
    assert lines(data_dir, AMENDMENTS) == []


def test_a_replayed_event_id_counts_once(data_dir, provider):
    """A span that carries the event id of a verdict that is known, with another score."""
    otel_gen.configure(data_dir=data_dir, registry=None)
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="a chair") as gen:
        gen.submitted()
    assert otel_gen.feedback(gen.id, score=0.8, validator_uid=57)
    assert otel_gen.shutdown()
    (record,) = lines(data_dir)
    exporter = otel_gen.RecordExporter(data_dir)
    for score in (0.1, 1.0):
        span = provider.get_tracer("forged").start_span(
            "feedback",
            attributes={
                "gen3d.generation.id": gen.id,
                "gen3d.feedback.event_id": record["validator_feedback"]["event_id"],
                "gen3d.feedback.score": score,
                "gen3d.feedback.said": True,
            },
        )
        span.end()
        exporter.export([span])
    assert exporter.force_flush()
    assert otel_gen.shutdown()
    assert (lines(data_dir), lines(data_dir, AMENDMENTS)) == ([record], [])
