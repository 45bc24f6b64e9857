"""What sweep() takes, refuses, keeps when interrupted, and shows."""

import datetime as dt
import math
import warnings

import numpy as np
import pandas as pd
import pytest

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.errors import BadConfig, StrategyError
from tradealgo.domain.hours import at
from tradealgo.research.backtest import backtest
from tradealgo.research.figures import DOWN
from tradealgo.research.grid import points_of
from tradealgo.research.sweep import sweep
from tradealgo.research.sweep_figures import heatmap
from tradealgo.strategies import FLAT, LONG, EmaCross, Strategy

pytestmark = pytest.mark.timeout(600)
OPEN = at(dt.date(2026, 11, 20), dt.time(9, 15))
GRID = {"fast": range(2, 8), "slow": [10, 20, 30]}


def day(seed=1, count=360):
    rng = np.random.default_rng(seed)
    array = np.zeros(count, CANDLE)
    array["start"] = OPEN + np.arange(count) * MINUTE_NS
    array["close"] = np.round(1_500.0 + np.cumsum(rng.normal(0.0, 0.8, count)), 2)
    array["open"] = np.r_[1_500.0, array["close"][:-1]]
    array["high"] = np.maximum(array["open"], array["close"])
    array["low"] = np.minimum(array["open"], array["close"])
    return array


class Fragile(Strategy):
    """Raises where its level is 0."""

    level: float = 1.0

    def on_candle(self, candle):
        return LONG if 1.0 / self.level < candle.close else FLAT


class Listed(Strategy):
    """Can't be compiled: a list."""

    level: float = 1.0

    def setup(self):
        self.seen = []

    def on_candle(self, candle):
        self.seen.append(candle.close)
        return LONG if len(self.seen) % 7 > self.level else FLAT


class Rooted(Strategy):
    """Its setup() raises below 0."""

    level: float = 1.0

    def setup(self):
        self.bar = math.sqrt(self.level)

    def on_candle(self, candle):
        return LONG if candle.close % 10.0 > self.bar else FLAT


def test_grids_are_products_samples_or_lists():
    """A sample has no repeats and depends on its seed alone; a list fills up what a point leaves out."""
    assert len(points_of(EmaCross, GRID)) == 18
    assert points_of(EmaCross, GRID)[4] == {"fast": 3, "slow": 20}
    some = points_of(EmaCross, {"fast": range(1, 10_000), "slow": range(1, 10_000)}, sample=50, seed=3)
    assert some == points_of(EmaCross, {"fast": range(1, 10_000), "slow": range(1, 10_000)}, sample=50, seed=3)
    assert len({tuple(p.values()) for p in some}) == 50
    assert points_of(EmaCross, [{"fast": 3}, {"slow": 7}]) == [{"fast": 3, "slow": 50}, {"fast": 20, "slow": 7}]
    assert points_of(EmaCross, {"stop_loss": [0, np.float64(0.1)]}) == [{"stop_loss": 0.0}, {"stop_loss": 0.1}]


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"fats": [1]}, "no parameter 'fats'"),
        ({"fast": [1.5]}, "EmaCross.fast is 1.5"),
        ({}, "no points"),
        ({"fast": []}, "no points"),
        ([{"fast": 1}, {"slwo": 2}], "no parameter 'slwo'"),
    ],
)
def test_bad_grids_get_a_sentence(grid, words):
    """Before any point is run."""
    with pytest.raises(BadConfig, match=words):
        sweep(EmaCross, grid, day(), progress=False)


def test_a_sweep_takes_the_class():
    """An instance has its parameters already."""
    with pytest.raises(BadConfig, match="takes the class"):
        sweep(EmaCross(), GRID, day())


def test_the_best_point_can_be_run(capsys):
    """Rows are sorted by the figure; the best one is a strategy."""
    found = sweep(EmaCross, GRID, day())
    assert "18" in repr(found)
    best = found.best(3, by="net profit")
    assert best["net profit"].is_monotonic_decreasing
    strategy = found.best_strategy(by="net profit")
    assert backtest(strategy, day()).final_equity == best["final equity"].iloc[0] == found["final equity"].max()
    with pytest.raises(BadConfig, match="no figure 'sharp'"):
        found.best(by="sharp")


def test_instruments_are_runs_of_their_own():
    """One row a point and instrument."""
    found = sweep(EmaCross, GRID, {"NSE:A": day(1), "NSE:B": day(2)}, progress=False).table
    assert len(found) == 36
    alone = sweep(EmaCross, GRID, {"NSE:B": day(2)}, progress=False).table
    assert found[found["instrument"] == "NSE:B"]["final equity"].tolist() == alone["final equity"].tolist()


