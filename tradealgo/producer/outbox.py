"""Between the socket and the bus: a bounded queue, so that a bus that is slow or away never holds up the reading.

While the bus is away tick frames wait here; beyond the bound the oldest are dropped, counted, and the next one that goes
out carries the gap flag. Order updates are never dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec
import redis

from tradealgo.bus.codec import TickFrame
from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Bus

#: Waiting tick frames: with 100 ticks a frame some 64 MB, or a minute and a half of a busy day's full feed.
MAX_FRAMES = 5_000
#: Entries in one round trip to the bus.
BATCH = 200
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
            batch = self._next_batch()
            frames = len(batch) if batch[0][0] is Stream.TICKS else 0
            self._frames -= frames
            try:
                await self._send(batch)
                self.sent += frames
            except (redis.RedisError, OSError):
                self.failures += 1
                self._take_back(batch, frames)
                await asyncio.sleep(RETRY_S)

    def _next_batch(self) -> list[Item]:
        """What waits, as long as it is all tick frames or none."""
        ticks, batch = self._waiting[0][0] is Stream.TICKS, [self._waiting.popleft()]
        while self._waiting and len(batch) < BATCH and (self._waiting[0][0] is Stream.TICKS) is ticks:
            batch.append(self._waiting.popleft())
        return batch

    def _take_back(self, batch: list[Item], frames: int) -> None:
        self._waiting.extendleft(reversed(batch))
        self._frames += frames
        while self._frames > self._max_frames:
            self._drop_oldest()

    async def _send(self, batch: list[Item]) -> None:
        if batch[0][0] is Stream.TICKS:
            await self._bus.publish_ticks([message for _, message in batch if isinstance(message, TickFrame)])
        else:
            await self._bus.publish_many(batch)
