"""The Producer as a process against a paper exchange that misbehaves: every loss is noticed, told and mended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from feed_session import FeedSession, eventually, feed_session

from tradealgo.bus.keys import Stream
from tradealgo.domain.state import Module
from tradealgo.domain.ticks import FLAG_CACHED
from tradealgo.exchange.testing import RunningExchange, running_exchange

SPEED = 60


@pytest.fixture
def paper() -> Iterator[RunningExchange]:
    """A paper exchange at sixty times real time, once it is started."""
    with running_exchange(speed=SPEED) as paper:
        yield paper


async def gap_alerts(session: FeedSession, wanted: int) -> bool:
    return sum(e.message.code == "FEED_GAP" for e in await session.bus.range(Stream.ALERTS)) >= wanted


async def gap_frames(session: FeedSession, wanted: int) -> bool:
    return sum(e.message.gap for e in await session.bus.range(Stream.TICKS)) >= wanted


async def live(session: FeedSession) -> None:
    """The Producer is LIVE on ticks newer than now."""
    now = session.paper.exchange.position
    await session.beat(Module.PRODUCER, lambda b: b.state == "LIVE" and b.ts_event > now, 30)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["drop_socket", "mute_socket", "half_open_socket"])
async def test_a_dead_socket_is_noticed_and_replaced(
    paper: RunningExchange, bus_url: str, tmp_path: Path, fault: str
) -> None:
    """Cut off, silent, or half open: another connection, a gap flag, an alert, and cached ticks marked as such."""
    async with feed_session(paper, bus_url, tmp_path, speed=SPEED) as session:
        session.start(Module.PRODUCER)
        paper.start()
        await live(session)
        paper.fault(fault)
        await eventually(lambda: gap_alerts(session, 1))
        await live(session)
        frames = [e.message for e in await session.bus.range(Stream.TICKS)]
        [at] = [n for n, frame in enumerate(frames) if frame.gap]
        assert at > 0
        cached = [
            int(t)
            for frame in frames[at:]
            for t in frame.ticks["instrument_token"][frame.ticks["flags"] & FLAG_CACHED != 0]
        ]
        assert sorted(cached) == sorted(i.instrument_token for i in paper.exchange.market.instruments)


@pytest.mark.slow
async def test_a_dead_token_waits_for_the_next_login(paper: RunningExchange, bus_url: str, tmp_path: Path) -> None:
    """Refused with 403, the Producer is DENIED and doesn't hammer; a newer BrokerSession brings it back."""
    async with feed_session(paper, bus_url, tmp_path, speed=SPEED) as session:
        session.start(Module.PRODUCER)
        paper.start()
        await live(session)
        paper.fault("token_death")
        paper.fault("drop_socket")
        await session.beat(Module.PRODUCER, lambda b: b.state == "DENIED")
        await asyncio.sleep(1)
        denied = await session.beat(Module.PRODUCER, lambda b: b.state == "DENIED")
        assert denied.figures["gaps"] == 0
        session.log_in()
        await live(session)
        assert await gap_frames(session, 1)


@pytest.mark.slow
async def test_noise_on_the_wire_is_counted_and_passed_over(
    paper: RunningExchange, bus_url: str, tmp_path: Path
) -> None:
    """Garbage, doubled and late frames never stop the feed."""
    async with feed_session(paper, bus_url, tmp_path, speed=SPEED) as session:
        session.start(Module.PRODUCER)
        paper.start()
        await live(session)
        for name in ("garbage_frame", "duplicate_ticks", "late_ticks", "freak_price"):
            paper.fault(name, count=3)
        beat = await session.beat(Module.PRODUCER, lambda b: bool(b.figures.get("bad")))
        assert beat.state == "LIVE"
        await live(session)
        known = {i.instrument_token for i in paper.exchange.market.instruments}
        for entry in await session.bus.range(Stream.TICKS):
            assert set(entry.message.ticks["instrument_token"].tolist()) <= known
