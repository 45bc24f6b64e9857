"""websockets' client with a short cut for binary messages, which come by the ten thousand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State

_PLAIN_BINARY = 0x80 | Opcode.BINARY  # a whole message in one frame, without an extension
_WHOLE = 0x80
#: Longer frames are left to the library, which has the limit of a message's size and says what breaks it.
_LONGEST = 1 << 20


class DirectSocket(ClientConnection):
    """Hands binary messages to `taker`, once there is one, as they are found in what was read.

    Through the library each message wakes a task, every sixteenth stops and starts the reading, and its parser takes
    longer over a frame than the decoder over the hundred ticks in it: three quarters of what it takes to receive one. So
    frames are cut here. Those that aren't a plain binary message go to the library one by one and whole; after anything
    out of the ordinary (fragments, a closing, masks, very long frames) all that follows is the library's. An error of the taker
    ends the connection and is kept in `failure`.
    """

    taker: Callable[[bytes | memoryview], None] | None = None
    failure: Exception | None = None
    _rest: bytes | None = None  # the beginning of a frame whose end hasn't come; None while the library cuts frames
    _ordinary = True

    def data_received(self, data: bytes) -> None:
        if self._rest is None and self.taker is not None and self._ordinary and self._between_frames():
            self._rest = b""
        if self._rest is None:
            super().data_received(data)
            return
        data, self._rest = self._rest + data if self._rest else data, None
        at = self._cut(data)
        if self._ordinary and self.taker is not None:
            self._rest = data[at:]
        elif at < len(data):
            super().data_received(data[at:])

    def _between_frames(self) -> bool:
        """Whether the library's parser waits for the first byte of a frame: it then asks whether the stream has ended."""
        waits_in: Any = self.protocol.parser
        while inner := getattr(waits_in, "gi_yieldfrom", None):
            waits_in = inner
        return self.protocol.state is State.OPEN and getattr(waits_in, "__name__", "") == "at_eof"

    def _cut(self, data: bytes) -> int:
        """Pass on the whole frames in `data`; where the rest begins."""
        view, at, end = memoryview(data), 0, len(data)
        while at + 2 <= end and self.taker is not None:
            length, body = data[at + 1], at + 2
            if length == 126:
                length, body = int.from_bytes(data[body : body + 2]), body + 2
            elif length == 127:
                length, body = int.from_bytes(data[body : body + 8]), body + 8
            if data[at] < _WHOLE or data[at + 1] > 127 or length > _LONGEST:  # a fragment, masked or too long
                self._ordinary = False
                return at
            if body + length > end:
                return at
            if data[at] == _PLAIN_BINARY:
                self._take(view[body : body + length])
            else:
                super().data_received(data[at : body + length])
                self._ordinary = self.protocol.state is State.OPEN
                if not self._ordinary:
                    return body + length
            at = body + length
        return at

    def _take(self, data: bytes | memoryview) -> None:
        try:
            self.taker(data)  # type: ignore[misc]
        except Exception as error:  # the event loop would only log it
            self.taker, self.failure = None, error
            self.transport.abort()

    def process_event(self, event: Any) -> None:
        if self.taker is None or not isinstance(event, Frame) or event.opcode is not Opcode.BINARY or not event.fin:
            super().process_event(event)
            return
        self._take(bytes(event.data))
