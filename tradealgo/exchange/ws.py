"""The WebSocket side: connections, their bounded queues, heartbeats; ticks and order updates go out through `Hub`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

import msgspec
import numpy as np
from aiohttp import WSCloseCode, WSMsgType, web

from tradealgo.exchange.faults import TICK_FAULTS, UPDATE_FAULTS, Faults
from tradealgo.exchange.subscriptions import MAX_CONNECTIONS, BadRequestError, Subscriptions, read_request

HEARTBEAT_S = 1.0
HEARTBEAT = b"\x00"
#: A client that lets this many bytes pile up is cut off: memory stays bounded, and a real feed would not wait either.
MAX_QUEUED_BYTES = 16 << 20
#: A replay faster than real time waits for clients this far behind, unless they have taken nothing for `STUCK_NS`.
LAG_BYTES = 2 << 20
STUCK_NS = 5_000_000_000
MAX_REQUEST_BYTES = 1 << 20
GARBAGE = b"\xff\xfe" + bytes(range(256))


class Connection:
    """One client's socket."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.socket, self.transport = socket, transport
        self.subscriptions = Subscriptions()
        self.mute = self.deaf = False
        self._queue: deque[bytes | str] = deque()
        self._queued = 0
        self.took = time.monotonic_ns()  # when the system last took a message from us
        self._wake = asyncio.Event()

    def send(self, message: bytes | str) -> None:
        """Queue a message; cuts the client off if it is too far behind."""
        if self.mute:
            return
        self._queue.append(message)
        self._queued += len(message)
        self._wake.set()
        if self._queued > MAX_QUEUED_BYTES:
            self.drop()

    def drop(self) -> None:
        """Cut the TCP connection without a word."""
        self._queue.clear()
        self._queued = 0
        if self.transport is not None:
            self.transport.abort()

    @property
    def behind(self) -> int:
        """Bytes not yet handed to the system."""
        return self._queued

    async def keep_sending(self) -> None:
        """Send what is queued; a heartbeat byte when there is nothing for a while."""
        while True:
            if not self._queue:
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), HEARTBEAT_S)
            waiting = bool(self._queue)
            message = self._queue[0] if waiting else HEARTBEAT
            if not self.mute:
                await (self.socket.send_str(message) if isinstance(message, str) else self.socket.send_bytes(message))
            self.took = time.monotonic_ns()
            if waiting and self._queue:  # what has come while a heartbeat was on its way is yet to be sent
                self._queued -= len(self._queue.popleft())


class Hub:
    """All sockets.

    Args:
        snapshot: gives the latest tick of each of some tokens: the cached ones that a new subscription hears first.
    """

    def __init__(self, snapshot: Callable[[list[int]], np.ndarray], faults: Faults) -> None:
        self._snapshot, self._faults = snapshot, faults
        self.connections: list[Connection] = []
        self._held_update: str | None = None
        self._held_ticks: np.ndarray | None = None
        self.ticks_sent = 0
        self.frames_sent = 0

    @property
    def full(self) -> bool:
        """Whether a new connection is one too many. Those that a fault has silenced don't count: nobody is there."""
        return sum(not c.mute for c in self.connections) >= MAX_CONNECTIONS

    def lagging(self, wall: int) -> bool:
        """Whether a client is far behind but still reading, at monotonic time `wall`; one that is stuck is cut off."""
        behind = [c for c in self.connections if c.behind > LAG_BYTES and not c.mute]
        for connection in behind:
            if wall - connection.took > STUCK_NS:
                connection.drop()
        return any(c.behind for c in behind)

    async def close(self) -> None:
        """Say goodbye to every client: the server is going away."""
        for connection in list(self.connections):
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.socket.close(code=WSCloseCode.GOING_AWAY), 0.5)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One connection, from handshake to its end."""
        socket = web.WebSocketResponse(max_msg_size=MAX_REQUEST_BYTES, compress=False)
        await socket.prepare(request)
        connection = Connection(socket, request.transport)
        self.connections.append(connection)
        sending = asyncio.ensure_future(connection.keep_sending())
        sending.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async for message in socket:
                if connection.deaf:
                    await asyncio.Event().wait()  # half open: until somebody closes the TCP connection
                if message.type is WSMsgType.TEXT:
                    self._hear(connection, message.data)
        finally:
            self.connections.remove(connection)
            sending.cancel()
        return socket

    def _hear(self, connection: Connection, text: str) -> None:
        try:
            action, mode, tokens = read_request(text)
            due = connection.subscriptions.apply(action, mode, tokens)
        except BadRequestError as error:
            connection.send(msgspec.json.encode({"type": "error", "data": str(error)}).decode())
            return
        for frame in connection.subscriptions.frames(self._snapshot(due)) if due else ():
            connection.send(frame)

    # ------------------------------------------------------------------------------------------ what goes out

    def publish(self, ticks: np.ndarray) -> None:
        """Every subscribed tick to every socket, in order, none left out."""
        if not len(ticks) or not self.connections:
            return
        fault = self._faults.take(TICK_FAULTS)
        if fault is None:
            batches = [ticks]
        elif fault.name == "late_ticks" and self._held_ticks is None:
            self._held_ticks = ticks
            return
        else:
            batches = self._spoilt(fault.name, ticks)
        if self._held_ticks is not None:
            batches, self._held_ticks = [*batches, self._held_ticks], None
        for batch in batches:
            self._broadcast(batch)

    def _spoilt(self, fault: str, ticks: np.ndarray) -> list[np.ndarray]:
        if fault == "duplicate_ticks":
            return [ticks, ticks]
        if fault == "garbage_frame":
            for connection in self.connections:
                connection.send(GARBAGE)
        elif fault == "freak_price":
            ticks = ticks.copy()
            ticks["last_price"] *= 10
        return [ticks]

    def _broadcast(self, ticks: np.ndarray) -> None:
        made: dict[tuple[tuple[int, str], ...], list[bytes]] = {}
        for connection in list(self.connections):
            subscriptions = connection.subscriptions
            frames = made.get(subscriptions.key)
            if frames is None:
                frames = made[subscriptions.key] = subscriptions.frames(ticks)
            for frame in frames:
                connection.send(frame)
                self.frames_sent += 1
                self.ticks_sent += int.from_bytes(frame[:2], "big")

    def tell(self, data: bytes) -> None:
        """An order update, the JSON of its data, to all sockets of the account."""
        text = f'{{"type":"order","data":{data.decode()}}}'
        fault = self._faults.take(UPDATE_FAULTS)
        if fault is not None and fault.name == "missing_update":
            return
        if fault is not None and fault.name == "reorder_updates" and self._held_update is None:
            self._held_update = text
            return
        texts = [text] * (2 if fault is not None and fault.name == "duplicate_update" else 1)
        if self._held_update is not None:
            texts, self._held_update = [*texts, self._held_update], None
        for connection in list(self.connections):
            for each in texts:
                connection.send(each)

    # ------------------------------------------------------------------------------------------ faults at once

    def drop_all(self) -> None:
        for connection in self.connections:
            connection.drop()

    def mute_all(self, *, deaf: bool = False) -> None:
        """Open sockets send nothing more; with `deaf` they don't even read, so that pings go unanswered."""
        for connection in self.connections:
            connection.mute = True
            if deaf:
                connection.deaf = True
                if connection.transport is not None:
                    connection.transport.pause_reading()  # type: ignore[attr-defined]

    async def drained(self, timeout_s: float = 5.0) -> None:
        """Wait until every client has what was sent, or time is up."""
        deadline = time.monotonic() + timeout_s
        while any(c.behind for c in self.connections if not c.mute):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.002)
