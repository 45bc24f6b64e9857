"""The Producer's loop: the broker's WebSocket in, tick frames and order updates on the bus out."""

from __future__ import annotations

import asyncio

import redis

from tradealgo.bus.keys import Stream
from tradealgo.process import Process
from tradealgo.producer.connection import Connection
from tradealgo.producer.health import QUIET_AFTER_NS, Feed, FeedHealth, worst
from tradealgo.producer.intake import Intake
from tradealgo.producer.outbox import Outbox
from tradealgo.producer.packets import decode_frame
from tradealgo.producer.subscriptions import shards
from tradealgo.producer.watch import News, Watch

WATCH_S = 0.1


async def produce(process: Process) -> None:
    """Run until cancelled. Raises InvalidInput for more instruments than the broker's sockets carry."""
    book = await process.instruments()
    resumed = await process.bus.last(Stream.TICKS) is not None
    outbox = Outbox(process.bus)
    quiet_after = int(max(QUIET_AFTER_NS / process.manifest.speed, 500_000_000))
    connections = [
        Connection(process.manifest, Intake(n, tokens, resumed=resumed), FeedHealth(quiet_after_ns=quiet_after), outbox)
        for n, tokens in enumerate(shards([i.instrument_token for i in book]))
    ]
    process.state = Feed.CONNECTING
    # Compiled on a machine's first run, else loaded: now, and not when the first tick comes
    await asyncio.to_thread(decode_frame, b"\0\0")
    async with asyncio.TaskGroup() as group:
        group.create_task(outbox.run())
        for connection in connections:
            group.create_task(connection.run())
        group.create_task(_watch(process, Watch(process.manifest, book, connections, outbox), connections))


async def _watch(process: Process, watch: Watch, connections: list[Connection]) -> None:
    """Notice silence, and say how the feed is. What can't be said while the bus is away is said later."""
    news: list[News] = []
    while True:
        for connection in connections:
            connection.watch()
        process.ts_event, process.figures = watch.ts_event, watch.figures()
        news += watch.news()
        try:
            await process.say(worst([c.health.state for c in connections]))
            while news:
                await process.alert(news[0].level, news[0].code, news[0].text, resolved=news[0].resolved)
                del news[0]
        except (redis.RedisError, OSError) as error:
            process.log.warning("the bus is away", error=str(error), untold=len(news))
        await _changed(connections)


async def _changed(connections: list[Connection]) -> None:
    """Wait until a connection comes or goes, but not for long."""
    waits = [asyncio.ensure_future(c.changed.wait()) for c in connections]
    try:
        await asyncio.wait(waits, timeout=WATCH_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    for connection in connections:
        connection.changed.clear()
