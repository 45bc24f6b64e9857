"""A stretch of a day with sockets that break every few seconds: all gaps are known, all else is exact, memory is flat.

TRADEALGO_SOAK_MINUTES sets how many minutes of the market are played (375 is a whole day, six minutes of real time).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from feed_session import FeedSession, as_rows, by_token, feed_session

from tradealgo.bus.keys import Stream
from tradealgo.domain.candles import MINUTE_NS
from tradealgo.domain.state import Module
from tradealgo.exchange.testing import RunningExchange, running_exchange

SPEED = 60
MINUTES = int(os.environ.get("TRADEALGO_SOAK_MINUTES", "20"))
#: Wall-clock allowance for a loaded machine; five seconds of feed time are a twelfth of a second here.
NOTICED_WITHIN_S = 2.0
GROWTH_MB = 24


@pytest.fixture
def paper() -> Iterator[RunningExchange]:
    """A paper exchange at sixty times real time, once it is started."""
    with running_exchange(speed=SPEED) as paper:
        yield paper


def memory_mb(session: FeedSession) -> float:
    return sum(psutil.Process(p.pid).memory_info().rss for p in session.processes.values()) / 2**20


async def break_sockets(session: FeedSession, until: int) -> list[tuple[float, int, int]]:
    """Cut all sockets every few seconds. (wall time, data time at the cut, data time when ticks came again) of each."""
    draw, cuts = random.Random(1), []
    while session.paper.exchange.position < until:
        await asyncio.sleep(draw.uniform(1.0, 3.0))
        wall, at = time.time(), session.paper.exchange.position
        session.paper.fault("drop_socket")
        await asyncio.sleep(0.2)
        now = session.paper.exchange.position
        await session.beat(Module.PRODUCER, lambda b, now=now: b.state == "LIVE" and b.ts_event > now)
        cuts.append((wall, at, session.paper.exchange.position))
    return cuts


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_soak(paper: RunningExchange, bus_url: str, tmp_path: Path) -> None:
    """Candles outside of the gaps equal the exchange's; each cut is noticed, flagged and told; nothing grows."""
    async with feed_session(paper, bus_url, tmp_path, speed=SPEED) as session:
        session.start(Module.PRODUCER, Module.CONSUMER)
        await session.ready()
        paper.start()
        market = paper.exchange.market
        await session.read_up_to(market.open + 3 * MINUTE_NS)
        before = memory_mb(session)
        until = market.open + MINUTES * MINUTE_NS
        cuts = await break_sockets(session, until)
        await session.read_up_to(until + 2 * MINUTE_NS)
        assert memory_mb(session) - before < GROWTH_MB
        await assert_cuts_known(session, cuts)
        for token, candles in by_token(await session.candles()).items():
            starts = [c.start for c in candles]
            assert starts == sorted(set(starts))
            exact = {row[0]: row for row in as_rows(session.source(token))}
            # A gap touches the minutes that it lies in, and the volume of the one in which ticks came again
            touched = {m for _, cut, back in cuts for m in range(cut // MINUTE_NS, back // MINUTE_NS + 1)}
            whole = [c for c in candles if c.start // MINUTE_NS not in touched and c.start < until]
            assert len(whole) >= 3
            assert [tuple(c.candle) for c in whole] == [exact[c.start] for c in whole]


async def assert_cuts_known(session: FeedSession, cuts: list[tuple[float, int, int]]) -> None:
    """Each cut has a heartbeat that says so soon after it, a flagged frame and an alert."""
    away = [e.message.ts / 1e9 for e in await session.bus.range(Stream.HEALTH) if e.message.state == "BACKING_OFF"]
    for wall, _, _ in cuts:
        assert any(0 <= noticed - wall < NOTICED_WITHIN_S for noticed in away)
    assert sum(e.message.gap for e in await session.bus.range(Stream.TICKS)) == len(cuts)
    assert sum(e.message.code == "FEED_GAP" for e in await session.bus.range(Stream.ALERTS)) == len(cuts)
