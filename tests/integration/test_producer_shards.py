"""More instruments than one connection may carry: over three, moved when one stays dead, and home again when it is back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from feed_session import FeedSession, eventually, feed_session

from tradealgo.bus.keys import Stream
from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind
from tradealgo.domain.state import Alert, Module
from tradealgo.domain.ticks import MODE_FULL, empty_ticks
from tradealgo.exchange.market import MarketDay
from tradealgo.exchange.service import PaperExchange
from tradealgo.exchange.testing import UNLIMITED, RunningExchange, serving
from tradealgo.exchange.ws import Connection

INSTRUMENTS, LIMIT = 6_000, 3_000


class SteadyTape:
    """Every instrument ticks once a second."""

    def __init__(self, market: MarketDay) -> None:
        self._ticks = empty_ticks(len(market.instruments))
        self._ticks["instrument_token"] = sorted(i.instrument_token for i in market.instruments)
        self._ticks["mode"], self._ticks["last_price"] = MODE_FULL, 100.0

    def snapshot(self, t_ns: int) -> np.ndarray:
        ticks = self._ticks.copy()
        ticks["ts_event"], ticks["volume"] = t_ns, t_ns // SECOND_NS % 10**9
        return ticks

    def between(self, t0_ns: int, t1_ns: int) -> np.ndarray:
        moments = range(t0_ns // SECOND_NS + 1, t1_ns // SECOND_NS + 1)
        frames = [self.snapshot(m * SECOND_NS) for m in moments]
        return np.concatenate(frames) if frames else empty_ticks(0)


@pytest.fixture
def paper() -> Iterator[RunningExchange]:
    """A paper exchange with 6,000 instruments, at real time once it is started."""
    book = InstrumentBook(
        Instrument(instrument_token=n << 8 | 1, exchange="NSE", tradingsymbol=f"S{n}", kind=Kind.EQUITY)
        for n in range(1, INSTRUMENTS + 1)
    )
    market = MarketDay(dt.date(2026, 11, 20), book, {})
    with serving(PaperExchange(market, limits=UNLIMITED, tape=SteadyTape(market))) as paper:
        yield paper


def carried(paper: RunningExchange) -> list[int]:
    """How many instruments each open socket has."""
    return sorted(len(c.subscriptions.modes) for c in paper.exchange.hub.connections)


async def alerts(session: FeedSession, code: str) -> list[Alert]:
    return [e.message for e in await session.bus.range(Stream.ALERTS) if e.message.code == code]


async def ticking(session: FeedSession) -> set[int]:
    """Instruments of the newest second's frames."""
    frames = [e.message.ticks for e in await session.bus.newest(Stream.TICKS, 12)]
    newest = max((int(f["ts_event"].max()) for f in frames), default=0)
    return {int(t) for f in frames for t in f["instrument_token"][f["ts_event"] >= newest - SECOND_NS]}


@pytest.mark.slow
async def test_a_dead_connections_instruments_move_and_come_home(
    paper: RunningExchange, bus_url: str, tmp_path: Path
) -> None:
    """6,000 over three sockets; one is cut and refused: the others carry 3,000 each; it returns: 2,000 each again."""
    async with feed_session(paper, bus_url, tmp_path) as session:

        async def each_carries(*counts: int) -> None:
            async def so() -> bool:
                return carried(paper) == list(counts) and len(await ticking(session)) == INSTRUMENTS

            await eventually(so, 45)

        async def told(count: int) -> list[Alert]:
            """Of the moves, which are told once they are made."""

            async def so() -> bool:
                return len(await alerts(session, "FEED_MOVED")) >= count

            await eventually(so)
            return await alerts(session, "FEED_MOVED")

        session.start(Module.PRODUCER)
        await session.beat(Module.PRODUCER, lambda b: b.state == "QUIET")
        paper.start()
        await each_carries(2_000, 2_000, 2_000)
        lost: Connection = paper.exchange.hub.connections[1]
        paper.fault("http_503_html", path="/ws", count=0)
        lost.drop()
        await each_carries(LIMIT, LIMIT)
        [moved] = await told(1)
        assert "2,000 of 2,000 instruments moved" in moved.text
        paper.control("DELETE", "faults")
        await each_carries(2_000, 2_000, 2_000)
        assert [a.resolved for a in await told(2)] == [False, True]

        async def all_flagged() -> bool:
            return {e.message.shard for e in await session.bus.range(Stream.TICKS) if e.message.gap} == {0, 1, 2}

        await eventually(all_flagged)
