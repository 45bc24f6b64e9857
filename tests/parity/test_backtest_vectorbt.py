"""The compiled simulator gives vectorbt's orders and equity on vectorbt's own conventions."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.hours import at
from tradealgo.domain.sizing import Sizing
from tradealgo.research.backtest import backtest
from tradealgo.strategies import FLAT, LONG, SHORT, EmaCross, Signal, Strategy

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
vbt = pytest.importorskip("vectorbt")
OPEN = at(dt.date(2026, 7, 30), dt.time(9, 15))


class ByVolume(Strategy):
    """The candle's volume says the target: 1 long, 2 short, else flat."""

    def on_candle(self, candle):
        return LONG if candle.volume == 1.0 else SHORT if candle.volume == 2.0 else FLAT


def made(count, seed):
    rng = np.random.default_rng(seed)
    array = np.zeros(count, CANDLE)
    array["start"] = OPEN + np.arange(count) * MINUTE_NS
    array["close"] = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.004, count))), 2)
    array["open"] = np.round(np.r_[100.0, array["close"][:-1]] * np.exp(rng.normal(0.0, 0.001, count)), 2)
    array["high"], array["low"] = np.maximum(array["open"], array["close"]), np.minimum(array["open"], array["close"])
    return array


def vectorbt_run(array, long, short, fill, fees, slippage, shorts):
    """vectorbt's from_signals: 100 units, entries where the target begins, exits where it ends."""
    index = pd.RangeIndex(len(array))
    close = pd.Series(array["close"], index)
    price, shift = (pd.Series(array["open"], index), 1) if fill == "next_open" else (close, 0)
    signals = [pd.Series(s, index).shift(shift, fill_value=False) for s in (long, ~long, short, ~short)]
    given = {"entries": signals[0], "exits": signals[1]}
    if shorts:
        given |= {"short_entries": signals[2], "short_exits": signals[3]}
    return vbt.Portfolio.from_signals(
        close, **given, price=price, size=100.0, fees=fees, slippage=slippage, init_cash=1e6, freq="1min"
    )


@given(
    count=st.integers(3, 200), seed=st.integers(0, 2**32 - 1), fill=st.sampled_from(["next_open", "close"]),
    fees=st.sampled_from([0.0, 0.0003]), slippage=st.sampled_from([0.0, 0.0005]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_long_only_orders_and_equity_are_vectorbts_to_the_last_bit(count, seed, fill, fees, slippage):
    """EMA crossover, 100 shares, proportional fees: order for order, and the value at each candle."""
    array = made(count, seed)
    ours = backtest(
        EmaCross(fast=2, slow=5), array, sizing=Sizing(units=100), charges=fees, slippage=slippage, fill=fill,
        intraday=False, interval=60,
    )  # fmt: skip
    long = ours.runs[0].signals.target == 1
    theirs = vectorbt_run(array, long, np.zeros(count, bool), fill, fees, slippage, shorts=False)
    records = theirs.orders.records
    orders = ours.runs[0].orders
    assert records["idx"].tolist() == orders["fill"].tolist()
    assert np.where(records["side"] == 0, records["size"], -records["size"]).tolist() == orders["quantity"].tolist()
    assert records["price"].tolist() == orders["price"].tolist()
    assert records["fees"].tolist() == orders["fees"].tolist()
    assert theirs.value().tolist() == ours.equity.tolist()


@given(volumes=st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=3, max_size=80), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_turns_from_long_to_short_give_the_portfolio_of_the_same_orders(volumes, seed):
    """A turn is two legs here and one order there: the same equity to a thousandth of a paisa, real charges included."""
    array = made(len(volumes), seed)
    array["volume"] = volumes
    ours = backtest(ByVolume(), array, sizing=Sizing(units=100), interval=60, intraday=False)
    np.testing.assert_allclose(ours.portfolio.value().to_numpy(), ours.equity.to_numpy(), rtol=0, atol=1e-5)
    per_fill = pd.Series(ours.runs[0].orders["quantity"]).groupby(ours.runs[0].orders["fill"]).sum()
    assert ours.portfolio.orders.count() == (per_fill != 0).sum()


def test_several_instruments_share_the_capital():
    """A portfolio of two columns in one group has our equity."""
    both = {"NSE:A": made(150, 1), "NSE:B": made(150, 2)}
    ours = backtest(EmaCross(fast=2, slow=5), both, intraday=False)
    np.testing.assert_allclose(ours.portfolio.value().to_numpy(), ours.equity.to_numpy(), rtol=0, atol=1e-4)
    assert ours.order_count == ours.portfolio.orders.count().sum()


def test_a_position_that_capital_does_not_cover_is_shown_whole():
    """Futures on margin: vectorbt's portfolio starts with the cash that the same orders take."""
    ours = backtest(EmaCross(fast=2, slow=5), made(150, 3), sizing=Sizing(units=50_000), intraday=False)
    assert ours.portfolio.orders.count() == ours.order_count
    profit = ours.portfolio.value().iloc[-1] - ours.portfolio.init_cash
    assert profit == pytest.approx(ours.final_equity - ours.capital, abs=0.01)


def test_a_signal_with_a_stop_is_the_same_there():
    """Contract exits change targets, so they reach the portfolio as any order does."""

    class Stopped(ByVolume):
        def on_candle(self, candle):
            return Signal(1, candle.close * 0.998)

    ours = backtest(Stopped(), made(150, 4), intraday=False)
    assert {"stop", "waits for another signal"} & set(ours.signals["reason"])
    np.testing.assert_allclose(ours.portfolio.value().to_numpy(), ours.equity.to_numpy(), rtol=0, atol=1e-4)
