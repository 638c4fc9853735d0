"""Incoming: a request's messages, read ahead for the prompt, and whether its client is still there."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

from otel_gen.integrations.asgi import Message, Receive
from otel_gen.safely import safely

_DISCONNECT = "http.disconnect"


class Incoming:
    """Stands between server and application; `receive` gives what was read ahead first, then what comes.

    reading -> whole (the body is here; one watcher waits for the client to go) -> answered
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ahead: deque[Message] = deque()
        self._watch: asyncio.Task[None] | None = None
        self._size = 0
        self._answered = False
        self.whole = False
        self.hung_up = False
        """Whether the client went before it had its answer."""

    async def read(self, limit: int) -> None:
        """Read ahead up to the end of the body, or until it exceeds `limit` bytes."""
        more = True
        while more:
            message = await self._receive()  # what the server raises here is the application's to see
            self._ahead.append(message)
            more = safely("request", partial(self._wants_more, message, limit), otherwise=False)

    def _wants_more(self, message: Message, limit: int) -> bool:
        self._note(message)
        self._size += len(message.get("body", b""))
        return self._size <= limit and not (self.whole or self.hung_up)

    def body(self) -> bytes:
        """The body as far as it was read ahead; asked for before anything is received."""
        return b"".join(message.get("body", b"") for message in self._ahead)

    def replayed(self) -> Receive:
        """Give a `receive` that repeats the body, for somebody who looks at it first."""
        messages = iter(tuple(self._ahead))

        async def receive() -> Message:
            return next(messages, {"type": _DISCONNECT})

        return receive

    async def receive(self) -> Message:
        """Take the application's next message."""
        if self._ahead:
            return self._ahead.popleft()
        if self._watch is not None:
            await asyncio.shield(self._watch)
            return {"type": _DISCONNECT}
        message = await self._receive()
        self._note(message)
        return message

    def watch(self) -> asyncio.Task[None]:
        """Wait, beside the application, for the client to go; only once the body is whole."""
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._until_gone())
        return self._watch

    def answered(self) -> None:
        """Say that the answer is complete: servers call that a disconnect, too."""
        self._answered = True

    def lost(self) -> None:
        """Say that the client was found to be gone when something was sent to it."""
        self.hung_up = self.hung_up or not self._answered

    def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.cancel()

    async def _until_gone(self) -> None:
        while not self.hung_up and not self._answered:
            self._note(await self._receive())

    def _note(self, message: Message) -> None:
        if message.get("type") == _DISCONNECT:
            self.lost()
        else:
            self.whole = self.whole or not message.get("more_body", False)
