"""Between the socket and the bus: a bounded queue, so that a bus that is slow or away never holds up the reading.

While the bus is away tick frames wait here; beyond the bound the oldest are dropped, counted, and the next one that goes
out carries the gap flag. Order updates are never dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

import msgspec
import redis

from tradealgo.bus.codec import TickFrame
from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Bus

#: Waiting tick frames: with 100 ticks a frame some 64 MB, or a minute and a half of a busy day's full feed.
MAX_FRAMES = 5_000
#: Entries in one round trip to the bus.
BATCH = 100
RETRY_S = 0.25

Item = tuple[Stream, msgspec.Struct]


class Outbox:
    """Messages wait here until the bus has them, in order."""

    def __init__(self, bus: Bus, *, max_frames: int = MAX_FRAMES) -> None:
        self._bus = bus
        self._max_frames = max_frames
        self._waiting: deque[Item] = deque()
        self._frames = 0
        self._wake = asyncio.Event()
        self.sent = self.dropped = 0  # tick frames
        self.failures = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, stream: Stream, message: msgspec.Struct) -> None:
        """Queue a message; never waits."""
        self._waiting.append((stream, message))
        if stream is Stream.TICKS:
            self._frames += 1
            if self._frames > self._max_frames:
                self._drop_oldest()
        self._wake.set()

    def _drop_oldest(self) -> None:
        at = next(n for n, (stream, _) in enumerate(self._waiting) if stream is Stream.TICKS)
        del self._waiting[at]
        self._frames -= 1
        self.dropped += 1
        at = next(n for n, (stream, _) in enumerate(self._waiting) if stream is Stream.TICKS)
        stream, frame = self._waiting[at]
        self._waiting[at] = (stream, msgspec.structs.replace(frame, gap=True))

    async def run(self) -> None:
        """Publish for ever. Bus failures are waited out; what was in flight is sent again, which readers put up with."""
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            frames = sum(stream is Stream.TICKS for stream, _ in batch)
            self._frames -= frames
            try:
                await self._send(batch)
                self.sent += frames
            except (redis.RedisError, OSError):
                self.failures += 1
                self._take_back(batch, frames)
                await asyncio.sleep(RETRY_S)

    def _take_back(self, batch: list[Item], frames: int) -> None:
        self._waiting.extendleft(reversed(batch))
        self._frames += frames
        while self._frames > self._max_frames:
            self._drop_oldest()

    async def _send(self, batch: list[Item]) -> None:
        now = time.time_ns()
        stamped = [
            (s, msgspec.structs.replace(m, ts_published=now) if isinstance(m, TickFrame) else m) for s, m in batch
        ]
        if len(stamped) == 1:
            await self._bus.publish(*stamped[0])
        else:
            await self._bus.publish_many(stamped)
