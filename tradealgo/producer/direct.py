"""websockets' client with a short cut for binary messages, which come by the ten thousand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode


class DirectSocket(ClientConnection):
    """Hands binary messages to `taker`, once there is one, as they are parsed.

    Through the library's queue each message wakes a task, and every sixteenth stops and starts the reading: half of what
    it takes to receive one. Text messages, and binary ones in fragments, go through it as usual. An error of the taker
    ends the connection and is kept in `failure`.
    """

    taker: Callable[[bytes], None] | None = None
    failure: Exception | None = None

    def process_event(self, event: Any) -> None:
        if self.taker is None or not isinstance(event, Frame) or event.opcode is not Opcode.BINARY or not event.fin:
            super().process_event(event)
            return
        try:
            self.taker(bytes(event.data))
        except Exception as error:  # the event loop would only log it
            self.taker, self.failure = None, error
            self.transport.abort()