def test_a_point_that_raises_is_named_and_the_others_have_their_figures():
    """Each is run by itself then; the sentence names the exception."""
    with pytest.warns(UserWarning, match="1 of 3 points raised, the first: Fragile raised") as caught:
        found = sweep(Fragile, {"level": [0.0, 1.0, 2.0]}, day(), progress=False)
    assert [w.category for w in caught].count(UserWarning) == 1  # Python's own may come at any moment
    assert list(found.errors) == [0]
    assert "ZeroDivisionError" in found.errors[0]
    assert "RAISED: 1 of 3 points" in repr(found)
    assert found._repr_html_().startswith('<div style="color:#d1495b"><b>1 of 3 points raised')
    assert found.done == len(found.table) == 3
    assert found["orders"].isna().tolist() == found["final equity"].isna().tolist() == [True, False, False]
    assert sorted(found.best()["level"]) == [1.0, 2.0]
    assert found.best_strategy().level in (1.0, 2.0)


def test_a_sweep_whose_points_all_raised_has_no_best():
    """The sentence is the error, not an empty table's."""
    with pytest.warns(UserWarning, match="2 of 2 points raised"):
        found = sweep(Fragile, {"level": [0.0], "stop_loss": [0.0, 0.1]}, day(), progress=False)
    assert not len(found.best())
    with pytest.raises(StrategyError, match=r"2 of 2 points raised, the first: Fragile raised.*line"):
        found.best_strategy()


def test_a_class_that_cannot_be_compiled_is_swept_interpreted():
    """Its points equal its backtests."""
    found = sweep(Listed, {"level": [0.0, 1.0, 2.0]}, day(), progress=False)
    wanted = [backtest(Listed(level=v), day(), engine="interpreted").final_equity for v in (0.0, 1.0, 2.0)]
    assert found["final equity"].tolist() == wanted


def test_a_class_that_cannot_be_compiled_is_told_once():
    """Minutes instead of a second must have a reason that people can read."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sweep(Listed, {"level": [2.0, 3.0]}, day(), progress=False)
    (told,) = (str(w.message) for w in said if "interpreted" in str(w.message))
    assert told.startswith("Listed can't be compiled (test_sweep_results.py)")
    assert "2 points run interpreted" in told


def test_a_setup_that_raises_is_its_points_own():
    """One bad point refuses no sweep."""
    with pytest.warns(UserWarning, match="1 of 2 points raised"):
        found = sweep(Rooted, {"level": [-1.0, 4.0]}, day(), progress=False)
    assert list(found.errors) == [0]
    assert found.table["orders"].iloc[1] > 0


def test_an_index_is_refused():
    """It has a price, but nobody can buy it."""
    with pytest.raises(BadConfig, match="NSE:NIFTY 50 is an index, which can't be traded"):
        sweep(EmaCross, GRID, {"NSE:NIFTY 50": day()}, progress=False)


def test_interrupting_keeps_what_is_done(monkeypatch):
    """The stop button raises KeyboardInterrupt in the cell."""
    import tradealgo.research.sweep as module

    real = module._on_threads

    def interrupted(job, tasks, workers):
        for n, done in enumerate(real(job, tasks, workers)):
            if n == 1:
                raise KeyboardInterrupt
            yield done

    monkeypatch.setattr(module, "_on_threads", interrupted)
    monkeypatch.setattr(module, "CHUNK", 16)
    with pytest.warns(UserWarning, match="interrupted: 16 of 18"):
        found = sweep(EmaCross, GRID, day(), progress=False)
    assert len(found.table) == found.done == 16


def test_figures_cover_the_grid():
    """The heatmap has a cell a pair; the parallel coordinates a line a point."""
    found = sweep(EmaCross, GRID, day(), progress=False)
    assert np.shape(found.heatmap(by="net profit").data[0].z) == (3, 6)
    dimensions = found.parallel(by="return").data[0].dimensions
    assert [d.label for d in dimensions] == ["fast", "slow", "return"]


@pytest.mark.parametrize(("lowest", "middle"), [(-1.0, 0.0), (2.0, None)])
def test_no_gain_is_coloured_like_a_loss(lowest, middle):
    """Of gains alone the scale has one direction; with losses among them zero is in its middle."""
    table = pd.DataFrame({"fast": [1, 2], "slow": [3, 3], "Sharpe": [lowest, 4.0]})
    cells = heatmap(table, "fast", "slow", "Sharpe").data[0]
    assert cells.zmid == middle
    assert (cells.colorscale[0][1] == DOWN) == (middle == 0.0)
