"""The Consumer's loop: ticks in; candles, signals and order requests out, each exactly once whatever kills it.

What a frame of ticks gives rise to is published in one transaction together with the frame's entry id (the cursor). Order
requests go out just before it, so that they don't wait for a hundred candles to be written; a run that ended between
the two makes the same requests again under the same ids, and those that are on the bus already are left out. Every few
seconds the candle builder's whole state goes into a second key. A restart takes that state, folds the frames up to the
cursor again in silence, hears all published candles to rebuild the strategy, and goes on. What the session was launched to
hear of the days before comes first at every start.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import time
from typing import cast

import msgspec
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tradealgo.bus.codec import TickFrame
from tradealgo.bus.keys import Stream, snapshot_key
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.config import Manifest, Mode
from tradealgo.consumer.basket_engine import BasketEngine
from tradealgo.consumer.builder import CandleBuilder
from tradealgo.consumer.engine import EngineOutput, StrategyEngine
from tradealgo.consumer.unfolded import Unfolded
from tradealgo.consumer.warm_up import read_warm_up
from tradealgo.domain.candles import ClosedCandle
from tradealgo.domain.errors import BadFrame
from tradealgo.domain.hours import ist_date
from tradealgo.domain.instruments import InstrumentBook
from tradealgo.domain.orders import OrderRequest
from tradealgo.domain.state import Level
from tradealgo.process import Process
from tradealgo.strategies import BasketStrategy, Strategy, load

BLOCK_MS = 1_000
BATCH = 100
#: Candles in one read of a restart. The server answers nobody else meanwhile: a whole day's would hold up the Gatekeeper.
PAGE = 2_000
SAVE_EVERY_S = 5.0
REPORT_EVERY_S = 0.5

AnyEngine = StrategyEngine | BasketEngine
Message = tuple[Stream, msgspec.Struct]

NOTHING = EngineOutput([], [], [])


class _Saved(msgspec.Struct, frozen=True):
    """The builder's state after the frame whose entry id is `cursor`."""

    cursor: bytes
    builder: bytes


class CandleFlow:
    """From tick frames to what is published: the builder and the strategy engine, day after day. No I/O."""

    def __init__(self, manifest: Manifest, book: InstrumentBook, engine: AnyEngine, day: dt.date) -> None:
        self.engine = engine
        self.builder = CandleBuilder(book, day, interval=manifest.interval)
        self.candles = 0
        self._manifest = manifest
        self._book = book

    def closed_by(self, frame: TickFrame, now: int) -> list[ClosedCandle]:
        """Fold a frame. A live session that sees a new day by the time of receipt begins a new builder."""
        closed = []
        day = ist_date(frame.ts_init)
        if self._manifest.mode is Mode.LIVE and day != self.builder.day:
            closed = self.builder.flush(now)
            self.builder = CandleBuilder(self._book, day, interval=self._manifest.interval)
        return closed + self.builder.fold(frame.ticks, frame.ts_init, now, gap=frame.gap)

    @property
    def is_due(self) -> bool:
        """Whether time alone, without a closed candle, gives the engine something to hear."""
        return self.engine.is_due(self.builder.watermark)

    def heard(self, closed: list[ClosedCandle], now: int) -> EngineOutput:
        """What candles that closed together give rise to."""
        self.candles += len(closed)
        return self.engine.on_candles(closed, now, self.builder.watermark)


