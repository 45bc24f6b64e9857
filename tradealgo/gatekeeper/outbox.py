"""From the journal to the bus, each record once: the number of the last one told is written in the same MULTI.

The journal is the queue. When the bus was away, came back older, or this process was killed in between, telling goes on
from the number that the bus itself remembers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import msgspec
import redis

from tradealgo.bus.keys import Stream, snapshot_key
from tradealgo.bus.redis_bus import Bus
from tradealgo.domain.state import Module
from tradealgo.gatekeeper.messages import STREAMS, Record

BATCH = 200
RETRY_S = 0.2


class Outbox:
    """Tells records in their order, and passing messages (MTM) when there is time.

    Args:
        reload: the journal's records later than a sequence number, as (seq, record).
        changed: called with False when the bus is lost and with True when it is back.
    """

    def __init__(
        self, bus: Bus, reload: Callable[[int], Iterable[tuple[int, Record]]], changed: Callable[[bool], None]
    ) -> None:
        self._bus, self._reload, self._changed = bus, reload, changed
        self._key = snapshot_key(bus.session_id, Module.GATEKEEPER.value)
        self._records: deque[tuple[int, Record]] = deque()
        self._passing: dict[Stream, msgspec.Struct] = {}
        self._wake = asyncio.Event()
        self._synced = False
        self._newest = 0  # in the queue

    def put(self, seq: int, record: Record) -> None:
        """Tell a record that is in the journal under `seq`, if it is of a kind that is told."""
        if self._synced and record.kind in STREAMS and seq > self._newest:
            self._newest = seq
            self._records.append((seq, record))
            self._wake.set()

    def pass_on(self, stream: Stream, message: msgspec.Struct) -> None:
        """Tell something that isn't kept: only the latest of a stream."""
        self._passing[stream] = message
        self._wake.set()

    async def run(self) -> None:
        """Tell for ever. A lost bus is noticed here, and waited for."""
        while True:
            try:
                await self._tell()
            except redis.RedisError:
                self._synced = False
                self._changed(False)
                await asyncio.sleep(RETRY_S)

    async def _tell(self) -> None:
        if not self._synced:
            await self._sync()
        await self._wake.wait()
        self._wake.clear()
        while self._records or self._passing:
            batch = [self._records[i] for i in range(min(BATCH, len(self._records)))]
            told = [(STREAMS[record.kind], record.message) for _, record in batch]
            passing, self._passing = self._passing, {}
            snapshot = (self._key, str(batch[-1][0]).encode()) if batch else None
            await self._bus.publish_many([*told, *passing.items()], snapshot=snapshot)
            for _ in batch:
                self._records.popleft()

    async def _sync(self) -> None:
        """Begin, or begin again, after what the bus remembers as told."""
        value = await self._bus.client.get(self._key)
        self._records = deque((s, r) for s, r in self._reload(int(value or 0)) if r.kind in STREAMS)
        self._newest = self._records[-1][0] if self._records else 0
        self._synced = True
        self._changed(True)
        self._wake.set()
