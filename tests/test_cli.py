"""Each command says its news in words and as JSON, and its exit code says whether they are good."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import subprocess
import sys
import uuid

import pytest
from typer.testing import CliRunner

import otel_gen
from otel_gen.cli.app import app
from otel_gen.files import Folder
from otel_gen.tree import LOCK
from tests.readers.conftest import _private, past  # noqa: F401 - fixtures
from tests.support import small_disk

READING = ("verify", "pending", "stats", "tail")
HISTORY = "generation_history.jsonl"
UNKNOWN = "00000000-0000-7000-8000-000000000000"


class Result:
    """What a command said: standard output, standard error, exit code."""

    def __init__(self, done):
        self.out, self.err, self.code = done.stdout, done.stderr, done.exit_code
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info

    @property
    def json(self):
        return json.loads(self.out)


def run(*args):
    try:
        return Result(CliRunner(env={"OTEL_GEN_DATA_DIR": None}).invoke(app, [str(arg) for arg in args]))
    finally:
        otel_gen.shutdown()


def tree(path):
    return {p.relative_to(path): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in path.rglob("*")}


@pytest.fixture
def awaiting(data_dir):
    """A data_dir whose service is gone; one generation awaits its verdict."""
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=1e6)
    with otel_gen.generation(
        task_type="TEXT-TO-3D", prompt="a chair", task_id="task-1", validator_uid=7
    ) as gen:
        gen.submitted()
    otel_gen.shutdown()
    return data_dir, gen.id


# --- looking -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", READING)
def test_looking_changes_no_byte_and_is_good_news(past, command):  # noqa: F811
    before = tree(past.path)
    assert run(command, "--data-dir", past.path).code == 0
    assert tree(past.path) == before


@pytest.mark.parametrize("command", ["verify", "pending", "stats"])
def test_json_is_one_object(past, command):  # noqa: F811
    found = run(command, "--data-dir", past.path, "--json").json
    assert found["ok"] is True


def test_verify_names_what_is_wrong_and_what_to_do(past):  # noqa: F811
    path = past.path / HISTORY
    os.truncate(path, path.stat().st_size - 3)
    said = run("verify", "--data-dir", past.path)
    assert said.code == 1
    assert re.search(rf"{HISTORY}, offset \d+: the line is cut short.*otel-gen recover", said.out)
    assert f"run: otel-gen recover --data-dir {past.path} (" in said.out
    found = run("verify", "--data-dir", past.path, "--json")
    assert (found.code, found.json["ok"]) == (1, False)
    assert {"kind", "place", "text", "hint"} == found.json["problems"][0].keys()


def test_what_verify_says_to_run_can_be_run_from_anywhere(past, tmp_path):  # noqa: F811
    place = past.path.rename(tmp_path / "an ü space")
    (place / HISTORY).chmod(0o644)
    (place / "ply_files").chmod(0o755)
    (index,) = (place / ".otel_gen").glob("index-*.db")
    index.write_bytes(b"no database")
    problems = run("verify", "--data-dir", place, "--json").json["problems"]
    assert all(str(one).count("run: ") == 1 for one in problems)
    for hint in (one["hint"].removeprefix("run: ") for one in problems):
        assert shell(hint.replace("otel-gen", "$OG")).returncode == 0
    assert run("verify", "--data-dir", place).code == 0


def test_stats_say_when_there_is_too_little_to_tell(past):  # noqa: F811
    assert "not enough data (3 of 5)" in run("stats", "--data-dir", past.path).out


def test_tail_is_one_line_each_or_whole_records(past):  # noqa: F811
    lines = run("tail", "-n", "3", "--data-dir", past.path).out.splitlines()
    whole = [
        json.loads(line)
        for line in run("tail", "-n", "3", "--json", "--data-dir", past.path).out.splitlines()
    ]
    assert len(lines) == len(whole) == 3
    for line, record in zip(lines, whole, strict=True):
        assert record["metadata"]["generation_id"] in line
        assert record["outcome"] in line


def test_markup_in_a_prompt_is_text(world):
    world.worker().start(**{"gen3d.prompt": "[bold]x[/] [/no] \x1b[31m"}).withheld("[red]r").end()
    world.step()
    said = run("tail", "--data-dir", world.path)
    assert "[red]r  [bold]x[/] [/no]" in said.out
    assert "\x1b" not in said.out


def test_pending_is_bad_news_once_something_has_ended_and_nobody_delivers(awaiting):
    data_dir, id_ = awaiting
    said = run("pending", "--data-dir", data_dir)
    assert (said.code, id_ in said.out, "awaiting feedback" in said.out) == (0, True, True)
    assert run("feedback", id_, "--score", "0.5", "--data-dir", data_dir).code == 0
    said = run("pending", "--data-dir", data_dir)
    assert (said.code, "ended, not delivered" in said.out) == (1, True)
    assert f"or run: otel-gen recover --data-dir {data_dir}\n" in said.out


def test_no_id_is_cut_on_a_narrow_terminal_nor_by_a_long_task(data_dir):
    otel_gen.configure(data_dir=data_dir, registry=None, feedback_timeout=1e6)
    ids = {}
    for task in (str(uuid.uuid4()), "x [bold] " * 14):
        with otel_gen.generation(task_type="TEXT-TO-3D", task_id=task) as gen:
            gen.submitted()
        ids[gen.id] = task
    otel_gen.shutdown()
    narrow = shell(f"{TERMINAL} $OG pending --data-dir {data_dir}", COLUMNS="60").stdout
    for said in (narrow, run("pending", "--data-dir", data_dir).out):
        lines = said.splitlines()
        for id_, task in ids.items():
            (line,) = (line for line in lines if line.startswith(id_))
            assert line.split()[1:3] == ["awaiting", "feedback"]
            assert line.rstrip().endswith(f"gone    {task}".rstrip())


# --- acting ------------------------------------------------------------------------------------------------
def test_feedback_by_id_is_in_the_record_after_recovery(awaiting):
    data_dir, id_ = awaiting
    assert (
        run("feedback", id_.upper(), "--score", "0.81", "--validator-uid", "7", "--data-dir", data_dir).code
        == 0
    )
    assert run("recover", "--data-dir", data_dir, "--json").json["records"] == 1
    (record,) = otel_gen.read(data_dir)
    assert (record["outcome"], record["validator_feedback"]["score"]) == ("accepted", 0.81)
    assert run("verify", "--data-dir", data_dir).code == 0


def test_feedback_by_task_reaches_its_generation(awaiting):
    data_dir, _ = awaiting
    said = run("feedback", "--task-id", "task-1", "--validation-failed", "--data-dir", data_dir, "--json")
    assert said.json == {"ok": True, "id": None, "task_id": "task-1", "reason": ""}
    run("recover", "--data-dir", data_dir)
    (record,) = otel_gen.read(data_dir)
    assert (record["outcome"], record["validator_feedback"]["verdict"]) == ("rejected", "invalid")


@pytest.mark.parametrize(
    "whom",
    [[UNKNOWN], ["../../etc/passwd"], [""], ["--task-id", "nobody's"]],
)
def test_feedback_for_what_is_unknown_is_refused_and_kept_nowhere(awaiting, whom):
    data_dir, _ = awaiting
    before = tree(data_dir)
    said = run("feedback", *whom, "--score", "1", "--data-dir", data_dir)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("otel-gen: ")
    assert tree(data_dir) == before


def test_recover_settles_as_of_a_time_and_changes_nothing_the_second_time(awaiting):
    data_dir, _ = awaiting
    assert run("recover", "--now", "2099-01-01T00:00:00Z", "--data-dir", data_dir).out.startswith(
        "1 record written"
    )
    before = (data_dir / HISTORY).read_bytes()
    again = run("recover", "--now", "4070908800", "--data-dir", data_dir, "--json").json
    assert (again["records"], again["waiting"]) == (0, 0)
    assert (data_dir / HISTORY).read_bytes() == before
    (record,) = otel_gen.read(data_dir)
    assert record["outcome"] == "unscored"


def test_recover_makes_a_broken_index_anew(past):  # noqa: F811
    (index,) = (past.path / ".otel_gen").glob("index-*.db")
    index.write_bytes(b"no database")
    found = run("verify", "--data-dir", past.path, "--json")
    assert (found.code, [one["kind"] for one in found.json["problems"]]) == (1, ["index"])
    assert "database" in found.json["problems"][0]["text"]
    assert "index rebuilt" in run("recover", "--rebuild", "--data-dir", past.path).out
    assert run("verify", "--data-dir", past.path).code == 0


def test_fold_and_rotate_say_what_they_did(past):  # noqa: F811
    assert run("fold", "--data-dir", past.path).out == "1 amendment folded into 1 file\n"
    found = run("rotate", "--data-dir", past.path, "--json").json
    assert found["months"] == {"2026-09": 9}
    assert run("verify", "--data-dir", past.path).code == 0


def test_fold_says_what_it_leaves_and_why(past):  # noqa: F811
    path = past.path / "generation_amendments.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"score":0.0', b'"score":0.1'))
    left = "1 amendment left: its month is archived or compressed, or a line is damaged (otel-gen verify names it)\n"
    assert run("fold", "--data-dir", past.path).out == f"0 amendments folded into 0 files\n{left}"


# --- wrong usage -------------------------------------------------------------------------------------------
USAGE = [
    ["nonsense"],
    ["verify", "--nonsense"],
    ["recover", "--now", "tomorrow"],
    ["feedback", "--score", "1"],
    ["feedback", "an-id"],
    ["feedback", "an-id", "--task-id", "t", "--score", "1"],
    ["feedback", "an-id", "--score", "1.5"],
    ["feedback", "an-id", "--score", "nan"],
    ["feedback", "an-id", "--score", "high"],
    ["feedback", "--task-id", "", "--score", "1"],
    ["tail", "-n", "-1"],
    ["metrics", "--port", "70000"],
    ["replay"],
    ["demo", "--count", "0"],
]


@pytest.mark.parametrize("args", USAGE, ids=" ".join)
def test_wrong_usage_exits_2_and_makes_nothing(args, tmp_path):
    place = () if args[0] in ("nonsense", "demo") else ("--data-dir", tmp_path)
    said = run(*args, *place)
    assert (said.code, said.out) == (2, "")
    assert said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [*READING, "recover", "fold", "rotate", "metrics"])
def test_a_missing_data_dir_is_wrong_usage_and_is_not_made(command, tmp_path):
    said = run(command, "--data-dir", tmp_path / "nowhere")
    assert said.code == 2
    assert said.err.startswith(f"otel-gen: {tmp_path}/nowhere: no such directory; ")
    said = run(command, "--json", "--data-dir", tmp_path / "nowhere")
    assert (said.code, said.err, said.json["ok"]) == (2, "", False)
    assert not list(tmp_path.iterdir())


ACTING = [["recover"], ["fold"], ["rotate"], ["delete", UNKNOWN], ["feedback", UNKNOWN, "--score", "1"]]


@pytest.mark.parametrize("command", ACTING, ids=lambda command: command[0])
def test_a_directory_in_which_nothing_was_recorded_is_wrong_usage_and_left_alone(command, tmp_path):
    place = tmp_path / "other"
    place.mkdir()
    place.chmod(0o755)
    (place / "notes.txt").touch()
    said = run(*command, "--data-dir", place)
    assert said.code == 2
    assert said.err.startswith(f"otel-gen: {place}: nothing was recorded in this directory; ")
    assert (os.listdir(place), place.stat().st_mode & 0o7777) == (["notes.txt"], 0o755)


@pytest.mark.parametrize(
    "command",
    [*ACTING, *([name] for name in READING), ["metrics"], ["replay", __file__], ["import-legacy", __file__]],
    ids=lambda command: command[0],
)
def test_an_empty_data_dir_is_wrong_usage_and_not_the_current_directory(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / HISTORY).touch()
    said = run(*command, "--data-dir", "")
    assert said.code == 2
    assert said.err.startswith("otel-gen: --data-dir is empty; ")
    assert os.listdir(tmp_path) == [HISTORY]


def test_errors_are_one_line_and_with_json_an_object(past):  # noqa: F811
    (past.path / HISTORY).rename(past.path / "moved")
    (past.path / HISTORY).symlink_to(past.path / "moved")
    said = run("stats", "--data-dir", past.path)
    assert (said.code, said.err.count("\n")) == (1, 1)
    found = run("stats", "--data-dir", past.path, "--json")
    assert (found.code, found.json["ok"]) == (1, False)
    assert HISTORY in found.json["error"]


def test_a_wrong_variable_is_wrong_usage(past, monkeypatch):  # noqa: F811
    monkeypatch.setenv("OTEL_GEN_FEEDBACK_TIMEOUT", "soon")
    said = run("recover", "--data-dir", past.path)
    assert said.code == 2
    assert "OTEL_GEN_FEEDBACK_TIMEOUT" in said.err


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_wrong_variable_is_wrong_usage_of_feedback(awaiting, monkeypatch, more):
    data_dir, id_ = awaiting
    monkeypatch.setenv("OTEL_GEN_DEADLINE", "abc")
    before = tree(data_dir)
    said = run("feedback", id_, "--score", "1", "--data-dir", data_dir, *more)
    assert (said.code, "OTEL_GEN_DEADLINE" in said.out + said.err) == (2, True)
    assert tree(data_dir) == before


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    for name in [name for name in sys.modules if name.startswith("otel_gen.demo")]:
        monkeypatch.delitem(sys.modules, name)
    said = run("demo")
    assert said.code == 1
    assert "httpx" in said.err
    assert "otel-gen[demo]" in said.err


# --- where the disk refuses --------------------------------------------------------------------------------
@pytest.fixture
def disk(tmp_path):
    """A small disk with a data_dir on which one generation awaits its verdict."""
    with small_disk(tmp_path / "disk", 24) as place:
        otel_gen.configure(data_dir=place / "data", registry=None, feedback_timeout=1e6)
        with otel_gen.generation(task_type="TEXT-TO-3D") as gen:
            gen.submitted()
        otel_gen.shutdown()
        yield place, gen.id


def remount(place, how):
    subprocess.run(["mount", "-o", f"remount,{how}", place], check=True)


def fill(path):
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass


ON_DISK = ["recover --now 4070908800", "recover --rebuild", "fold", "rotate", "delete ID"]


@pytest.mark.parametrize("command", ON_DISK)
def test_a_read_only_disk_is_said_in_one_line(disk, command):
    place, id_ = disk
    remount(place, "ro")
    said = run(*command.replace("ID", id_).split(), "--data-dir", place / "data")
    remount(place, "rw")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert re.match(rf"otel-gen: {place}/data: .* is not finished \(.*Read-only file system\); see", said.err)


@pytest.mark.parametrize("command", ON_DISK)
def test_a_full_disk_is_said_in_one_line_and_with_room_it_goes_on(disk, command):
    place, id_ = disk
    fill(place / "filler")
    said = run(*command.replace("ID", id_).split(), "--data-dir", place / "data")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert re.match(rf"otel-gen: {place}/data: .* is not finished \(.+\); see", said.err)
    (place / "filler").unlink()
    assert run("recover", "--now", "4070908800", "--data-dir", place / "data", "--json").json["records"] == 1


def test_feedback_on_a_full_disk_is_not_said_to_be_kept(disk):
    place, id_ = disk
    fill(place / "filler")
    done = program("feedback", id_, "--score", "1", "--data-dir", place / "data")
    assert done.returncode == 1
    assert re.fullmatch(
        r".*/data: \d+ bytes of events could not be written and are lost; make.*\n", done.stderr
    )


@pytest.mark.parametrize("command", ["verify", "pending", "recover", "fold"])
def test_a_lock_of_another_user_is_said_in_one_line(awaiting, command, monkeypatch):
    data_dir, _ = awaiting
    opened = Folder.open

    def open_(self, name, flags=os.O_RDONLY):
        if name == LOCK:
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return opened(self, name, flags)

    monkeypatch.setattr(Folder, "open", open_)
    said = run(command, "--data-dir", data_dir)
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert re.match(rf"otel-gen: {data_dir}.*{LOCK}.*; ", said.err) is not None


# --- as a program ------------------------------------------------------------------------------------------
def program(*args, **more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    command = [sys.executable, "-m", "otel_gen.cli", *map(str, args)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean | more.pop("env", {}),
        **more,
    )


def test_the_data_dir_comes_from_the_environment_then_is_data(past, tmp_path):  # noqa: F811
    assert program("verify", env={"OTEL_GEN_DATA_DIR": str(past.path)}).returncode == 0
    assert past.path == tmp_path / "data"
    assert program("verify", cwd=tmp_path).returncode == 0


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom otel_gen.cli.app import app\n"
        "print([m for m in ('sqlite3', 'prometheus_client', 'rich', 'otel_gen.runtime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_feedback_is_durable_when_the_program_returns(awaiting):
    data_dir, id_ = awaiting
    done = program("feedback", id_, "--score", "0.6", "--data-dir", data_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert program("recover", "--data-dir", data_dir).returncode == 0
    (record,) = otel_gen.read(data_dir)
    assert record["validator_feedback"]["score"] == 0.6


def test_a_reader_that_goes_away_is_no_traceback(past):  # noqa: F811
    command = f"{sys.executable} -m otel_gen.cli tail --json --data-dir {past.path} | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert len(done.stdout) == 10
    assert done.stderr == ""


# --- where the output is refused ---------------------------------------------------------------------------
def shell(text, **env):
    """Run a line of the shell in which $OG is the program."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    clean |= {"OG": f"{sys.executable} -m otel_gen.cli"} | env
    return subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, timeout=60, check=False, env=clean
    )


