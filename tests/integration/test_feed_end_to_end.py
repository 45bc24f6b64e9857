"""Exchange → Producer → bus → Consumer, all real: the candles that come out are the exchange's own, exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from feed_session import FeedSession, as_rows, by_token, feed_session

from tradealgo.bus.keys import Stream
from tradealgo.domain.hours import ist_text
from tradealgo.domain.state import Module
from tradealgo.exchange.testing import RunningExchange, running_exchange


@pytest.fixture
def paper(request: pytest.FixtureRequest) -> Iterator[RunningExchange]:
    """A paper exchange whose clock runs at the given speed once it is started; 0: it moves by `advance` alone."""
    with running_exchange(speed=request.param) as paper:
        yield paper


MODULES = (Module.PRODUCER, Module.CONSUMER)


async def assert_whole_day(session: FeedSession) -> None:
    """Every candle of the exchange, once, in order, to the last digit; and one signal for each of a traded instrument."""
    got = by_token(await session.candles())
    for instrument in session.paper.exchange.market.instruments:
        expected = as_rows(session.source(instrument.instrument_token))
        assert [tuple(c.candle) for c in got[instrument.instrument_token]] == expected
    signals = [entry.message for entry in await session.bus.range(Stream.SIGNALS)]
    traded = [i.instrument_token for i in session.paper.exchange.market.instruments if i.tradable]
    for token in traded:
        assert [s.start for s in signals if s.instrument_token == token] == [c.start for c in got[token]]
    requests = [entry.message.request_id for entry in await session.bus.range(Stream.REQUESTS)]
    assert requests
    assert len(requests) == len(set(requests))


@pytest.mark.parametrize("paper", [0], indirect=True)
async def test_a_day_comes_through_exactly(paper: RunningExchange, bus_url: str, tmp_path: Path) -> None:
    """A whole day, as fast as it goes: candles equal the exchange's, stamps are in order."""
    async with feed_session(paper, bus_url, tmp_path) as session:
        session.start(*MODULES)
        await session.ready()
        market = paper.exchange.market
        while paper.exchange.position < market.close:
            await session.advance(1_800)
        await session.read_up_to(market.close)
        await assert_whole_day(session)
        for candle in await session.candles():
            assert 0 < candle.ts_init <= candle.ts_closed
            assert candle.ts_event >= candle.start + 60 * 10**9


@pytest.mark.slow
@pytest.mark.parametrize("paper", [1_200], indirect=True)
async def test_consumer_killed_mid_stream_repeats_and_misses_nothing(
    paper: RunningExchange, bus_url: str, tmp_path: Path
) -> None:
    """kill -9 of the Consumer three times within a running day: still every candle, signal and request once."""
    async with feed_session(paper, bus_url, tmp_path, speed=1_200) as session:
        session.start(*MODULES)
        await session.ready()
        paper.start()
        market = paper.exchange.market
        for hour in (1, 2, 3):
            await session.read_up_to(market.open + hour * 3_600 * 10**9)
            session.kill_9(Module.CONSUMER)
            session.start(Module.CONSUMER)
        await session.read_up_to(market.close)
        await assert_whole_day(session)


@pytest.mark.slow
@pytest.mark.parametrize("paper", [300], indirect=True)
async def test_producer_killed_mid_stream_leaves_a_gap_that_is_known(
    paper: RunningExchange, bus_url: str, tmp_path: Path
) -> None:
    """kill -9 of the Producer: a gap flag and an alert, and outside of the gap the exchange's candles, each at most once, in
    order."""
    async with feed_session(paper, bus_url, tmp_path, speed=300) as session:
        session.start(*MODULES)
        await session.ready()
        paper.start()
        market = paper.exchange.market
        await session.read_up_to(market.open + 3_600 * 10**9)
        session.kill_9(Module.PRODUCER)
        frame = await session.bus.last(Stream.TICKS)
        assert frame is not None
        before = int(
            frame.message.ticks["ts_event"].max()
        )  # what it had read by then is known, not what was sent to it
        session.start(Module.PRODUCER)
        await session.beat(Module.PRODUCER, lambda b: b.state == "LIVE" and b.ts_event > before)
        after = paper.exchange.position
        until = after + 1_800 * 10**9
        await session.read_up_to(until)
        gaps = [e.message for e in await session.bus.range(Stream.TICKS) if e.message.gap]
        assert len(gaps) == 1
        [alert] = [e.message for e in await session.bus.range(Stream.ALERTS) if e.message.code == "FEED_GAP"]
        assert f"after {ist_text(before)} (the Producer was started again)" in alert.text
        minute = 60 * 10**9
        for token, candles in by_token(await session.candles()).items():
            starts = [c.start for c in candles]
            assert starts == sorted(set(starts))
            exact = {row[0]: row for row in as_rows(session.source(token))}
            whole = [c for c in candles if c.start + minute <= before - minute or c.start >= after + minute]
            assert len(whole) > 60
            assert [tuple(c.candle) for c in whole] == [exact[c.start] for c in whole]
