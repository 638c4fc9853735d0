"""A data_dir driven by hand: a real journal, a clock that stands still, a leader when a test asks for one."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema

from otel_gen import events, record
from otel_gen import semconv as sc
from otel_gen.clock import Clock, boot_id
from otel_gen.events import Began, Counted, Feedback, Header, Noted, Span, Started
from otel_gen.journal import Journal
from otel_gen.leader import Leader
from otel_gen.readers.records import read
from otel_gen.settings import Policy
from otel_gen.tree import Tree

SECOND = 1_000_000_000
SCHEMA = json.loads((Path(__file__).parent.parent / "docs" / "record.schema.json").read_text())


def validator(name: str) -> Any:
    """A validator of one kind of line."""
    return jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{name}"})


_LINES = {
    "generation_history.jsonl": validator("record"),
    "generation_amendments.jsonl": validator("amendment"),
    "miner_config_history.jsonl": validator("config_change"),
}


class World:
    """One data_dir; `now` is seconds since the world began, `jumped` by how many the wall clock was set ahead."""

    def __init__(self, path: Path) -> None:
        self.path, self.now, self.jumped = path, 0.0, 0
        self.clock = Clock(lambda: self._at(1_790_000_000 + self.jumped), lambda: self._at(1000))
        self.tree = Tree(str(path))
        self._leader: Leader | None = None
        self._workers: list[Worker] = []

    def _at(self, base: int) -> int:
        return base * SECOND + int(self.now * SECOND)

    # --- workers ---------------------------------------------------------------------------------------
    def worker(self, **policy: Any) -> Worker:
        """Start a worker with settings of its own."""
        self._workers.append(Worker(self, Policy(**policy)))
        return self._workers[-1]

    # --- the leader --------------------------------------------------------------------------------------
    @property
    def leader(self) -> Leader:
        """The leader of now; a new one after `restart`."""
        if self._leader is None:
            self._leader = Leader(self.tree, self.clock)
        return self._leader

    def step(self, later: float = 0.0) -> int:
        """Let time go by, then let the leader do one pass; checks every promise that always holds."""
        self.now += later
        written = self.leader.step()
        self.check()
        return written

    def restart(self) -> None:
        """Let the leader go as a crash would: what it holds in memory is gone."""
        if self._leader is not None:
            self._leader.close()
            self._leader = None

    @contextmanager
    def crash(self) -> Iterator[None]:
        """Expect the leader to die inside; afterwards nothing of it is left but files."""
        try:
            yield
        except Crash:
            self.restart()
        else:
            raise AssertionError("no crash came")

    def close(self) -> None:
        for worker in self._workers:
            worker.journal.close()
        self.restart()
        self.tree.close()

    # --- what stands there ---------------------------------------------------------------------------------
    def lines(self, name: str = "generation_history.jsonl") -> list[dict[str, Any]]:
        """All lines of a file, each checked by checksum and schema."""
        path = self.path / name
        found = []
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            assert record.sound(line), line
            found.append(json.loads(line))
            if name in _LINES:
                _LINES[name].validate(found[-1])
        return found

    def amendments(self) -> list[dict[str, Any]]:
        return self.lines("generation_amendments.jsonl")

    def records(self) -> dict[str, dict[str, Any]]:
        """The overlaid records by id."""
        return {r["metadata"]["generation_id"]: r for r in read(str(self.path))}

    def files(self, folder: str) -> set[str]:
        """Names of the plain files in a folder of the data_dir."""
        place = self.path / folder
        return {p.name for p in place.iterdir() if p.is_file()} if place.exists() else set()

    def check(self) -> None:
        """One line per generation, no dangling path, every kept file is what its record says."""
        ids = [line["metadata"]["generation_id"] for line in self.lines()]
        assert len(ids) == len(set(ids))
        self.amendments()
        for one in self.records().values():
            for path, digest in named_files(one):
                data = (self.path / path).read_bytes()
                assert digest == "sha256:" + hashlib.sha256(data).hexdigest()

    def counters(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """What the index holds, gauges apart."""
        return {
            key: value
            for key, value in self.leader.delivery.aggregates.counters.items()
            if not key[0].startswith(("gen3d_in_flight", "gen3d_awaiting", "gen3d_oldest", "gen3d_artifact"))
        }

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of the index that can be derived from the files."""
        db = self.leader.delivery.index.db
        tables = {
            "delivered": "id, task_id, attempt, outcome, digest, verdict, score, verdict_validator, event_id",
            "amendments": "event_id, id, kind, verdict, score, validator, applied",
            "artifacts": "id, kind, digest, path, size, due, terms",
        }
        return {
            name: db.execute(f"SELECT {columns} FROM {name} ORDER BY 1, 2").fetchall()  # noqa: S608 - own names
            for name, columns in tables.items()
        }


class Crash(Exception):  # noqa: N818 - it is one
    """The end of a leader in the middle of something."""


