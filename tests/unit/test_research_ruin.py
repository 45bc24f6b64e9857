"""An account that loses all of its capital: no ratio flatters it, no search chooses it."""

import datetime as dt

import numpy as np
import pytest

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.hours import at
from tradealgo.domain.sizing import Sizing
from tradealgo.research import stats
from tradealgo.research.backtest import backtest
from tradealgo.research.sweep import sweep
from tradealgo.research.walk_forward import best_point
from tradealgo.strategies import FLAT, LONG, Strategy

pytestmark = pytest.mark.timeout(600)
DAYS, MINUTES = 8, 30
MONEY = {"capital": 100_000.0, "sizing": Sizing(units=1_000), "intraday": False, "charges": 0.0}


class Stays(Strategy):
    """Long for some candles from the first one on, then flat; for ever where it is 0."""

    candles: int = 0
    level: float = 1.0

    def setup(self):
        self.seen = 0

    def on_candle(self, candle):
        self.seen += 1
        return LONG if self.candles == 0 or self.seen <= self.candles * (1.0 / self.level) else FLAT


def falling(rate=0.94):
    """From 1,000, by some percent a day and never quite evenly."""
    array = np.zeros(DAYS * MINUTES, CANDLE)
    opens = [at(dt.date(2026, 9, 7) + dt.timedelta(days=d + d // 5 * 2), dt.time(9, 15)) for d in range(DAYS)]
    array["start"] = np.concatenate([o + np.arange(MINUTES) * MINUTE_NS for o in opens])
    steps = np.arange(len(array))
    array["close"] = np.round(1_000.0 * rate ** (steps / MINUTES) + np.sin(steps), 2)
    array["open"] = np.r_[1_000.0, array["close"][:-1]]
    array["high"], array["low"] = np.maximum(array["open"], array["close"]), np.minimum(array["open"], array["close"])
    return array


def test_below_nothing_there_is_no_ratio():
    """Returns on a negative equity have the wrong sign: the deeper the loss, the better its Sharpe ratio would look."""
    lost = backtest(Stays(), falling(), **MONEY)
    assert lost.final_equity < 0
    assert np.isnan(lost.stats()["Sharpe"])
    assert np.isnan(lost.stats()["Sortino"])
    assert lost.stats()["max drawdown"] < -1.0


def test_of_one_day_there_is_no_ratio():
    """Its only return is its own deviation: a Sortino ratio of -15.87 whatever was lost."""
    told = backtest(Stays(), falling()[:MINUTES], **MONEY).stats()
    assert told["net profit"] < 0
    assert np.isnan(told["Sharpe"])
    assert np.isnan(told["Sortino"])


def test_a_sweep_ranks_the_ruin_last_and_agrees_with_the_tables():
    """The point that leaves after a few candles is the best one, though it lost as well."""
    found = sweep(Stays, {"candles": [0, 5, 40]}, falling(), progress=False, **MONEY)
    assert found.table["Sharpe"].isna().tolist() == [True, False, False]
    assert found.best_strategy().candles != 0
    for row, candles in enumerate((0, 5, 40)):
        by_tables = stats.raw(backtest(Stays(candles=candles), falling(), **MONEY))
        np.testing.assert_allclose(found._raw[row], by_tables, rtol=1e-9, atol=1e-9)


def test_a_search_over_instruments_takes_no_point_that_raised_or_lost_all_in_one():
    """What a point lacks there doesn't lift its mean over the others."""
    candles = {"NSE:A": falling(1.02), "NSE:B": falling(0.94)}
    with pytest.warns(UserWarning, match="raised"):
        found = sweep(
            Stays, [{"candles": 0}, {"candles": 3, "level": 0.0}, {"candles": 9}], candles, progress=False, **MONEY
        )
    assert found.best(1)["candles"].item() == 0
    assert best_point(found, "Sharpe")["candles"] == 9