TERMINAL = f"{sys.executable} -c 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)'"
LOOKING = ["verify", "verify --json", "pending", "stats", "tail", "tail --json"]


@pytest.mark.parametrize("command", [*LOOKING, "fold", "recover --json"])
def test_a_closed_output_is_written_nowhere(past, command):  # noqa: F811
    done = shell(f"$OG {command} --data-dir {past.path} >&-")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", [*LOOKING, "--help"])
def test_looking_into_a_full_output_is_bad_news_in_one_line(past, command):  # noqa: F811
    done = shell(f"$OG {command} >/dev/full", OTEL_GEN_DATA_DIR=str(past.path))
    assert done.returncode == 1
    assert done.stderr == "otel-gen: the output cannot be written (No space left on device)\n"


@pytest.mark.parametrize("command", ["recover", "fold --json", "rotate", "delete ID --json"])
@pytest.mark.parametrize("output", [">/dev/full", "| true"])
def test_what_was_done_is_no_failure_because_it_cannot_be_shown(past, command, output):  # noqa: F811
    id_ = next(iter(otel_gen.read(past.path)))["metadata"]["generation_id"]
    done = shell(
        f"set -o pipefail; sleep 0.1; $OG {command.replace('ID', id_)} --data-dir {past.path} {output}"
    )
    assert done.returncode == 0
    assert done.stderr.startswith("otel-gen: it is done, but what was done cannot be written (")
    assert done.stderr.count("\n") == 1


def test_an_output_of_another_encoding_gets_a_mark_and_json_as_it_is(world):
    world.worker().start(**{"gen3d.prompt": "un été 日本"}).withheld().end()
    world.step()
    said = shell(f"$OG tail --data-dir {world.path}", PYTHONIOENCODING="ascii")
    assert (said.returncode, "un ?t? ??" in said.stdout) == (0, True)
    said = shell(f"$OG tail --json --data-dir {world.path}", PYTHONIOENCODING="ascii")
    assert json.loads(said.stdout)["task"]["prompt"] == "un été 日本"


def test_errors_have_no_colour_where_none_is_wanted():
    command = f"{TERMINAL} $OG verify --data-dir /nowhere"
    assert "\x1b" in shell(command).stdout
    assert "\x1b" not in shell(command, NO_COLOR="1").stdout
