"""A basket's backtest on options that hardly trade: nobody pays a price of long ago."""

import datetime as dt

import pandas as pd
import pytest

from tradealgo.domain.hours import at
from tradealgo.exchange.listing import listing
from tradealgo.research.backtest import backtest
from tradealgo.strategies import BasketStrategy, Target

DAY = dt.date(2026, 11, 20)
BOOK = {i.key: i for i in listing(DAY)}
SHARE, CALL = BOOK["NSE:INFY"], BOOK["NFO:NIFTY26NOV25000CE"]


class Holds(BasketStrategy):
    """Holds a lot of the call from one minute to another."""

    enters: int = 10
    leaves: int = 20

    def setup(self):
        self.minute = -1

    def on_candles(self, candles, book):
        self.minute += 1
        return {CALL: Target(lots=1)} if self.enters <= self.minute < self.leaves else {}


def candles(minutes, price):
    """One-price candles of some minutes of the day."""
    index = pd.DatetimeIndex([at(DAY, dt.time(9, 15)) + 60_000_000_000 * n for n in minutes], tz="UTC", name="start")
    prices = [price(n) for n in minutes]
    return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), prices) | {"volume": 100.0}, index=index)


def played(traded, **parameters):
    """Minute and price of each fill, and the codes of denials, where the call trades in some minutes at 100 + the minute."""
    share = candles(range(60), lambda n: 1_500.0)
    test = backtest(
        Holds(**parameters), {SHARE: share, CALL: candles(traded, lambda n: 100.0 + n)}, engine="event", slippage=0.0
    )
    opened = pd.Timestamp(at(DAY, dt.time(9, 15)), tz="UTC")
    fills = [((f.time - opened) // pd.Timedelta("1min"), f.price) for f in test.fills.itertuples()]
    return fills, test.denials["code"].tolist()


@pytest.mark.parametrize("traded", [range(60), [0, 10, 11, 20, 21, 40]])
def test_what_trades_is_filled_at_the_next_open(traded):
    """Asked for at the end of minutes 10 and 20."""
    assert played(traded) == ([(11, 111.0), (21, 121.0)], [])


def test_an_entry_on_a_stale_price_is_denied():
    """The call traded last eight minutes before; in a session its price would be as old. What isn't held isn't left."""
    fills, codes = played([0, 2, 15, 20, 21])
    assert fills == []
    assert codes == ["STALE_PRICE", "NOTHING_TO_DO"]


def test_an_exit_waits_for_the_next_trade():
    """Held, and silent from minute 12 to 32: left at the price of minute 33, not at that of minute 12."""
    assert played([0, 10, 11, 12, 33, 34]) == ([(11, 111.0), (33, 133.0)], [])


@pytest.mark.parametrize("traded", [range(60), [0, 10, 11, 12, 33, 34], [0, 10, 11, 12]])
def test_an_order_names_the_minute_that_it_was_asked_for_in(traded):
    """Also where the option has no candle of it, so that a session's own order of that minute can be held against it."""
    test = backtest(
        Holds(), {SHARE: candles(range(60), lambda n: 1_500.0), CALL: candles(traded, lambda n: 9.0)}, engine="event"
    )
    opened = pd.Timestamp(at(DAY, dt.time(9, 15)), tz="UTC")
    assert ((test.orders["signal"] - opened) // pd.Timedelta("1min")).tolist() == [10, 20]
    assert (test.orders["time"] >= test.orders["signal"]).all()


def test_what_trades_no_more_that_day_is_left_at_its_last_price():
    """There is no other; in the minute in which it is asked for."""
    assert played([0, 10, 11, 12]) == ([(11, 111.0), (20, 112.0)], [])
