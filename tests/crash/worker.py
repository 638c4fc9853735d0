"""A worker that generates until it is killed and writes down, outside the data_dir, what was acknowledged.

Started as a zygote: imports once, then forks a worker for each line `spawn KIND` on its standard input.
Each acknowledgement is one os.write after the call returned, so a kill can only make the list too short.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
import threading
import uuid
from collections.abc import Iterator

import otel_gen
from otel_gen.runtime import configure

PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nend_header\n\0\0\0\0"
FATES = ("submitted", "submitted", "submitted", "withheld", "failed", "nothing", "error")


class Acks:
    """The list of acknowledgements of one worker."""

    def __init__(self, folder: str) -> None:
        path = os.path.join(folder, f"{os.getpid()}-{uuid.uuid4().hex[:8]}.acks")
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(self, *words: object) -> None:
        """Write one acknowledgement."""
        os.write(self._fd, (" ".join(map(str, words)) + "\n").encode())


class Worker:
    """Generations of every fate, by threads, by tasks or one after the other."""

    def __init__(self, data_dir: str, acks: Acks, rng: random.Random) -> None:
        self.data_dir, self.acks, self.rng = data_dir, acks, rng

    def _begin(self) -> dict[str, object]:
        return {
            "task_type": "TEXT-TO-3D",
            "prompt": "a chair " * self.rng.randrange(1, 40),
            "validator_uid": 57,
        }

    def _inside(self, gen: otel_gen.Generation, fate: str) -> str:
        sha = "-"
        if gen.durable:
            self.acks.say("S", gen.id)
        for name in ("sdxl", "trellis"):
            with gen.stage(name, steps=4):
                pass
            if gen.durable:
                self.acks.say("G", gen.id, name)
        if self.rng.random() < 0.3:
            body = PLY + os.urandom(self.rng.randrange(10, 200_000))
            gen.output(ply=body, clip_score=0.2)
            sha = hashlib.sha256(body).hexdigest()
        if fate == "submitted":
            gen.submitted()
        elif fate == "withheld":
            gen.withheld("clip_score_too_low_0.093")
        elif fate == "failed":
            gen.failed("oom", "no memory", "trellis")
        elif fate == "error":
            raise ConnectionError("refused")
        return sha

    def _after(self, gen: otel_gen.Generation, fate: str, sha: str) -> None:
        if gen.durable:
            self.acks.say("E", gen.id, fate, sha)
        if fate == "submitted" and self.rng.random() < 0.8:
            score = self.rng.choice((0.0, 0.61, 0.9))
            other = self.data_dir if self.rng.random() < 0.3 else None
            if otel_gen.feedback(gen.id, score=score, validator_uid=57, data_dir=other):
                self.acks.say("F", gen.id, score)

    def one(self) -> None:
        """Do one generation on this thread."""
        fate, gen, sha = self.rng.choice(FATES), None, "-"
        try:
            with otel_gen.generation(**self._begin()) as gen:
                sha = self._inside(gen, fate)
        except ConnectionError:
            pass
        if gen is not None:
            self._after(gen, fate, sha)

    async def one_async(self) -> None:
        """Do one generation in a task."""
        fate, gen, sha = self.rng.choice(FATES), None, "-"
        try:
            async with otel_gen.generation(**self._begin()) as gen:
                await asyncio.sleep(0)
                sha = self._inside(gen, fate)
        except ConnectionError:
            pass
        if gen is not None:
            self._after(gen, fate, sha)

    def forever(self, kind: str) -> None:
        """Work until killed."""
        if kind == "tasks":
            asyncio.run(self._tasks())
        for _ in range(3 if kind == "threads" else 0):
            threading.Thread(target=self._loop, daemon=True).start()
        self._loop()

    def _loop(self) -> None:
        while True:
            self.one()

    async def _tasks(self) -> None:
        async def loop() -> None:
            while True:
                await self.one_async()

        await asyncio.gather(*(loop() for _ in range(6)))


def _commands() -> Iterator[list[str]]:
    for line in sys.stdin:
        yield line.split()


def main(data_dir: str, acks: str, durability: str, seed: int) -> None:
    """Fork workers on demand; print the pid of each."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for number, (_, kind) in enumerate(_commands()):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            configure(data_dir=data_dir, durability=durability, feedback_timeout=3600, rejected_sample_rate=0)
            Worker(data_dir, Acks(acks), random.Random(seed + number)).forever(kind)
        print(pid, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
