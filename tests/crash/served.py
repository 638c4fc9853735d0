"""A service in a process of its own, which works when it is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SERVICE = "import sys; from tests.crash.service import main; main(*sys.argv[1:])"


class Service:
    """A service that works when it is asked: `ask("work", n)` returns when n generations are done."""

    def __init__(self, data_dir: Path, acks: Path, code: str = SERVICE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(data_dir), str(acks)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, *words: object) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        """Let it shut down; killed where it does not."""
        try:
            self.process.communicate("", timeout=40)
        finally:
            self.process.kill()
            self.process.wait(30)
