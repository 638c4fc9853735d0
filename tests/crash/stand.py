"""A process under the shim that imports once and forks a worker for each line on its standard input.

Lines and answers are JSON: {"mode", "at", "patience", "data_dir", "acks", "log", "said"} -> {"code"}.
In the mode `count` the log gets the number of calls instead of a name.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

from tests.crash import dozen


def _work(job: dict[str, Any]) -> None:
    fd = os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    shim = ctypes.CDLL(None)
    where, mode, log = (os.fsencode(job[key]) for key in ("data_dir", "mode", "log"))
    shim.shim_arm(where, mode, ctypes.c_long(job["at"]), log)
    dozen.main(job["data_dir"], job["acks"], job["patience"])
    if job["mode"] == "count":
        with open(job["log"], "w") as file:
            file.write(str(shim.shim_calls()))


def main() -> None:
    """Answer each line once its worker has ended."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _work(json.loads(line))
            return  # and out by the interpreter's own end, as any service
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"code": code}), flush=True)


if __name__ == "__main__":
    main()
