"""The Consumer's basket engine: whole minutes, order requests, groups, failures, and recovery."""

import datetime as dt

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tradealgo.config import Manifest, Mode
from tradealgo.consumer.basket_engine import PAST_ALL, BasketEngine
from tradealgo.domain.candles import MINUTE_NS, ClosedCandle
from tradealgo.domain.hours import at
from tradealgo.domain.orders import Intent, Side
from tradealgo.domain.sizing import Sizing
from tradealgo.exchange.listing import listing
from tradealgo.strategies import BasketStrategy, Target

DAY = dt.date(2026, 11, 20)
OPEN = at(DAY, dt.time(9, 15))
BOOK = {i.key: i for i in listing(DAY)}
SHARE, CALL, PUT = BOOK["NSE:INFY"], BOOK["NFO:NIFTY26NOV25000CE"], BOOK["NFO:NIFTY26NOV24000PE"]
ALL = [SHARE, CALL, PUT]


class Turns(BasketStrategy):
    """Sells a strangle while INFY's close is even, turns it round in every third rupee, raises at 13."""

    def on_candles(self, candles, book):
        price = int(book.price(SHARE))
        if price == 13:
            raise RuntimeError("thirteen")
        if price % 2:
            return {}
        side = -1 if price % 3 else 1
        return {CALL: Target(lots=side, group="strangle", reason=str(price)), PUT: Target(lots=side, group="strangle")}


def engine(strategy=Turns, mode=Mode.PAPER):
    """A new engine of a session."""
    manifest = Manifest(
        session_id="s", mode=mode, account="A", strategy="", parameters={}, capital=1e6, sizing=Sizing(lots=1),
        instruments=tuple(i.key for i in ALL),
    )  # fmt: skip
    return BasketEngine(manifest, strategy, ALL)


def closed(instrument, n, price):
    """The n-th minute's candle."""
    start = OPEN + n * MINUTE_NS
    end = start + MINUTE_NS
    return ClosedCandle(instrument.instrument_token, 60, start, price, price, price, price, 5.0, 0.0, 4, end, end, end)


def test_a_minute_is_heard_when_every_instrument_has_closed():
    """Not before; the watermark isn't waited for."""
    e = engine()
    assert e.on_candles([closed(SHARE, 0, 100.0), closed(CALL, 0, 50.0)], 1, 0).requests == []
    out = e.on_candles([closed(PUT, 0, 40.0)], 2, 0)
    assert [(r.instrument, r.side, r.quantity) for r in out.requests] == [
        (CALL.key, Side.SELL, 65), (PUT.key, Side.SELL, 65)
    ]  # fmt: skip
    assert {r.ts_requested for r in out.requests} == {2}


def test_a_silent_instrument_is_waited_for_until_the_watermark():
    """Then the minute is whole without it; time alone makes it due."""
    e = engine()
    e.on_candles([closed(i, 0, 100.0) for i in ALL], 1, 0)
    assert e.on_candles([closed(SHARE, 1, 101.0)], 2, OPEN + MINUTE_NS).signals == []
    assert not e.is_due(OPEN + 2 * MINUTE_NS - 1)
    assert e.is_due(OPEN + 2 * MINUTE_NS)
    out = e.on_candles([], 3, OPEN + 2 * MINUTE_NS)
    assert [(r.intent, r.instrument, r.position_after) for r in out.requests] == [
        (Intent.EXIT, CALL.key, 0), (Intent.EXIT, PUT.key, 0)
    ]  # fmt: skip
    assert {r.start for r in out.requests} == {OPEN + MINUTE_NS}
    assert {r.reference_price for r in out.requests} == {100.0}
    assert not e.is_due(PAST_ALL)