class Worker:
    """A process that generates: its journal, and shorthands for what a handle would say."""

    def __init__(self, world: World, policy: Policy) -> None:
        self.world, self.policy = world, policy
        self.journal = Journal(self._segments, self._header, full=False, size=1 << 20)

    def _segments(self) -> Any:
        return self.world.tree.segments.sub(".", create=False)

    def _header(self, worker: str) -> bytes:
        return events.encode(Header(worker, boot_id(), 1, self.world.clock.wall(), self.policy))

    def put(self, event: events.Event) -> None:
        self.journal.append(events.encode(event))

    def die(self) -> None:
        """Be gone as after kill -9: nothing sealed, the locks free."""
        self.journal._finish = lambda: None
        self.journal.close()
        self.journal.chain.let_all_go()

    def count(self, name: str, label: str, n: int) -> None:
        self.put(Counted(name, label, n))

    def start(self, **attributes: Any) -> Gen:
        """Begin a generation."""
        return Gen(self, attributes)

    def feedback(self, gen: Gen | None, score: float | None = None, **more: Any) -> None:
        """Send a verdict, or with `said=False` a note."""
        clock = self.world.clock
        fields = {"said": True, "id": gen.id if gen is not None else ""} | more
        self.put(Feedback(clock.wall(), clock.boot(), score=score, **fields))


class Gen:
    """One generation of a worker."""

    def __init__(self, worker: Worker, attributes: dict[str, Any]) -> None:
        self.worker, self.world = worker, worker.world
        self.id = str(uuid.uuid4())
        self.start_wall = self.world.clock.wall()
        self.attributes = {sc.GENERATION_ID: self.id, sc.TASK_TYPE: "TEXT-TO-3D", sc.PROMPT: "a chair"}
        self.attributes |= {sc.PROMPT_LENGTH: 7} | attributes
        self.trace, self.span = uuid.uuid4().hex, uuid.uuid4().hex[:16]
        clock = self.world.clock
        worker.put(
            Started(self.id, clock.wall(), clock.boot(), self.trace, self.span, "", 1, dict(self.attributes))
        )

    def note(self, **attributes: Any) -> Gen:
        self.attributes.update(attributes)
        clock = self.world.clock
        self.worker.put(Noted(self.id, clock.wall(), clock.boot(), attributes))
        return self

    def stage(self, name: str, seconds: float, status: str = "ok", **attributes: Any) -> Gen:
        """A whole stage; time goes by."""
        start = self.world.clock.wall()
        self.world.now += seconds
        found = {sc.STAGE_NAME: name, sc.STAGE_STATUS: status} | attributes
        self.worker.put(
            Span(
                self.id,
                name,
                self.trace,
                uuid.uuid4().hex[:16],
                self.span,
                1,
                start,
                self.world.clock.wall(),
                self.world.clock.boot(),
                found,
            )
        )
        return self

    def begin(self, name: str) -> Gen:
        """A stage that will not end."""
        self.worker.put(Began(self.id, uuid.uuid4().hex[:16], self.span, name, self.world.clock.wall()))
        return self

    def staged(self, kind: str, data: bytes, extension: str = "ply") -> Gen:
        """Hand over an artifact that is staged."""
        digest = hashlib.sha256(data).hexdigest()
        name = f"{digest}.{uuid.uuid4().hex[:8]}.{extension}"
        path = self.world.path / ".otel_gen" / "staging" / name
        path.touch(mode=0o600)
        path.write_bytes(data)
        prefix = f"{sc.ARTIFACT}{kind}."
        found = {f"{prefix}hash": f"sha256:{digest}", f"{prefix}size": len(data), f"{prefix}staged": name}
        return self.note(**found | ({sc.FILE_SIZE_BYTES: len(data)} if kind in ("ply", "spz") else {}))

    def submitted(self) -> Gen:
        uid = self.attributes.get(sc.VALIDATOR_UID)
        more = {} if uid is None else {sc.VALIDATOR_UID: uid}
        return self.note(**{sc.SAID: "submitted", sc.SUBMISSION_TIME: self.world.clock.wall(), **more})

    def withheld(self, reason: str = "clip_below_threshold") -> Gen:
        return self.note(**{sc.SAID: "withheld", sc.REJECTION_REASON: reason})

    def failed(self, kind: str = "oom", stage: str | None = None) -> Gen:
        return self.note(**{sc.SAID: "failed", sc.ERROR_TYPE: kind, sc.ERROR_STAGE: stage})

    def end(self) -> Gen:
        kept = {key: value for key, value in self.attributes.items() if value is not None}
        clock = self.world.clock
        self.worker.put(
            Span(
                self.id,
                sc.GENERATION_SPAN,
                self.trace,
                self.span,
                "",
                1,
                self.start_wall,
                clock.wall(),
                clock.boot(),
                kept,
            )
        )
        return self

    @property
    def record(self) -> dict[str, Any]:
        """Its record as amendments make it."""
        return self.world.records()[self.id]


def named_files(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Paths and hashes that a record names."""
    output, task = one["generation"]["output"], one["task"]
    for path, digest in (
        (task["image_file_path"], task["base64_image_hash"]),
        *(
            (output.get(f"{k}_path"), output.get(f"{k}_hash"))
            for k in ("ply_file", "spz_file", "rejected_sample", "image_file")
        ),
    ):
        if path:
            yield path, digest
