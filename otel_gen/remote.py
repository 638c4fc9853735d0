"""Remote: feedback from a machine without the data_dir, kept in a spool until the service has it."""

from __future__ import annotations

import random
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any

from otel_gen import message
from otel_gen.errors import OtelGenError, SettingsError
from otel_gen.events import canonical
from otel_gen.guard import log
from otel_gen.post import Answer, checked_url, post
from otel_gen.signing import key_bytes
from otel_gen.spool import Spool
from otel_gen.threads import started

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0


@dataclass(frozen=True)
class Kept:
    """Truth of a feedback: true once the spool has it durably; `reason` says why it has not."""

    event_id: str
    reason: str = ""

    def __bool__(self) -> bool:
        return not self.reason


class Remote:
    """Sends feedback to a service's endpoint; what is kept goes out when the service can be reached.

    url: that of the endpoint. key: the service's key; None for an endpoint of this machine that asks for
    none. spool: a directory of its own. Raises SettingsError and StorageError, here and nowhere else.
    """

    def __init__(
        self,
        url: str,
        key: str | bytes | None = None,
        *,
        spool: Any = "otel-gen-spool",
        timeout: float = 10.0,
    ) -> None:
        self._url, self._timeout = checked_url(url), timeout
        self._key = None if key is None else key_bytes(key)
        self.spool = Spool(spool)
        self._wake = threading.Event()
        self._closed = self._done = False
        self._last = ""  # why what waits was not taken
        self._warned: set[str] = set()  # reasons that were logged since something was taken
        self._sending = threading.Lock()  # one pass at a time
        self._starting = threading.Lock()  # guards _thread
        self._thread: threading.Thread | None = None
        if self.spool.waiting():
            self._start()

    def feedback(self, id: Any = None, **keywords: Any) -> Kept:  # noqa: A002
        """Keep a verdict, with the keywords of `otel_gen.feedback`, and send it in the background.

        It waits for this machine's disk (milliseconds), never for the network; never raises.
        """
        event_id = uuid.uuid4().hex
        said = message.said(id, keywords)
        if said is None or self._closed:
            return Kept(event_id, "malformed id" if said is None else "closed")
        try:
            self.spool.put(event_id, canonical({**said, "event_id": event_id}))
        except (OSError, OtelGenError, ValueError) as error:
            log.warning("otel_gen could not keep feedback: %s", error)
            return Kept(event_id, f"not recorded: {error}")
        self._start()
        self._wake.set()
        return Kept(event_id)

    def flush(self, timeout: float = 10.0) -> bool:
        """Send all that waits, now; tells whether nothing is left."""
        until, pause = time.monotonic() + timeout, _FIRST_PAUSE / 5
        while self.spool.waiting():
            self._pass(until)
            left = until - time.monotonic()
            if left <= 0:
                break
            if self.spool.waiting():
                time.sleep(min(pause, left))
                pause *= 2
        return not self.spool.waiting()

    def fate(self, event_id: str) -> str:
        """Say what became of a feedback that was kept: empty once the service has it."""
        end = f"-{event_id}.json"
        for name in self.spool.refused():
            if name.endswith(end):
                return f"refused: {self.spool.why(name)}"
        if any(name.endswith(end) for name in self.spool.waiting()):
            return f"waits in {self.spool.path}: {self._last or 'not sent yet'}"
        return ""

    def close(self, timeout: float = 10.0) -> bool:
        """Flush and stop; what is left is sent by whoever opens this spool next."""
        if self._closed:
            return self._done
        self._done = self.flush(timeout)
        self._closed = True
        self._wake.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(self._timeout + 1)
        with self._sending:
            self.spool.close()
        return self._done

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- sending --------------------------------------------------------------------------------------------
    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():  # a forked child has none
                self._thread = started(self._run, "otel_gen-remote")

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed:
            self._wake.clear()
            moved = self._quiet_pass()
            if not self._closed and not self.spool.waiting():
                pause = _FIRST_PAUSE
                self._wake.wait()
            elif not self._closed:
                pause = _FIRST_PAUSE if moved else min(pause * 2, _LONGEST_PAUSE)
                self._wake.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that many do not come at once

    def _quiet_pass(self) -> int:
        try:
            return self._pass(time.monotonic() + 3600)
        except Exception as error:  # noqa: BLE001 - this thread must live: what it could not send it tries again
            log.warning("otel_gen cannot use its spool %s: %s", self.spool.path, error)
            return 0

    def _pass(self, until: float) -> int:
        """Try all that waits once, unless another process does; gives how many are dealt with."""
        if not self._sending.acquire(timeout=max(until - time.monotonic(), 0)):
            return 0
        try:
            if self._closed or not self.spool.take():
                return 0
            try:
                return self._send_waiting(until)
            finally:
                self.spool.release()
        finally:
            self._sending.release()

    def _send_waiting(self, until: float) -> int:
        """Send in order; behind one that has to wait, nothing goes to the same generation."""
        dealt_with, held = 0, set[str]()
        for name in self.spool.waiting():
            left = until - time.monotonic()
            body = self.spool.get(name) if left > 0 and not self._closed else None
            if body is None or (held and message.whom(body) in held):
                continue
            answer = post(self._url, self._key, message.aged(body, name), min(self._timeout, left))
            self._last = answer.reason
            if not answer.reached:
                break
            if self._deal_with(name, body, answer):
                dealt_with += 1
            else:
                held.add(message.whom(body))
        return dealt_with

    def _deal_with(self, name: str, body: bytes, answer: Answer) -> bool:
        if answer.ok:
            self.spool.acknowledged(name)
            self._warned.clear()
        elif answer.final:
            why = canonical({"reason": answer.reason, "url": self._url, "feedback": message.decoded(body)})
            self.spool.refuse(name, why)
            log.warning(
                "otel_gen: feedback was refused: %s; it is kept in %s/refused", answer.reason, self.spool.path
            )
        elif answer.reason not in self._warned:
            self._warned.add(answer.reason)
            log.warning("otel_gen: feedback waits in %s: %s", self.spool.path, answer.reason)
        return answer.ok or answer.final


def send(
    url: str,
    key: str | bytes | None,
    spool: Any,
    id: Any = None,  # noqa: A002
    *,
    timeout: float = 10.0,
    **keywords: Any,
) -> Kept:
    """Send one verdict, and whatever waits in the spool, now; true once the service has it.

    For a program that ends with it: what it cannot send stays in the spool, for the next one.
    """
    remote = Remote(url, key, spool=spool, timeout=timeout)
    try:
        kept = remote.feedback(id, **keywords)
        if kept:
            remote.flush(timeout)
            kept = Kept(kept.event_id, remote.fate(kept.event_id))
        return kept
    finally:
        remote.close(0)


__all__ = ["Kept", "Remote", "SettingsError", "send"]
