"""Load: clients that ask again and again and write down which generations were answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

CLIENTS = 4
PAUSE = 0.02


@dataclass
class Answers:
    """What the clients have seen; appending and adding one at a time needs no lock under the interpreter's."""

    acknowledged: list[tuple[str, int]] = field(default_factory=list)
    """Generation and process id of each whole answer."""
    sent: list[None] = field(default_factory=list)
    """One for each request that began."""
    odd: list[str] = field(default_factory=list)
    """Answers that a client of a service in order would not see."""

    def take(self, answer: httpx.Response) -> None:
        """Write down an answer."""
        if answer.status_code == 200 and answer.content:
            self.acknowledged.append((answer.headers["x-generation-id"], int(answer.headers["x-worker-pid"])))
        else:
            self.odd.append(f"{answer.status_code} {answer.text[:200]}")

    @property
    def ids(self) -> list[str]:
        """The generations that were answered."""
        return [id_ for id_, _ in list(self.acknowledged)]

    def by(self, *, none_of: set[int]) -> int:
        """How many answers came from other processes than these."""
        return sum(pid not in none_of for _, pid in list(self.acknowledged))

    @property
    def pids(self) -> set[int]:
        """The processes that have answered."""
        return {pid for _, pid in list(self.acknowledged)}


@contextmanager
def load(url: str) -> Iterator[Answers]:
    """Ask from several threads until the block ends."""
    answers, over = Answers(), threading.Event()
    threads = [threading.Thread(target=_client, args=(url, answers, over)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()


# No connection is kept: it would stay with one worker.
_http = httpx.Client(timeout=60, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def ask(url: str, prompt: str = "a red chair") -> httpx.Response:
    """Ask once."""
    return _http.post(f"{url}/generate/", data={"prompt": prompt})


def worker_of(url: str) -> int:
    """The process id of a worker that answers; 0 while none does."""
    try:
        return int(_http.get(f"{url}/health").headers["x-worker-pid"])
    except (httpx.HTTPError, KeyError):
        return 0


def _client(url: str, answers: Answers, over: threading.Event) -> None:
    while not over.is_set():
        answers.sent.append(None)
        try:
            answers.take(ask(url))
        except httpx.TransportError:
            over.wait(PAUSE)
