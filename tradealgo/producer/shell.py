"""The Producer's loop: the broker's WebSocket in, tick frames and order updates on the bus out."""

from __future__ import annotations

import asyncio
import time

import redis

from tradealgo.bus.keys import Stream
from tradealgo.config import Manifest, Mode
from tradealgo.domain.hours import ist_date, market_hours
from tradealgo.domain.instruments import InstrumentBook
from tradealgo.domain.state import Level
from tradealgo.process import Process
from tradealgo.producer.connection import Connection
from tradealgo.producer.health import QUIET_AFTER_NS, Feed, FeedHealth, worst
from tradealgo.producer.intake import Intake
from tradealgo.producer.outbox import Outbox
from tradealgo.producer.packets import decode_frame
from tradealgo.producer.subscriptions import shards

WATCH_S = 0.1
#: A refused token is no news while the Sentinel is logging in; after this long it is.
DENIED_ALERT_NS = 5_000_000_000


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
    await asyncio.to_thread(
        decode_frame, b"\0\0"
    )  # compiled on a machine's first run, else loaded: not at the first tick
    async with asyncio.TaskGroup() as group:
        group.create_task(outbox.run())
        for connection in connections:
            group.create_task(connection.run())
        group.create_task(_watch(process, book, connections, outbox))


async def _watch(process: Process, book: InstrumentBook, connections: list[Connection], outbox: Outbox) -> None:
    reported = _Reported()
    while True:
        for connection in connections:
            await connection.watch()
        process.ts_event = max(c.intake.ts_event for c in connections)
        process.figures = _figures(process.manifest, book, connections, outbox)
        try:
            await process.say(worst([c.health.state for c in connections]))
            await reported.tell(process, connections, outbox)
        except (redis.RedisError, OSError) as error:
            process.log.warning("the bus is away", error=str(error), waiting=len(outbox))
        await asyncio.sleep(WATCH_S)


class _Reported:
    """What people have been told already."""

    def __init__(self) -> None:
        self.denied = False
        self.dropped = 0

    async def tell(self, process: Process, connections: list[Connection], outbox: Outbox) -> None:
        for connection in connections:
            await self._tell_of(process, connection)
        denied = [c for c in connections if c.denied_since and time.time_ns() - c.denied_since > DENIED_ALERT_NS]
        if bool(denied) != self.denied:
            text = "the broker refuses the access token: log in again" if denied else "the broker takes the token again"
            await process.alert(Level.CRITICAL, "FEED_DENIED", text, resolved=not denied)
            self.denied = bool(denied)
        if outbox.dropped > self.dropped:
            text = f"{outbox.dropped - self.dropped} tick frames were dropped while the bus was away"
            await process.alert(Level.WARNING, "FEED_DROPPED", text)
            self.dropped = outbox.dropped

    async def _tell_of(self, process: Process, connection: Connection) -> None:
        while connection.losses:
            loss = connection.losses[0]
            text = (
                f"connection {loss.shard} was down for {(loss.ended - loss.began) / 1e9:.1f} s "
                f"({loss.cause or 'closed by the broker'}): ticks of {len(connection.intake.tokens)} instruments are missing"
            )
            await process.alert(Level.WARNING, "FEED_GAP", text)
            del connection.losses[0]
        while connection.notices:
            notice = connection.notices[0]
            level = Level.WARNING if notice.kind == "error" else Level.INFO
            await process.alert(level, f"BROKER_{notice.kind.upper()}", notice.text)
            del connection.notices[0]


def _figures(
    manifest: Manifest, book: InstrumentBook, connections: list[Connection], outbox: Outbox
) -> dict[str, float | int | str]:
    counters = [c.intake.counters for c in connections]
    figures: dict[str, float | int | str] = {
        name: sum(getattr(c, name) for c in counters) for name in ("frames", "ticks", "updates", "gaps")
    }
    figures["bad"] = sum(c.unknown + c.truncated + c.surplus + c.bad_text for c in counters)
    figures["waiting"], figures["dropped"] = len(outbox), outbox.dropped
    now, last = time.time_ns(), max(c.health.last_tick for c in connections)
    figures["silent_s"] = round((now - last) / 1e9, 1) if last else -1
    figures["market_open"] = int(_market_open(manifest, book, connections, now, last))
    return figures


def _market_open(manifest: Manifest, book: InstrumentBook, connections: list[Connection], now: int, last: int) -> bool:
    """Whether any instrument is in continuous trading by the feed's own clock: the wall clock's, or the paper exchange's."""
    feed = now
    if manifest.mode is Mode.PAPER:
        if not last:
            return False  # the bell hasn't rung, as far as anyone can know
        feed = max(c.intake.ts_event for c in connections) + int((now - last) * manifest.speed)
    return any(market_hours(i, ist_date(feed)).is_open(feed) for i in book)