def test_legs_of_a_group_say_so_and_exits_do_not():
    """A turn is two exits and two entries; the entries stand or fall together."""
    e = engine()
    e.on_candles([closed(i, 0, 100.0) for i in ALL], 1, 0)
    out = e.on_candles([closed(SHARE, 1, 102.0), closed(CALL, 1, 50.0), closed(PUT, 1, 50.0)], 1, 0)
    assert [(r.intent, r.position_after, r.group_size) for r in out.requests] == [
        (Intent.EXIT, 0, 0), (Intent.ENTRY, 65, 2), (Intent.EXIT, 0, 0), (Intent.ENTRY, 65, 2)
    ]  # fmt: skip
    groups = {r.group for r in out.requests if r.intent is Intent.ENTRY}
    assert groups == {f"{OPEN + MINUTE_NS}:strangle"}
    assert {r.group for r in out.requests if r.intent is Intent.EXIT} == {""}
    assert len({r.request_id for r in out.requests}) == 4


def test_changed_lots_ask_for_the_difference():
    """More is an entry of the rest, fewer an exit of a part."""

    class Steps(BasketStrategy):
        def on_candles(self, candles, book):
            return {CALL: Target(lots=int(book.price(SHARE)))}

    e = engine(Steps)
    asked = []
    for n, lots in enumerate((1.0, 3.0, 3.0, 2.0, -1.0)):
        asked += e.on_candles([closed(SHARE, n, lots), closed(CALL, n, 9.0)], n, PAST_ALL).requests
    assert [(r.intent, r.side, r.quantity, r.position_after) for r in asked] == [
        (Intent.ENTRY, Side.BUY, 65, 65), (Intent.ENTRY, Side.BUY, 130, 195), (Intent.EXIT, Side.SELL, 65, 130),
        (Intent.EXIT, Side.SELL, 130, 0), (Intent.ENTRY, Side.SELL, 65, -65),
    ]  # fmt: skip


def test_a_basket_that_raises_leaves_everything_and_stops():
    """Exits for what is held, one alert with the line, and silence afterwards."""
    e = engine()
    e.on_candles([closed(i, 0, 100.0) for i in ALL], 1, 0)
    out = e.on_candles([closed(SHARE, 1, 13.0), closed(CALL, 1, 50.0), closed(PUT, 1, 50.0)], 1, 0)
    assert [(r.intent, r.instrument, r.position_after) for r in out.requests] == [
        (Intent.EXIT, CALL.key, 0), (Intent.EXIT, PUT.key, 0)
    ]  # fmt: skip
    assert "RuntimeError: thirteen, line" in out.alerts[0].text
    assert "its 2 positions are being closed" in out.alerts[0].text
    assert set(e.stopped) == {i.instrument_token for i in ALL}
    later = e.on_candles([closed(i, 2, 100.0) for i in ALL], 1, PAST_ALL)
    assert (later.signals, later.requests, later.alerts) == ([], [], [])


def test_other_instruments_and_intervals_are_not_its_matter():
    """Candles of what it doesn't watch, or of five minutes, change nothing."""
    e = engine()
    stranger = closed(BOOK["NSE:TCS"], 0, 1.0)
    assert e.on_candles([stranger], 1, PAST_ALL).signals == []
    assert not e.is_due(PAST_ALL)


MINUTES = 8
PRICES = st.lists(
    st.tuples(st.sampled_from([100, 101, 102, 103]), st.booleans(), st.booleans()), min_size=MINUTES, max_size=MINUTES
)


def of(prices):
    """Candles of some minutes: the share's price, and whether call and put traded."""
    found = []
    for n, (price, call, put) in enumerate(prices):
        found += [closed(SHARE, n, float(price))]
        found += [closed(i, n, 50.0 + n) for i, traded in ((CALL, call), (PUT, put)) if traded]
    return found


@settings(max_examples=60, deadline=None)
@given(prices=PRICES, shuffle=st.randoms(use_true_random=False))
def test_how_candles_are_cut_into_frames_changes_nothing(prices, shuffle):
    """Any order within a minute, any batches: the same signals and requests as with whole minutes."""
    candles = of(prices)
    whole, cut = engine(), engine()
    expected = whole.on_candles(candles, 0, PAST_ALL)
    signals, requests = [], []
    for n in range(MINUTES):
        mine = [c for c in candles if c.start == OPEN + n * MINUTE_NS]
        shuffle.shuffle(mine)
        for candle in mine:
            out = cut.on_candles([candle], 0, OPEN + n * MINUTE_NS)
            signals, requests = signals + out.signals, requests + out.requests
        out = cut.on_candles([], 0, OPEN + (n + 1) * MINUTE_NS)
        signals, requests = signals + out.signals, requests + out.requests
    stamps = {"ts_event": 0, "ts_init": 0, "ts_closed": 0}
    assert [said(r, stamps) for r in requests] == [said(r, stamps) for r in expected.requests]
    assert signals == expected.signals


