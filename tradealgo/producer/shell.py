"""The Producer's loop: the broker's WebSocket in, tick frames and order updates on the bus out."""

from __future__ import annotations

import asyncio
import gc
import os
import time

import redis

from tradealgo.bus.codec import TickFrame
from tradealgo.bus.keys import Stream
from tradealgo.config import Mode
from tradealgo.process import Process
from tradealgo.producer.connection import Connection
from tradealgo.producer.fleet import Fleet
from tradealgo.producer.health import QUIET_SHORTEST_NS, Feed, FeedHealth, quiet_after, worst
from tradealgo.producer.intake import Intake
from tradealgo.producer.news import News
from tradealgo.producer.outbox import Outbox
from tradealgo.producer.packets import decode_frame
from tradealgo.producer.subscriptions import shards
from tradealgo.producer.watch import Watch

#: Figures and news are worked out so often, and at each change.
REPORT_S = 0.1


async def produce(process: Process) -> None:
    """Run until cancelled. Raises InvalidInput for more instruments than the broker's sockets carry."""
    book = await process.instruments()
    entry = await process.bus.last(Stream.TICKS)
    last: TickFrame | None = entry and entry.message
    outbox = Outbox(process.bus)
    shortest_s = os.environ.get("TRADEALGO_QUIET_SHORTEST_S")
    quiet = quiet_after(process.manifest.speed, int(float(shortest_s) * 1e9) if shortest_s else QUIET_SHORTEST_NS)
    connections = [
        Connection(
            process.manifest,
            Intake(n, tokens, resumed=last is not None, live=process.manifest.mode is Mode.LIVE),
            FeedHealth(quiet_after_ns=quiet),
            outbox,
            last,
        )
        for n, tokens in enumerate(shards([i.instrument_token for i in book]))
    ]
    process.state = Feed.CONNECTING
    # Compiled on a machine's first run, else loaded: now, and not when the first tick comes
    await asyncio.to_thread(decode_frame, b"\0\0")
    gc.freeze()  # numba lives as long as this: to look through it again would take a tenth of a second
    async with asyncio.TaskGroup() as group:
        group.create_task(outbox.run())
        for connection in connections:
            group.create_task(connection.run())
        fleet = Fleet(connections)
        watch = Watch(process.manifest, book, connections, outbox)
        every_s = min(REPORT_S, quiet / 1e9 / 10)
        group.create_task(_watch(connections, every_s))
        group.create_task(_tell(process, watch, fleet, every_s))


async def _watch(connections: list[Connection], every_s: float) -> None:
    """Notice silence. On its own, so that it waits neither for the bus nor for the broker."""
    while True:
        for connection in connections:
            connection.watch()
        await asyncio.sleep(every_s)


async def _tell(process: Process, watch: Watch, fleet: Fleet, every_s: float) -> None:
    """Say how the feed is. What can't be said while the bus is away is said later."""
    news: list[News] = []
    connections, report_at = fleet.connections, 0.0
    while True:
        state = worst([c.health.state for c in connections])
        if state != process.state or time.monotonic() >= report_at:
            report_at = time.monotonic() + REPORT_S
            news += await fleet.settle(time.time_ns())
            process.ts_event, process.figures = watch.ts_event, watch.figures()
            news += watch.news()
        try:
            await process.say(state)
            while news:
                await process.alert(news[0].level, news[0].code, news[0].text, resolved=news[0].resolved)
                del news[0]
        except (redis.RedisError, OSError) as error:
            process.log.warning("the bus is away", error=str(error), untold=len(news))
        await _changed(connections, every_s)


async def _changed(connections: list[Connection], timeout_s: float) -> None:
    """Wait until a connection comes or goes, but not for long."""
    waits = [asyncio.ensure_future(c.changed.wait()) for c in connections]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    for connection in connections:
        connection.changed.clear()
