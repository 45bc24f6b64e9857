"""The contract's own exits, candle by candle."""

import datetime as dt

import pytest

from tradealgo.domain.candles import MINUTE_NS, Candle
from tradealgo.domain.errors import StrategyError
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.strategies import FLAT, LONG, SHORT, Signal, Strategy
from tradealgo.strategies.guard import Guard
from tradealgo.strategies.runner import Runner

DAY = dt.date(2026, 11, 20)
SHARE = Instrument(instrument_token=1, exchange="NSE", tradingsymbol="INFY", kind=Kind.EQUITY)


def candle(close, low=None, high=None):
    return Candle(0, close, high or close, low or close, close)


def judged(guard, *steps):
    """(target, reason) of each (wanted, candle)."""
    return [(s.target, s.reason) for s in (guard.judge(c, w, False) for w, c in steps)]


def test_a_stop_acts_on_a_later_candle_and_bars_the_same_target():
    """The low reaches the stop: out, and not in again until the strategy has said another target."""
    long = Signal(1, 95.0)
    said = judged(
        Guard(0.0, 0.0, 0.0, 0),
        (long, candle(100, low=90)),  # the stop wasn't there yet
        (long, candle(100, low=95)),
        (long, candle(101)),
        (FLAT, candle(101)),
        (long, candle(101)),
    )
    assert said == [(1, ""), (0, "stop"), (0, "waits for another signal"), (0, ""), (1, "")]


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_stop_loss_take_profit_and_trailing_stop_on_both_sides(side):
    """Fractions of the entry's close or the best price, mirrored for a short position."""
    s = side.target
    moved = lambda by: candle(100 + s * by)  # noqa: E731
    assert judged(Guard(0.02, 0.0, 0.0, 0), (side, moved(0)), (side, moved(-1.9)), (side, moved(-2)))[-1] == (0, "stop")
    assert judged(Guard(0.0, 0.03, 0.0, 0), (side, moved(0)), (side, moved(2.9)), (side, moved(3)))[-1] == (
        0,
        "take-profit",
    )
    trailing = judged(
        Guard(0.0, 0.0, 0.02, 0), (side, moved(0)), (side, moved(10)), (side, moved(8.5)), (side, moved(7))
    )
    assert (0, "stop") in trailing[2:]  # 2 % of the best price: 2.2 from a long's 110, 1.8 from a short's 90
    assert trailing[1] == (s, "")


def test_a_position_is_held_at_most_max_candles():
    """The entry's candle counts as the first."""
    said = judged(Guard(0.0, 0.0, 0.0, 2), *[(LONG, candle(100))] * 4)
    assert said == [(1, ""), (1, ""), (0, "time"), (0, "waits for another signal")]


class Always(Strategy):
    def on_candle(self, candle):
        return LONG


class Raises(Strategy):
    def on_candle(self, candle):
        return LONG if 1 / (candle.close - 100.0) > 0 else FLAT


def test_square_off_is_forced_from_the_candle_that_ends_then():
    """A share of an auction day: 15:10. The next day the target holds again."""
    runner = Runner(Always(), SHARE, 60)
    starts = [at(DAY, dt.time(15, 8)), at(DAY, dt.time(15, 9)), at(DAY, dt.time(15, 14))]
    starts.append(at(dt.date(2026, 11, 23), dt.time(9, 15)))
    assert [runner.on_candle(Candle(s, 1.0, 1.0, 1.0, 1.0)).target for s in starts] == [1, 0, 0, 1]
    carried = Runner(Always(), SHARE, 60, intraday=False)
    assert carried.on_candle(Candle(starts[1], 1.0, 1.0, 1.0, 1.0)).target == 1


def test_an_error_names_instrument_candle_exception_and_line():
    """A person must find the place."""
    with pytest.raises(StrategyError) as caught:
        Runner(Raises(), SHARE, 60).on_candle(Candle(at(DAY, dt.time(10, 31)), 1.0, 1.0, 1.0, 100.0))
    said = str(caught.value)
    assert said.startswith("Raises raised on NSE:INFY, candle of 2026-11-20 10:31:00 IST: ZeroDivisionError")
    assert "test_strategy_guard.py: return LONG if 1 / (candle.close - 100.0) > 0 else FLAT" in said


def test_late_candles_stay_flat_by_minutes():
    """One candle every minute of the last half hour: flat from the one that ends at 15:10."""
    runner = Runner(Always(), SHARE, 60)
    first = at(DAY, dt.time(14, 45))
    targets = [runner.on_candle(Candle(first + i * MINUTE_NS, 1.0, 1.0, 1.0, 1.0)).target for i in range(30)]
    assert targets == [1] * 24 + [0] * 6