class Consumer:
    """The shell around a CandleFlow: reads, publishes, saves, recovers."""

    def __init__(self, process: Process, flow: CandleFlow) -> None:
        self._process = process
        self._flow = flow
        self._cursor = b"0"
        self._saved_at = self._report_at = 0.0
        self._frames = self._gaps = self._unreadable = 0
        self._lag_ns = 0
        self._unfolded = Unfolded()
        self._asked: set[str] = set()  # ids of the requests that earlier runs have published
        session = process.bus.session_id
        self._state_key = snapshot_key(session, "consumer")
        self._cursor_key = snapshot_key(session, "consumer:cursor")
        # A client that tries again after a lost connection may publish twice: this one never does
        client = connect(process.manifest.resolved_bus_url(), retry=Retry(NoBackoff(), 0))
        self._publisher = Bus(client, session)

    async def recover(self) -> None:
        """Be where the last run was: the builder by its saved state and the frames since, the strategy by its candles."""
        bus = self._process.bus
        saved, cursor = cast(list[bytes | None], await bus.client.mget(self._state_key, self._cursor_key))
        if saved is not None:
            try:
                state = msgspec.msgpack.decode(saved, type=_Saved)
                self._flow.builder.restore(state.builder)
                self._cursor = state.cursor
            # Damaged, of another day, other instruments or another release: from the ticks that are kept
            except (BadFrame, ValueError) as error:
                await self._process.alert(Level.WARNING, "CONSUMER_STATE", f"candles begin anew: {error}")
        if cursor is not None:
            await self._fold_again(cursor)
        self._asked = {entry.message.request_id for entry in await bus.range(Stream.REQUESTS)}
        candles = await self._hear_again()
        if candles:
            self._process.log.info("recovered", candles=candles, cursor=self._cursor.decode())

    async def _hear_again(self) -> int:
        """Rebuild the strategy from the published candles; how many there are."""
        candles, start, engine = 0, b"-", self._flow.engine
        while entries := await self._process.bus.range(Stream.CANDLES, start, count=PAGE):
            engine.replay([entry.message for entry in entries])
            candles += len(entries)
            start = b"(" + entries[-1].id
        engine.replay([], self._flow.builder.watermark)
        return candles

    async def _fold_again(self, until: bytes) -> None:
        """Fold the frames from the saved state up to the last published one, whose candles are on the bus already."""
        while _order(self._cursor) < _order(until):
            entries = await self._process.bus.range(Stream.TICKS, b"(" + self._cursor, until, BATCH, keep_bad=True)
            if not entries:
                break
            for entry in entries:
                if not isinstance(entry.message, BadFrame):
                    self._flow.closed_by(entry.message, 0)
            self._cursor = entries[-1].id

    async def run(self) -> None:
        """Read for ever. Bus failures raise: the supervisor starts the Consumer again, and it recovers."""
        while True:
            after = {Stream.TICKS: self._cursor}
            entries = await self._process.bus.read(after, block_ms=BLOCK_MS, count=BATCH, keep_bad=True)
            waiting: list[Message] = []
            for entry in entries:
                if isinstance(entry.message, BadFrame):
                    self._cursor = entry.id
                    await self._leave_out(entry.message)
                    continue
                closed, out = self._step(entry.message)
                self._cursor = entry.id
                if out.requests:
                    await self._ask(out.requests)
                waiting += _messages(closed, out)
                if out.requests:
                    await self._publish(waiting)
                    waiting = []
            if waiting:
                await self._publish(waiting)
            if time.monotonic() > self._report_at:
                self._report()
                if text := self._unfolded.news(self._flow.builder.counts, time.monotonic()):
                    await self._process.alert(Level.WARNING, "TICKS_UNFOLDED", text)
                await self._save()

    async def _leave_out(self, error: BadFrame) -> None:
        """An entry that can't be read: to end at it would be to end at it again after every start."""
        self._unreadable += 1
        if self._unreadable == 1:
            await self._process.alert(Level.CRITICAL, "UNREADABLE", f"ticks are left out of the candles: {error}")

    def _step(self, frame: TickFrame) -> tuple[list[ClosedCandle], EngineOutput]:
        now = time.time_ns()
        self._frames += 1
        self._gaps += frame.gap
        self._lag_ns = now - frame.ts_published
        closed = self._flow.closed_by(frame, now)
        return closed, self._flow.heard(closed, time.time_ns()) if closed or self._flow.is_due else NOTHING

    async def _ask(self, requests: list[OrderRequest]) -> None:
        """Publish order requests, before anything else is made of their candles."""
        new = [(Stream.REQUESTS, request) for request in requests if request.request_id not in self._asked]
        await self._publisher.publish_many(new)

    async def _publish(self, messages: list[Message]) -> None:
        await self._publisher.publish_many(messages, snapshot=(self._cursor_key, self._cursor))

    async def _save(self) -> None:
        """The builder's state, now and then: all that it closed is published by now."""
        if time.monotonic() - self._saved_at > SAVE_EVERY_S and self._cursor != b"0":
            saved = msgspec.msgpack.encode(_Saved(self._cursor, self._flow.builder.snapshot()))
            await self._publisher.client.set(self._state_key, saved)
            self._saved_at = time.monotonic()

    def _report(self) -> None:
        self._report_at = time.monotonic() + REPORT_EVERY_S
        counts = self._flow.builder.counts
        self._process.ts_event = self._flow.builder.ts_event
        self._process.figures = {
            "frames": self._frames, "candles": self._flow.candles, "gaps": self._gaps, "late": counts.late,
            "timeless": counts.timeless, "missing": counts.missing, "lag_ms": round(self._lag_ns / 1e6, 3), "stopped": len(self._flow.engine.stopped),
            "bad_entries": self._unreadable,
        }  # fmt: skip

    async def close(self) -> None:
        await self._publisher.close()


def _messages(closed: list[ClosedCandle], out: EngineOutput) -> list[Message]:
    """What is published with the cursor: all but the requests, candles first."""
    return [
        *((Stream.CANDLES, candle) for candle in closed),
        *((Stream.SIGNALS, signal) for signal in out.signals),
        *((Stream.ALERTS, alert) for alert in out.alerts),
    ]


def _order(entry_id: bytes) -> tuple[int, int]:
    """An entry id as what it sorts by."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number or 0)


def engine_of(manifest: Manifest, strategy: type[Strategy], book: InstrumentBook) -> AnyEngine:
    """The engine of a strategy's kind: one instrument at a time, or all of them together."""
    if issubclass(strategy, BasketStrategy):
        return BasketEngine(manifest, strategy, book)
    return StrategyEngine(manifest, strategy, book)


async def consume(process: Process) -> None:
    """Run until cancelled. Raises BadConfig for a strategy or warm-up candles that can't be loaded."""
    manifest = process.manifest
    strategy = load(manifest.strategy, process.folder)
    book = await process.instruments()
    day = dt.date.fromisoformat(manifest.market.day) if manifest.market else ist_date(time.time_ns())
    engine = engine_of(manifest, strategy, book)
    await asyncio.to_thread(engine.warm_up, read_warm_up(process.folder, manifest))  # heartbeats go on meanwhile
    consumer = Consumer(process, CandleFlow(manifest, book, engine, day))
    try:
        await consumer.recover()
        gc.freeze()  # numba and what else was loaded: to look through it again would take a tenth of a second
        await process.say("READY")
        await consumer.run()
    finally:
        await consumer.close()
