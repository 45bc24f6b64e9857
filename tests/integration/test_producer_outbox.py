"""The Producer's queue towards a real bus: order, stamps, and what happens while the bus is away."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
import redis
from feed_session import eventually

from tradealgo.bus.codec import TickFrame
from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.bus.server import EmbeddedServer
from tradealgo.config import SessionDir
from tradealgo.domain.orders import BrokerUpdate
from tradealgo.domain.ticks import empty_ticks
from tradealgo.producer.outbox import Outbox


def tick_frame(n: int) -> TickFrame:
    ticks = empty_ticks(1)
    ticks["instrument_token"] = n
    return TickFrame(ticks, n)


async def _count(bus: Bus, stream: Stream, n: int) -> bool:
    try:
        return len(await bus.range(stream)) >= n
    except redis.RedisError:
        return False


def numbers(frames: list[TickFrame]) -> list[int]:
    return [int(f.ticks["instrument_token"][0]) for f in frames]


async def test_outbox_keeps_order_and_stamps(bus: Bus) -> None:
    """Everything arrives in order, with the time at which it was published."""
    outbox = Outbox(bus)
    running = asyncio.create_task(outbox.run())
    for n in range(250):
        outbox.put(Stream.TICKS, tick_frame(n))
    await eventually(lambda: _count(bus, Stream.TICKS, 250))
    outbox.put(Stream.TICKS, tick_frame(250))
    await eventually(lambda: _count(bus, Stream.TICKS, 251))
    running.cancel()
    frames = [entry.message for entry in await bus.range(Stream.TICKS)]
    assert numbers(frames) == list(range(251))
    assert all(f.ts_published > f.ts_init for f in frames)


@pytest.mark.slow
async def test_outbox_survives_a_bus_that_dies(tmp_path: Path) -> None:
    """While the server is away the newest frames are kept, the dropped are counted and flagged; updates all arrive."""
    with EmbeddedServer(SessionDir(tmp_path)) as server:
        bus = Bus(connect(server.url), f"test-{uuid.uuid4().hex}")
        outbox = Outbox(bus, max_frames=20)
        running = asyncio.create_task(outbox.run())
        outbox.put(Stream.TICKS, tick_frame(0))
        await eventually(lambda: _count(bus, Stream.TICKS, 1))
        server.kill()
        for n in range(1, 51):
            outbox.put(Stream.TICKS, tick_frame(n))
            outbox.put(Stream.UPDATES, BrokerUpdate(data={"n": n}, ts_init=n))
        server.start()
        await eventually(lambda: _count(bus, Stream.UPDATES, 50))
        running.cancel()
        frames = [entry.message for entry in await bus.range(Stream.TICKS)]
        updates = [entry.message.data["n"] for entry in await bus.range(Stream.UPDATES)]
        await bus.close()
    assert numbers(frames) == [0, *range(31, 51)]
    assert [f.gap for f in frames] == [False, True, *[False] * 19]
    assert outbox.dropped == 30
    assert updates == list(range(1, 51))
