"""The Consumer ends between its order requests and the rest of what a closing gave rise to: each still comes once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from feed_session import eventually

from tradealgo.bus.codec import TickFrame
from tradealgo.bus.keys import Stream, stream_key
from tradealgo.bus.redis_bus import Bus, Entry
from tradealgo.config import Manifest, Market, Mode, SessionDir
from tradealgo.consumer import shell
from tradealgo.consumer.shell import CandleFlow, Consumer, engine_of
from tradealgo.domain.candles import MINUTE_NS
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Module
from tradealgo.domain.ticks import empty_ticks
from tradealgo.process import Process
from tradealgo.strategies import load

DAY = dt.date(2026, 11, 20)
BOOK = InstrumentBook(
    Instrument(instrument_token=n << 8 | 1, exchange="NSE", tradingsymbol=f"S{n}", kind=Kind.EQUITY) for n in (1, 2)
)
MINUTES = 6
STRATEGY = """
from tradealgo.strategies import FLAT, LONG, Strategy


class Turn(Strategy):
    def setup(self):
        self.held = False

    def on_candle(self, candle):
        self.held = not self.held
        return LONG if self.held else FLAT
"""


class Ended(Exception):
    """Stands for the end of the process."""


def consumer_of(bus: Bus, bus_url: str, folder: Path) -> Consumer:
    session = SessionDir(folder / "session")
    manifest = Manifest(
        session_id=bus.session_id, mode=Mode.PAPER, account="A", strategy="strategy.py:Turn", parameters={},
        instruments=tuple(i.key for i in BOOK), capital=1e6, sizing=Sizing(units=1),
        market=Market(day=DAY.isoformat(), speed=1.0), rest_url="", ws_url="", bus_url=bus_url,
    )  # fmt: skip
    if not session.manifest.exists():
        session.write_manifest(manifest)
    session.strategy_source.write_text(STRATEGY)
    engine = engine_of(manifest, load(manifest.strategy, session), BOOK)
    return Consumer(Process(Module.CONSUMER, session, manifest, bus), CandleFlow(manifest, BOOK, engine, DAY))


async def tell_ticks(bus: Bus) -> None:
    """A tick of each instrument every half minute."""
    start = at(DAY, dt.time(10, 0))
    for step in range(2 * MINUTES + 1):
        ticks = empty_ticks(2)
        ticks["instrument_token"] = [i.instrument_token for i in BOOK]
        ticks["ts_event"], ticks["last_price"] = start + step * MINUTE_NS // 2, 100.0 + step
        await bus.publish_ticks([TickFrame(ticks, at(DAY, dt.time(10, 0)) + step)])


async def run_to_the_end(consumer: Consumer, bus: Bus) -> None:
    """Until what came of the last tick is published, or the consumer ends by itself."""
    last = await bus.last(Stream.TICKS)
    assert last is not None
    await consumer.recover()
    running = asyncio.ensure_future(consumer.run())

    async def is_over() -> bool:
        return running.done() or await bus.client.get(consumer._cursor_key) == last.id

    await eventually(is_over)
    running.cancel()
    with contextlib.suppress(Ended, asyncio.CancelledError):
        await running
    await consumer.close()


def ending_at(number: int, publish: Callable[..., object]) -> Callable[..., object]:
    """A publisher that ends the process instead of its transaction of this number."""
    transactions = 0

    async def publish_many(messages: object, snapshot: tuple[str, bytes] | None = None) -> None:
        nonlocal transactions
        transactions += snapshot is not None
        if snapshot is not None and transactions == number:
            raise Ended
        await publish(messages, snapshot=snapshot)  # type: ignore[misc]

    return publish_many


@pytest.mark.parametrize("ends_at", [1, 3])
async def test_requests_that_went_ahead_are_not_repeated(
    bus: Bus, bus_url: str, tmp_path: Path, ends_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are out, the candles that they come of aren't: the next run publishes those, and asks nothing again."""
    await tell_ticks(bus)
    first = consumer_of(bus, bus_url, tmp_path)
    monkeypatch.setattr(first._publisher, "publish_many", ending_at(ends_at, first._publisher.publish_many))
    await run_to_the_end(first, bus)
    ahead, closed = await bus.range(Stream.REQUESTS), await bus.range(Stream.CANDLES)
    assert len(ahead) == 2 * ends_at
    assert len(closed) == 2 * (ends_at - 1)

    pages, whole = [], bus.range

    async def a_page(stream: Stream, *given: bytes | int, **named: int) -> list[Entry]:
        found = await whole(stream, *given, **named)  # type: ignore[arg-type]
        pages.extend([len(found)] * (stream is Stream.CANDLES))
        return found

    monkeypatch.setattr(shell, "PAGE", 3)  # candles are read in pages: a day's at once would hold up the server
    monkeypatch.setattr(bus, "range", a_page)
    await run_to_the_end(consumer_of(bus, bus_url, tmp_path), bus)
    monkeypatch.setattr(bus, "range", whole)
    assert (sum(pages), max(pages) <= 3) == (len(closed), True)
    requests = [entry.message for entry in await bus.range(Stream.REQUESTS)]
    candles = [entry.message for entry in await bus.range(Stream.CANDLES)]
    assert len({r.request_id for r in requests}) == len(requests) == 2 * MINUTES
    assert len({(c.instrument_token, c.start) for c in candles}) == len(candles) == 2 * MINUTES
    assert [(r.start, r.instrument_token) for r in requests] == [(c.start, c.instrument_token) for c in candles]
    assert [r.position_after for r in requests[::2]] == [1, 0] * (MINUTES // 2)


@pytest.mark.parametrize("damage", ["another release", "cut short"])
async def test_a_snapshot_that_cannot_be_read_costs_no_tick(
    damage: str, bus: Bus, bus_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candles are built again from the ticks that are kept, and the open one isn't cut short."""
    await tell_ticks(bus)
    first = consumer_of(bus, bus_url, tmp_path)
    monkeypatch.setattr(first._publisher, "publish_many", ending_at(3, first._publisher.publish_many))
    await run_to_the_end(first, bus)
    cursor = await bus.client.get(first._cursor_key)
    saved = msgspec.msgpack.encode({"cursor": cursor, "builder": msgspec.msgpack.encode({"version": 1})})
    await bus.client.set(first._state_key, saved if damage == "another release" else saved[:-3])

    await run_to_the_end(consumer_of(bus, bus_url, tmp_path), bus)
    candles = [entry.message for entry in await bus.range(Stream.CANDLES)]
    assert [c.open for c in candles[::2]] == [100.0 + 2 * minute for minute in range(MINUTES)]
    assert len(candles) == 2 * MINUTES
    assert [e.message.code for e in await bus.range(Stream.ALERTS)] == ["CONSUMER_STATE"]


async def test_a_tick_entry_that_cannot_be_read_is_left_out(bus: Bus, bus_url: str, tmp_path: Path) -> None:
    """A frame of another version: the ticks after it make candles, people are told once, and a run after it reads on."""
    for code in range(2):
        await bus.client.xadd(stream_key(bus.session_id, Stream.TICKS), {b"t999": b"another version %d" % code})
    await tell_ticks(bus)
    for _ in range(2):
        await run_to_the_end(consumer_of(bus, bus_url, tmp_path), bus)
        assert len(await bus.range(Stream.CANDLES)) == 2 * MINUTES
        (alert,) = [e.message for e in await bus.range(Stream.ALERTS)]
        assert (alert.code, "t999" in alert.text) == ("UNREADABLE", True)
