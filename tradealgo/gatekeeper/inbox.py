"""The bus's streams as events: requests through the group, ticks, order updates, what people ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import redis

from tradealgo.bus.codec import TickFrame, decode
from tradealgo.bus.keys import GATEKEEPER_GROUP, Stream, stream_key
from tradealgo.bus.redis_bus import Bus, Raw
from tradealgo.domain.errors import BadFrame
from tradealgo.domain.hours import ist_text
from tradealgo.domain.ticks import FLAG_CACHED, marks
from tradealgo.gatekeeper import kite
from tradealgo.gatekeeper.messages import (
    BadRequest,
    ControlReceived,
    Event,
    Faulted,
    OrderSeen,
    PricesSeen,
    RequestReceived,
)

BLOCK_MS = 1_000
RETRY_S = 0.2
#: Frames of the recent past that give a restarted Gatekeeper its prices.
SEED_FRAMES = 200
CONSUMER = "gatekeeper"
#: A live tick's exchange time so far ahead of when it came in is an error: no two clocks are so far apart.
AHEAD_NS = 3_600_000_000_000
#: How old a cached tick counts as: nobody knows, but it isn't fresh.
CACHED_AGE_NS = 60_000_000_000

#: Takes an event, and for a request the entry to acknowledge once it is journaled.
Sink = Callable[[Event, bytes | None], None]


class Inbox:
    """Reads until cancelled; a lost bus is waited for. Bad entries become events or are counted, never block.

    Args:
        live: whether the exchange's clock is the one of the present; a paper exchange has its own.
    """

    def __init__(self, bus: Bus, sink: Sink, *, control_after: bytes, live: bool = False) -> None:
        self._bus, self._sink, self._live = bus, sink, live
        self._control_after = control_after or b"0"
        self.bad_entries = 0
        self._ticked: dict[int, int] = {}  # by token: the exchange's time of the newest tick that wasn't a cached one
        self._is_timely = self._is_ahead_told = False

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
        after, group = b"0", (GATEKEEPER_GROUP, CONSUMER)
        while entries := await self._bus.read_raw({Stream.REQUESTS: after}, group=group):
            after = entries[-1].id
            self._take_requests(entries)
        while True:
            self._take_requests(await self._bus.read_raw({Stream.REQUESTS: b">"}, group=group, block_ms=BLOCK_MS))
            await _give_way()

    def _take_requests(self, entries: list[Raw]) -> None:
        for _, entry_id, fields in entries:
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
        self._take_ticks(fields for _, fields in rows)
        while True:
            entries = await self._bus.read_raw({Stream.TICKS: after}, block_ms=BLOCK_MS)
            if entries:
                after = self._bus.read_to[Stream.TICKS] = entries[-1].id
                self._take_ticks(entry.fields for entry in entries)
                await _give_way()

    def _take_ticks(self, frames: Iterable[dict[bytes, bytes]]) -> None:
        for fields in frames:
            try:
                frame: TickFrame = decode(Stream.TICKS, fields)
            except BadFrame:
                self.bad_entries += 1
                continue
            self._take_frame(frame)

    def _take_frame(self, frame: TickFrame) -> None:
        ticks, ts_init = frame.ticks, frame.ts_init
        tokens, times = ticks["instrument_token"].tolist(), ticks["ts_event"].tolist()
        if self._live:
            times = self._believed(tokens, times, ts_init)
        prices = list(zip(tokens, marks(ticks).tolist(), times, strict=True))
        if ticks["flags"].any():
            is_cached = (ticks["flags"] & FLAG_CACHED).tolist()
            # After a gap it may be what was missed; by the exchange's time one sees whether it is newer than what is known
            cached = [p for p, old in zip(prices, is_cached, strict=True) if old and p[2] > self._ticked.get(p[0], -1)]
            prices = [p for p, old in zip(prices, is_cached, strict=True) if not old]
            if cached:
                self._sink(PricesSeen(cached, ts_init - CACHED_AGE_NS), None)
        self._ticked.update([(p[0], p[2]) for p in prices])
        if prices:
            self._sink(PricesSeen(prices, ts_init), None)

    def _believed(self, tokens: list[int], times: list[int], ts_init: int) -> list[int]:
        """Exchange times, with 0 for those that lie far ahead: one of them would end the session's day. Where no tick was ever
        timely it is this machine's clock that is wrong.
        """
        latest = ts_init + AHEAD_NS
        newest = max(times, default=0)
        if newest <= latest:
            self._is_timely = self._is_timely or newest > 0
            return times
        self._is_timely = self._is_timely or any(0 < t <= latest for t in times)
        if not self._is_timely:
            return times
        if not self._is_ahead_told:
            self._is_ahead_told = True
            told, text = ist_text(newest, "%d %b %H:%M"), ist_text(ts_init, "%d %b %H:%M")
            token = tokens[times.index(newest)]
            self._sink(
                Faulted(f"a tick of instrument {token} says {told}, at {text} IST: such times are ignored"), None
            )
        return [t if t <= latest else 0 for t in times]

    async def _updates(self) -> None:
        """From now on: what came before is in the order book, which is read at the start."""
        last = await self._bus.last(Stream.UPDATES)
        after = last.id if last else b"0"
        while True:
            for _, entry_id, fields in await self._bus.read_raw({Stream.UPDATES: after}, block_ms=BLOCK_MS):
                after = self._bus.read_to[Stream.UPDATES] = entry_id
                try:
                    self._sink(OrderSeen(kite.order_row(decode(Stream.UPDATES, fields).data)), None)
                except (BadFrame, KeyError, ValueError, TypeError):
                    self.bad_entries += 1

    async def _control(self) -> None:
        """After the last one that the journal holds: a kill asked for while this process was dead is heard."""
        while True:
            after = {Stream.CONTROL: self._control_after}
            for _, entry_id, fields in await self._bus.read_raw(after, block_ms=BLOCK_MS):
                self._control_after = self._bus.read_to[Stream.CONTROL] = entry_id
                try:
                    self._sink(
                        ControlReceived(control=decode(Stream.CONTROL, fields), entry_id=entry_id.decode()), None
                    )
                except BadFrame:
                    self.bad_entries += 1


async def _give_way() -> None:
    """Let what was read be handled, and the calls that it leads to begin: two turns of the loop. Then read on."""
    for _ in range(2):
        await asyncio.sleep(0)
