"""The tape gives back the candles that it was made of."""

import datetime as dt
import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.hours import market_hours
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind
from tradealgo.domain.ticks import MODE_FULL
from tradealgo.exchange.market import MarketDay
from tradealgo.exchange.tape import Tape

DAY = dt.date(2026, 11, 23)
INSTRUMENTS = [
    Instrument(instrument_token=408065, exchange="NSE", tradingsymbol="INFY", kind=Kind.EQUITY, tick_size=0.1),
    Instrument(
        instrument_token=81154, exchange="NFO", tradingsymbol="F", kind=Kind.FUTURE, tick_size=0.05, lot_size=65
    ),
    Instrument(instrument_token=256265, exchange="NSE", tradingsymbol="NIFTY 50", kind=Kind.INDEX, tick_size=0.05),
]


@st.composite
def candle_arrays(draw: st.DrawFn, instrument: Instrument) -> np.ndarray:
    """Candles of a few of the day's minutes, prices on tick, the last minute often among them."""
    hours = market_hours(instrument, DAY)
    minutes = (hours.close - hours.open) // MINUTE_NS
    chosen = draw(st.lists(st.sampled_from([0, 1, 2, 3, 7, minutes - 2, minutes - 1]), unique=True).map(sorted))
    candles = np.zeros(len(chosen), CANDLE)
    paise = round(instrument.tick_size * 100)
    units = st.integers(1, 40) if draw(st.booleans()) else st.integers(200, 2_000_000)
    for number, minute in enumerate(chosen):
        low, *inner, high = sorted(draw(st.lists(units, min_size=4, max_size=4)))
        opened, close = draw(st.sampled_from([inner, inner[::-1], [low, high], [high, low]]))
        prices = [unit * paise / 100 for unit in (opened, high, low, close)]
        volume = 0 if instrument.kind is Kind.INDEX else draw(st.integers(0, 10**7))
        candles[number] = (hours.open + minute * MINUTE_NS, *prices, volume, draw(st.integers(0, 10**9)))
    return candles


@st.composite
def market_days(draw: st.DrawFn) -> MarketDay:
    chosen = draw(st.lists(st.sampled_from(INSTRUMENTS), min_size=1, unique=True))
    candles = {i.instrument_token: draw(candle_arrays(i)) for i in chosen}
    return MarketDay(DAY, InstrumentBook(chosen), candles, {i.instrument_token: 100.0 for i in chosen})


def candles_from(ticks: np.ndarray, day: MarketDay, token: int) -> np.ndarray:
    """What a reader makes of one instrument's ticks."""
    hours, built, volume = day.hours(token), [], 0
    ticks = ticks[ticks["instrument_token"] == token]
    traded = np.where(ticks["mode"] == MODE_FULL, ticks["last_trade_time"], ticks["ts_event"])
    starts = traded // MINUTE_NS * MINUTE_NS
    for start in np.unique(starts[(starts >= hours.open) & (starts < hours.close)]):
        inside = ticks[starts == start]
        prices, total = inside["last_price"], int(inside["volume"][-1])
        built.append((start, prices[0], prices.max(), prices.min(), prices[-1], total - volume, inside["oi"][-1]))
        volume = total
    return np.array(built, CANDLE)


@settings(deadline=None)
@given(market_days(), st.integers(0, 2**40), st.sampled_from([(4, 4), (4, 12), (9, 60)]))
def test_ticks_make_the_source_candles(day: MarketDay, seed: int, ticks_a_minute: tuple[int, int]) -> None:
    """Candles built of a day's ticks equal those that the tape was made of."""
    fewest, most = ticks_a_minute
    ticks = Tape(day, seed, min_ticks=fewest, max_ticks=most).between(day.open - MINUTE_NS, day.close)
    for token, candles in day.candles.items():
        assert candles_from(ticks, day, token).tolist() == candles.tolist()


