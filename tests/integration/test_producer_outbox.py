"""The Producer's queue towards a real bus: order, stamps, and what happens while the bus is away."""

from __future__ import annotations

import asyncio
import itertools
import resource
import sys
import uuid
from pathlib import Path

import pytest
import redis
from feed_session import eventually

from tradealgo.bus.codec import TickFrame
from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.bus.server import EmbeddedServer, find_server
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="another process's file size limit can only be set on Linux")
async def test_outbox_survives_a_full_disk(tmp_path: Path) -> None:
    """A server that can't write its append-only file refuses; once there is room all goes on, and the loss is flagged."""
    wrapper = tmp_path / "redis-server"  # a write that fails for want of room is an error here, not a signal
    wrapper.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec {find_server()} \"$@\"\n")
    wrapper.chmod(0o755)
    with EmbeddedServer(SessionDir(tmp_path / "session"), str(wrapper)) as server:
        bus = Bus(connect(server.url), f"test-{uuid.uuid4().hex}")
        pid = (await bus.client.info("server"))["process_id"]
        outbox = Outbox(bus, max_frames=20)
        running = asyncio.create_task(outbox.run())
        outbox.put(Stream.TICKS, tick_frame(0))
        await eventually(lambda: _count(bus, Stream.TICKS, 1))
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        frames, refused = itertools.count(1), outbox.failures
        while outbox.failures == refused:  # what comes before the server has noticed is in its memory
            if len(outbox) < 10:  # with as many in flight: while the server only stands still, none is dropped
                outbox.put(Stream.TICKS, tick_frame(next(frames)))
            await asyncio.sleep(0.01)
        for n in range(50):
            outbox.put(Stream.TICKS, tick_frame(next(frames)))
            outbox.put(Stream.UPDATES, BrokerUpdate(data={"n": n}, ts_init=n))
        last = next(frames) - 1
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        await eventually(lambda: _count(bus, Stream.UPDATES, 50))
        running.cancel()
        found = [entry.message for entry in await bus.range(Stream.TICKS)]
        await bus.close()
    assert numbers(found)[-20:] == list(range(last - 19, last + 1))
    assert [n for n, frame in zip(numbers(found), found, strict=True) if frame.gap] == [last - 19]
    assert len(found) + outbox.dropped == last + 1


async def test_outbox_survives_lost_connections(bus: Bus, bus_url: str) -> None:
    """Connections cut by the server again and again: every frame arrives, in order, at most what was in flight twice."""
    outbox = Outbox(Bus(connect(bus_url, client_name=bus.session_id), bus.session_id))
    running, cuts = asyncio.create_task(outbox.run()), 0
    for n in range(300):
        outbox.put(Stream.TICKS, tick_frame(n))
        if n % 30 == 10:
            await eventually(lambda: _cut(bus))
            cuts += 1
    await eventually(lambda: _seen(bus, 299))
    running.cancel()
    found = numbers([entry.message for entry in await bus.range(Stream.TICKS)])
    assert list(dict.fromkeys(found)) == list(range(300))
    assert outbox.dropped == 0
    assert cuts == 10


async def _cut(bus: Bus) -> bool:
    """Cut the outbox's connections; whether there was one."""
    named = [c["id"] for c in await bus.client.client_list() if c["name"] == bus.session_id]
    return any([await bus.client.client_kill_filter(_id=each) for each in named])


async def _seen(bus: Bus, number: int) -> bool:
    last = await bus.last(Stream.TICKS)
    return last is not None and numbers([last.message]) == [number]
