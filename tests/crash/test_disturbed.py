"""A service is disturbed while it works: it goes on, ends well, and keeps what it acknowledged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_gen
from otel_gen.readers.verify import verify
from otel_gen.recover import recover
from tests.crash.ledger import check, read_acks
from tests.crash.numbers import differences
from tests.crash.served import Service
from tests.crash.shim import compiled
from tests.support import lines, python, until

pytestmark = pytest.mark.crash


def all_well(data_dir: Path, acks: Path) -> int:
    """Recover and compare; returns how many ends were acknowledged."""
    recover(str(data_dir), today={"feedback_timeout": 0})
    tally = check(data_dir, acks)
    assert (tally.lost, tally.doubled, tally.torn) == ([], [], [])
    assert differences(data_dir) == {}
    assert verify(data_dir).problems == []
    return tally.ended


def removed(directory: Path) -> bool:
    """Remove a directory in which somebody makes files meanwhile; False where one was made in time."""
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


LIMITED = """
import os, resource, sys, otel_gen
from tests.crash.worker import Acks
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0, deadline=0.3)
acks, durable = Acks(sys.argv[2]), 0
for _ in range(40):
    with otel_gen.generation(task_type="TEXT-TO-3D", prompt="a chair " * 40) as gen:
        gen.output(ply=os.urandom(6 << 20) if _ < 2 else b"ply")
        gen.submitted()
    if gen.durable:
        acks.say("E", gen.id, "submitted", "-")
        durable += 1
print(durable, otel_gen.shutdown(timeout=2))
"""


@pytest.mark.parametrize(("limit", "durable"), [(5 << 20, True), (64 << 10, False)])
def test_a_limit_on_the_size_of_files_breaks_nothing(tmp_path: Path, limit: int, durable: bool) -> None:
    data_dir, acks = tmp_path / "data", tmp_path / "acks"
    acks.mkdir()
    said, delivered = python(LIMITED, data_dir, acks, limit).split()
    assert (int(said) > 0, delivered) == (durable, str(durable))
    assert all_well(data_dir, acks) == int(said) if durable else not lines(data_dir)
    sheds = [
        line["generation"]["output"]["shed"]
        for line in lines(data_dir)
        if "shed" in line["generation"]["output"]
    ]
    assert len(sheds) == (2 if durable else 0), "what is larger than the limit was given up, and says so"


def test_a_data_dir_that_is_removed_is_made_again_and_the_work_goes_on(tmp_path: Path) -> None:
    data_dir, acks = tmp_path / "data", tmp_path / "acks"
    acks.mkdir()
    service = Service(data_dir, acks)
    try:
        service.ask("work", 5)
        until(lambda: len(lines(data_dir)) == 5)
        until(lambda: removed(data_dir))
        shutil.rmtree(acks)  # what was acknowledged by then went with the directory
        acks.mkdir()
        until(lambda: list(data_dir.glob(".otel_gen/segments/*.seg")))
    finally:
        service.end()
    second = Service(data_dir, acks)
    try:
        second.ask("work", 5)
    finally:
        second.end()
    assert service.process.returncode == second.process.returncode == 0
    assert all_well(data_dir, acks) == 5


STALLED = """
import json, sys, time, otel_gen
otel_gen.configure(data_dir=sys.argv[1], registry=None, feedback_timeout=0, deadline=0.5)
took, durable, until = [], [], time.monotonic() + float(sys.argv[2]) + 2
while time.monotonic() < until:
    begin = time.monotonic()
    with otel_gen.generation(task_type="TEXT-TO-3D") as gen:
        gen.submitted()
    took.append(time.monotonic() - begin)
    durable.append(gen.durable)
    time.sleep(0.02)
