"""websockets' client with a short cut for binary messages, which come by the ten thousand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State

_PLAIN_BINARY = 0x80 | Opcode.BINARY  # a whole message in one frame, without an extension
_WHOLE = 0x80
#: Longer frames are left to the library, which has the limit of a message's size and says what breaks it.
_LONGEST = 1 << 20
_LONGEST_HEAD = 10
_LENGTH_BYTES = {126: 2, 127: 8}  # which follow such a length
#: Bytes read at once: a dozen frames of a hundred ticks. What is read stays in the processor's cache until it is decoded.
_AT_ONCE = 1 << 18


class DirectSocket(ClientConnection, asyncio.BufferedProtocol):
    """Hands binary messages to `taker`, once there is one, as they are found in what was read.

    Through the library each message wakes a task, every sixteenth stops and starts the reading, and its parser takes
    longer over a frame than the decoder over the hundred ticks in it: three quarters of what it takes to receive one. So
    frames are cut here, in one buffer that is read into again and again: a taker that keeps a message copies it. Those that
    aren't a plain binary message go to the library one by one and whole; after anything out of the ordinary (fragments, a
    closing, masks, very long frames) all that follows is the library's. An error of the taker ends the connection and is
    kept in `failure`.
    """

    taker: Callable[[bytes | memoryview], None] | None = None
    failure: Exception | None = None
    _cutting = False  # whether frames are cut here, or by the library
    _ordinary = True
    _kept = 0  # bytes at the buffer's beginning: the part of a frame whose end hasn't come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._buffer = bytearray(_LONGEST_HEAD + _LONGEST + _AT_ONCE)
        self._view = memoryview(self._buffer)
        super().connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._kept : self._kept + _AT_ONCE]

    def buffer_updated(self, nbytes: int) -> None:
        at, end = 0, self._kept + nbytes
        self._kept = 0
        if not self._cutting:
            self._cutting = self.taker is not None and self._ordinary and self._between_frames()
        if self._cutting:
            at = self._cut(end)
            self._cutting = self._ordinary and self.taker is not None
        if self._cutting:
            self._kept = end - at
            self._view[: self._kept] = self._view[at:end]
        elif at < end:
            self.data_received(bytes(self._view[at:end]))

    def _between_frames(self) -> bool:
        """Whether the library's parser waits for the first byte of a frame: it then asks whether the stream has ended."""
        waits_in: Any = self.protocol.parser
        while inner := getattr(waits_in, "gi_yieldfrom", None):
            waits_in = inner
        return self.protocol.state is State.OPEN and getattr(waits_in, "__name__", "") == "at_eof"

    def _cut(self, end: int) -> int:
        """Pass on the whole frames in the buffer up to `end`; where the rest begins."""
        data, view, at = self._buffer, self._view, 0
        while at + 2 <= end:
            head, length = data[at], data[at + 1]
            body = at + 2 + _LENGTH_BYTES.get(length, 0)
            if body > end:
                return at
            if body > at + 2:
                length = int.from_bytes(data[at + 2 : body])
            if head < _WHOLE or data[at + 1] > 127 or length > _LONGEST:  # a fragment, masked or too long
                self._ordinary = False
                return at
            if body + length > end:
                return at
            if head == _PLAIN_BINARY:
                self._take(view[body : body + length])
            else:
                self.data_received(bytes(view[at : body + length]))
                self._ordinary = self.protocol.state is State.OPEN
            at = body + length
            if not self._ordinary or self.taker is None:
                return at
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