def said(request, stamps):
    """A request without the stamps of which candle closed last."""
    return msgspec.structs.replace(request, **stamps)


@settings(max_examples=60, deadline=None)
@given(prices=PRICES, cut=st.integers(0, MINUTES * 3), late=st.integers(0, 2 * MINUTE_NS))
def test_a_restart_goes_on_where_it_stopped(prices, cut, late):
    """Whatever was published before a kill -9, the rest comes once, as if nothing had happened."""
    candles = of(prices)
    before, after = candles[:cut], candles[cut:]
    watermark = (before[-1].start if before else OPEN) + late
    one = engine()
    one.on_candles(before, 0, watermark)
    expected = one.on_candles(after, 0, PAST_ALL)
    restarted = engine()
    restarted.replay(before, watermark)
    assert restarted.on_candles(after, 0, PAST_ALL) == expected


def test_what_no_minute_has_squared_off_is_left_by_time():
    """Nothing watched trades after 15:27: at 15:35 what was sold is bought back first, once, and people are told."""

    class Hedged(BasketStrategy):
        def on_candles(self, candles, book):
            return {PUT: Target(lots=1), CALL: Target(lots=-1)}

    e, restarted, due = engine(Hedged), engine(Hedged), at(DAY, dt.time(15, 35))
    minute = [closed(i, 372, 50.0) for i in (CALL, PUT)]
    e.on_candles(minute, 1, OPEN + 373 * MINUTE_NS)
    assert (e.is_due(due - 1), e.is_due(due), e.is_due(PAST_ALL)) == (False, True, False)
    out = e.on_candles([], 2, due)
    assert [(r.instrument, r.side, r.position_after, r.reason) for r in out.requests] == [
        (CALL.key, Side.BUY, 0, "square-off"), (PUT.key, Side.SELL, 0, "square-off")
    ]  # fmt: skip
    assert {r.start for r in out.requests} == {at(DAY, dt.time(15, 29))}
    assert [a.code for a in out.alerts] == ["square_off_by_time"] * 2
    restarted.replay(minute, due)
    for engine_ in (e, restarted):
        assert not engine_.is_due(due + 1)


def test_targets_of_numpys_are_plain_ones():
    """Lots, reason and group taken from arrays can't be published as they are."""

    class FromArrays(BasketStrategy):
        def on_candles(self, candles, book):
            word = np.array(["strangle"])[0]
            return {i: Target(lots=np.int64(-1), reason=word, group=word) for i in (CALL, PUT)}

    out = engine(FromArrays).on_candles([closed(i, 0, 50.0) for i in ALL], 1, 0)
    assert [(type(r.reason), type(r.group), r.quantity) for r in out.requests] == [(str, str, 65)] * 2
    msgspec.msgpack.encode(out)


def test_a_live_basket_hears_no_partial_candle():
    """The minute is heard without it once the watermark has passed, and one alert says so."""
    e = engine(mode=Mode.LIVE)
    partial = msgspec.structs.replace(closed(CALL, 0, 50.0), partial=True)
    out = e.on_candles([closed(SHARE, 0, 100.0), partial, closed(PUT, 0, 40.0)], 1, 0)
    assert ([a.code for a in out.alerts], out.requests) == (["CANDLE_PARTIAL"], [])
    assert e.is_due(OPEN + MINUTE_NS)
    assert e.on_candles([], 2, OPEN + MINUTE_NS).requests == []  # the call has no price: no half of a strangle
    assert not e.is_due(OPEN + MINUTE_NS)
    asked = e.on_candles([closed(i, 1, 100.0) for i in ALL], 3, 0).requests
    assert [r.instrument for r in asked] == [CALL.key, PUT.key]
