"""The bus's streams as events: requests through the group, ticks, order updates, what people ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import redis

from tradealgo.bus.codec import TickFrame, decode
from tradealgo.bus.keys import GATEKEEPER_GROUP, Stream, stream_key
from tradealgo.bus.redis_bus import Bus
from tradealgo.domain.errors import BadFrame
from tradealgo.gatekeeper import kite
from tradealgo.gatekeeper.messages import (
    BadRequest,
    ControlReceived,
    Event,
    OrderSeen,
    PricesSeen,
    RequestReceived,
)

BLOCK_MS = 1_000
RETRY_S = 0.2
#: Frames of the recent past that give a restarted Gatekeeper its prices.
SEED_FRAMES = 200
CONSUMER = "gatekeeper"

#: Takes an event, and for a request the entry to acknowledge once it is journaled.
Sink = Callable[[Event, bytes | None], None]


class Inbox:
    """Reads until cancelled; a lost bus is waited for. Bad entries become events or are counted, never block."""

    def __init__(self, bus: Bus, sink: Sink, *, control_after: bytes) -> None:
        self._bus, self._sink = bus, sink
        self._control_after = control_after or b"0"
        self.bad_entries = 0

    async def run(self) -> None:
        """All readers at once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forever(self._requests))
            group.create_task(self._forever(self._ticks))
            group.create_task(self._forever(self._updates))
            group.create_task(self._forever(self._control))

    async def _forever(self, reader: Callable[[], Awaitable[None]]) -> None:
        while True:
            with contextlib.suppress(redis.RedisError):
                await reader()
            await asyncio.sleep(RETRY_S)

    # ------------------------------------------------------------------ requests

    async def _requests(self) -> None:
        """Those delivered before and never acknowledged come first."""
        await self._bus.open_group()
        after = b"0"
        while entries := await self._read_group(after, None):
            after = entries[-1][0]
            self._take_requests(entries)
        while True:
            self._take_requests(await self._read_group(b">", BLOCK_MS))

    async def _read_group(self, after: bytes, block_ms: int | None) -> list[tuple[bytes, dict[bytes, bytes]]]:
        key = stream_key(self._bus.session_id, Stream.REQUESTS)
        reply = await self._bus.client.xreadgroup(GATEKEEPER_GROUP, CONSUMER, {key: after}, count=100, block=block_ms)
        return _flat(reply)

    def _take_requests(self, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        for entry_id, fields in entries:
            self._bus.read_to[Stream.REQUESTS] = entry_id
            try:
                request = decode(Stream.REQUESTS, fields)
            except BadFrame as error:
                self.bad_entries += 1
                self._sink(BadRequest(entry_id.decode(), str(error)), entry_id)
            else:
                self._sink(RequestReceived(request), entry_id)

    async def acknowledge(self, ids: list[bytes]) -> None:
        """Say that these are in the journal; if the bus is away they come again, and are known."""
        with contextlib.suppress(redis.RedisError):
            await self._bus.acknowledge(ids)

    # ------------------------------------------------------------------ the other streams

    async def _ticks(self) -> None:
        key = stream_key(self._bus.session_id, Stream.TICKS)
        newest: Any = await self._bus.client.xrevrange(key, count=SEED_FRAMES)
        rows = newest[::-1]
        after = rows[-1][0] if rows else b"0"
        self._take_ticks(rows)
        while True:
            entries = _flat(await self._bus.client.xread({key: after}, count=100, block=BLOCK_MS))
            if entries:
                after = self._bus.read_to[Stream.TICKS] = entries[-1][0]
                self._take_ticks(entries)

    def _take_ticks(self, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        for _, fields in entries:
            try:
                frame: TickFrame = decode(Stream.TICKS, fields)
            except BadFrame:
                self.bad_entries += 1
                continue
            ticks = frame.ticks
            columns = (ticks[name].tolist() for name in ("instrument_token", "last_price", "ts_event"))
            self._sink(PricesSeen(list(zip(*columns, strict=True)), frame.ts_init), None)

    async def _updates(self) -> None:
        """From now on: what came before is in the order book, which is read at the start."""
        last = await self._bus.last(Stream.UPDATES)
        after = last.id if last else b"0"
        key = stream_key(self._bus.session_id, Stream.UPDATES)
        while True:
            for entry_id, fields in _flat(await self._bus.client.xread({key: after}, count=100, block=BLOCK_MS)):
                after = self._bus.read_to[Stream.UPDATES] = entry_id
                try:
                    self._sink(OrderSeen(kite.order_row(decode(Stream.UPDATES, fields).data)), None)
                except (BadFrame, KeyError, ValueError, TypeError):
                    self.bad_entries += 1

    async def _control(self) -> None:
        """After the last one that the journal holds: a kill asked for while this process was dead is heard."""
        key = stream_key(self._bus.session_id, Stream.CONTROL)
        while True:
            entries = _flat(await self._bus.client.xread({key: self._control_after}, count=100, block=BLOCK_MS))
            for entry_id, fields in entries:
                self._control_after = self._bus.read_to[Stream.CONTROL] = entry_id
                try:
                    self._sink(
                        ControlReceived(control=decode(Stream.CONTROL, fields), entry_id=entry_id.decode()), None
                    )
                except BadFrame:
                    self.bad_entries += 1


def _flat(reply: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Entries of a one-stream reply, in either protocol's shape."""
    found = []
    for _, batches in reply.items() if isinstance(reply, dict) else reply or ():
        for batch in batches:
            found += batch if isinstance(batch, list) else [batch]
    return found