def test_some_minutes_begin_with_a_packet_that_tells_of_no_trade() -> None:
    """An eighth: the tick of before once more, price and volume of an earlier minute, the time of its trade unchanged."""
    hours = market_hours(INSTRUMENTS[0], DAY)
    candles = np.zeros((hours.close - hours.open) // MINUTE_NS, CANDLE)
    candles["start"] = hours.open + np.arange(len(candles)) * MINUTE_NS
    for name in ("open", "high", "low", "close"):
        candles[name] = 100 + np.arange(len(candles)) % 7
    candles["volume"] = 1_000
    token = INSTRUMENTS[0].instrument_token
    day = MarketDay(DAY, InstrumentBook(INSTRUMENTS[:1]), {token: candles}, {token: 99.0})
    ticks = Tape(day).between(day.open - MINUTE_NS, day.close - 1)
    again = np.flatnonzero(ticks["last_trade_time"][1:] < ticks["ts_event"][1:]) + 1
    assert 20 <= len(again) <= 80
    for name in ("last_price", "volume", "last_trade_time", "bid_price", "ask_price", "last_quantity"):
        assert (ticks[name][again] == ticks[name][again - 1]).all(), name
    minutes = ticks["ts_event"] // MINUTE_NS
    assert (minutes[again] > minutes[again - 1]).all()
    assert (ticks["last_trade_time"][again + 1] == ticks["ts_event"][again]).all()


@settings(deadline=None)
@given(market_days(), st.integers(0, 2**40))
def test_ticks_are_a_plausible_feed(day: MarketDay, seed: int) -> None:
    """Sorted, on whole seconds, volume never falls, last price inside the day's range, quotes uncrossed around it."""
    ticks = Tape(day, seed).between(0, 2**62)
    order = np.lexsort((np.arange(len(ticks)), ticks["instrument_token"], ticks["ts_event"]))
    assert (order == np.arange(len(ticks))).all()
    assert not (ticks["ts_event"] % 10**9).any()
    for token in day.candles:
        mine = ticks[ticks["instrument_token"] == token]
        assert (np.diff(mine["volume"]) >= 0).all()
        assert mine["ts_event"][[0, -1]].tolist() == [day.hours(token).open - 10**10, day.hours(token).close]
    traded = ticks[ticks["high"] > 0]
    assert (traded["low"] <= traded["last_price"]).all()
    assert (traded["last_price"] <= traded["high"]).all()
    quoted = traded[(traded["flags"] == 0) & (traded["bid_price"] > 0)]
    assert (quoted["bid_price"] < quoted["ask_price"]).all()
    assert (quoted["bid_price"] <= quoted["last_price"]).all()
    assert (quoted["last_price"] <= quoted["ask_price"]).all()


@settings(deadline=None)
@given(market_days(), st.data())
def test_any_cutting_gives_the_same_ticks(day: MarketDay, data: st.DataObject) -> None:
    """Ticks don't depend on how the day is cut into calls, nor on what was asked before."""
    begin, end = day.open - MINUTE_NS, day.close
    cuts = sorted(data.draw(st.lists(st.integers(begin, end), max_size=6)))
    edges = [begin, *cuts, end]
    tape = Tape(day)
    pieces = [tape.between(a, b) for a, b in itertools.pairwise(edges)]
    assert np.concatenate(pieces).tobytes() == Tape(day).between(begin, end).tobytes()


@settings(deadline=None)
@given(market_days(), st.data())
def test_snapshot_is_the_latest_tick_of_each(day: MarketDay, data: st.DataObject) -> None:
    """A snapshot holds what a listener from the beginning would have as each instrument's last tick."""
    at = data.draw(st.integers(day.open - MINUTE_NS, day.close + MINUTE_NS))
    latest = {t["instrument_token"]: t for t in Tape(day).between(0, at)}
    expected = [latest[token].tobytes() for token in sorted(latest)]
    assert [tick.tobytes() for tick in Tape(day).snapshot(at)] == expected


@settings(deadline=None)
@given(market_days())
def test_an_instrument_ticks_alike_alone_and_in_company(day: MarketDay) -> None:
    """What else is on the tape changes nothing of an instrument's ticks."""
    ticks = Tape(day).between(0, 2**62)
    for instrument in day.instruments:
        token = instrument.instrument_token
        alone = MarketDay(
            DAY, InstrumentBook([instrument]), {token: day.candles[token]}, {token: day.previous_close[token]}
        )
        assert Tape(alone).between(0, 2**62).tobytes() == ticks[ticks["instrument_token"] == token].tobytes()