print(json.dumps([max(took), sum(t > 0.25 for t in took), durable, otel_gen.shutdown()]))
"""


@pytest.mark.parametrize("seconds", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_stalled_sync_delays_one_call_by_its_deadline_and_no_other(tmp_path: Path, seconds: int) -> None:
    met = any(stalled(tmp_path, at, seconds) for at in (6, 7, 9, 12, 16))
    assert met, "a leader syncs what it reads, too; one of these was a caller's"


def stalled(tmp_path: Path, at: int, seconds: int) -> bool:
    """Stall one sync of many, and tell whether a caller met it; whoever did, nobody else is held up."""
    data_dir, log = tmp_path / f"data-{at}", tmp_path / f"log-{at}"
    shim = {"LD_PRELOAD": str(compiled(tmp_path)), "SHIM_PREFIX": str(data_dir / ".otel_gen" / "segments")}
    env = shim | {"SHIM_MODE": "stall", "SHIM_AT": str(at), "SHIM_STALL": str(seconds), "SHIM_LOG": str(log)}
    longest, slow, durable, delivered = json.loads(python(STALLED, data_dir, seconds, **env))
    assert "sync" in log.read_text()
    assert longest < 0.5 + 1.0
    assert slow <= 3
    assert durable[-1] is delivered is True
    assert len(lines(data_dir)) == len(durable) > seconds * 20
    assert verify(data_dir).problems == []
    return False in durable


STOPPED = """
import os, signal, sys, otel_gen
from contextlib import contextmanager
from otel_gen.index import Index
real, asked = Index.transaction, "/stop"
@contextmanager
def transaction(self):
    with real(self):
        yield
        if os.path.exists(sys.argv[1] + asked):
            os.unlink(sys.argv[1] + asked)
            os.kill(os.getpid(), signal.SIGSTOP)
Index.transaction = transaction
from tests.crash.service import main
main(*sys.argv[1:3])
"""


def test_a_leader_stopped_inside_a_transaction_holds_up_nobody_who_calls(tmp_path: Path) -> None:
    data_dir, acks = tmp_path / "data", tmp_path / "acks"
    acks.mkdir()
    first, second = Service(data_dir, acks, STOPPED), None
    try:
        first.ask("work", 3)
        until(lambda: len(lines(data_dir)) == 3)
        (data_dir / "stop").touch()
        second = Service(data_dir, acks)
        second.ask("work", 1)
        until(lambda: Path(f"/proc/{first.process.pid}/stat").read_text().split()[2] == "T")
        second.ask("work", 200)
        ids = [ack[1] for ack in read_acks(acks) if ack[0] == "E"]
        assert otel_gen.feedback(ids[0], score=0.9, validator_uid=57, data_dir=data_dir)
        first.process.send_signal(signal.SIGCONT)
        until(lambda: len(lines(data_dir)) == 204)
    finally:
        otel_gen.shutdown()
        first.process.send_signal(signal.SIGCONT)
        first.end()
        if second is not None:
            second.end()
    assert all_well(data_dir, acks) == 204


def test_a_foreign_program_that_renames_the_history_under_load_loses_no_line(tmp_path: Path) -> None:
    data_dir, acks = tmp_path / "data", tmp_path / "acks"
    acks.mkdir()
    service = Service(data_dir, acks)
    try:
        for month in range(1, 7):
            worker = threading.Thread(target=service.ask, args=("work", 150))
            worker.start()
            until((data_dir / "generation_history.jsonl").exists)
            os.rename(
                data_dir / "generation_history.jsonl", data_dir / f"generation_history_2020-{month:02}.jsonl"
            )
            worker.join()
    finally:
        service.end()
    assert all_well(data_dir, acks) == 900
    assert len(list(data_dir.glob("generation_history_2020-*.jsonl"))) == 6


@pytest.fixture
def image(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """An ext4 of 64 MB in a file, mounted: the file, and where it stands."""
    file, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with file.open("wb") as made:
        made.truncate(64 << 20)
    tools = [["mkfs.ext4", "-q", file], ["mount", "-o", "loop,errors=remount-ro", file, place]]
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("making a file system needs root and mkfs.ext4")
    if any(subprocess.run(tool, check=False, capture_output=True).returncode for tool in tools):
        pytest.skip("no file system can be mounted from a file here")
    yield file, place
    subprocess.run(["umount", "-l", place], check=False)


def test_a_file_system_that_turns_read_only_stops_no_service_and_takes_nothing_acknowledged(
    tmp_path: Path, image: tuple[Path, Path]
) -> None:
    file, place = image
    acks = tmp_path / "acks"
    acks.mkdir()
    service = Service(place / "data", acks)
    try:
        service.ask("work", 20)
        subprocess.run(["mount", "-o", "remount,abort", place], check=True)  # as after an error of the disk
        with pytest.raises(OSError, match="Read-only"):
            (place / "more").touch()
        service.ask("work", 50)
    finally:
        service.end()
    assert service.process.returncode == 0
    subprocess.run(["umount", place], check=True)
    subprocess.run(["fsck.ext4", "-p", file], check=False, capture_output=True)
    subprocess.run(["mount", "-o", "loop", file, place], check=True)
    assert all_well(place / "data", acks) >= 20
