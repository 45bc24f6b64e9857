"""Walk-forward: windows never touch, and a test is what a session begun on its first day would have done."""

import datetime as dt
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.hours import at, ist_date
from tradealgo.domain.sizing import Sizing
from tradealgo.research.backtest import backtest
from tradealgo.research.sweep import sweep
from tradealgo.research.walk_forward import best_point, splits, walk_forward
from tradealgo.strategies import EmaCross

pytestmark = pytest.mark.timeout(600)
GRID = {"fast": [2, 3, 4], "slow": [8, 12]}


def market(days, seed=1, minutes=60):
    rng = np.random.default_rng(seed)
    array = np.zeros(days * minutes, CANDLE)
    opens = [at(dt.date(2026, 9, 1) + dt.timedelta(days=d), dt.time(9, 15)) for d in range(days)]
    array["start"] = np.concatenate([o + np.arange(minutes) * MINUTE_NS for o in opens])
    array["close"] = np.round(1_500.0 + np.cumsum(rng.normal(0.0, 0.8, len(array))), 2)
    array["open"] = np.r_[1_500.0, array["close"][:-1]]
    array["high"] = np.maximum(array["open"], array["close"])
    array["low"] = np.minimum(array["open"], array["close"])
    return array


@given(
    days=st.integers(1, 120), train=st.integers(1, 60), test=st.integers(1, 30), embargo=st.integers(0, 10),
    anchored=st.booleans(),
)  # fmt: skip
def test_windows_never_overlap_the_embargo(days, train, test, embargo, anchored):
    """Train, embargo, test: next to each other, in order; the tests cover all days that are left, once."""
    if train + embargo >= days:
        with pytest.raises(BadConfig, match="don't hold"):
            splits(days, train, test, embargo=embargo, anchored=anchored)
        return
    windows = splits(days, train, test, embargo=embargo, anchored=anchored)
    for w in windows:
        assert w.train.stop == w.embargo.start
        assert w.embargo.stop == w.test.start
        assert len(w.embargo) == embargo
        assert w.train.start == 0 if anchored else len(w.train) == train
        assert not {*w.train} & {*w.test} and not {*w.embargo} & ({*w.train} | {*w.test})  # noqa: PT018
    assert [d for w in windows for d in w.test] == list(range(train + embargo, days))


@pytest.mark.parametrize(("train", "test", "embargo"), [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_bad_windows_get_a_sentence(train, test, embargo):
    """Before anything is run."""
    with pytest.raises(BadConfig, match="expected days"):
        splits(50, train, test, embargo=embargo)


@given(
    seed=st.integers(0, 999), embargo=st.integers(0, 2), anchored=st.booleans(), intraday=st.booleans(),
    fill=st.sampled_from(["next_open", "close"]), by=st.sampled_from(["Sharpe", "net profit"]),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_each_window_is_its_sweep_and_a_run_that_trades_the_test_alone(seed, embargo, anchored, intraday, fill, by):
    """The point is the training sweep's; test orders are the targets of a run from the embargo on, from a flat start."""
    candles = market(10, seed)
    options = {"sizing": Sizing(units=10), "intraday": intraday, "fill": fill}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*(over night|over the end of)")  # what the made-up days hold is meant
        found = walk_forward(
            EmaCross, GRID, candles, 4, 2, embargo=embargo, anchored=anchored, by=by, progress=False, **options
        )
    days = np.array([ist_date(s).toordinal() for s in candles["start"].tolist()])
    days -= days[0]
    for step in found.steps:
        w = step.window
        inside = candles[np.isin(days, w.train)]
        swept = sweep(EmaCross, GRID, inside, progress=False, **options)
        assert step.point == best_point(swept, by)
        if np.isfinite(swept[by]).any():
            assert EmaCross(**step.point).parameters == swept.best_strategy(by).parameters
        heard = backtest(EmaCross(**step.point), candles[np.isin(days, [*w.embargo, *w.test])], **options)
        part = np.isin(days[np.isin(days, [*w.embargo, *w.test])], w.test)
        assert step.test.signals["target"].tolist() == heard.signals["target"][part].tolist()
        assert set(step.test.equity.index.date) == {
            ist_date(s) for s in candles["start"][np.isin(days, w.test)].tolist()
        }
        if not embargo:
            assert (
                step.test.final_equity
                == backtest(EmaCross(**step.point), candles[np.isin(days, w.test)], **options).final_equity
            )
    profit = sum(s.test.final_equity - s.test.capital for s in found.steps)
    assert found.equity.iloc[-1] == pytest.approx(found.capital + profit)
    assert len(found.equity) == sum(len(s.test.equity) for s in found.steps)


def test_training_never_sees_its_test():
    """Other prices in the last test days change no chosen point and nothing before them."""
    candles, changed = market(12), market(12)
    later = changed["start"] >= at(dt.date(2026, 9, 11), dt.time())
    for name in ("open", "high", "low", "close"):
        changed[name][later] *= 1.5
    one, other = (walk_forward(EmaCross, GRID, c, 5, 2, progress=False) for c in (candles, changed))
    untouched = [s for s in one.steps if s.window.train.stop <= 10]
    assert [s.point for s in untouched] == [s.point for s in other.steps][: len(untouched)]
    assert len(untouched) == 3
    assert one.steps[0].test.final_equity == other.steps[0].test.final_equity


def test_instruments_share_a_point():
    """The best in the mean over both; an instrument without candles in a window is left out of it."""
    named = {"NSE:A": market(10, 1), "NSE:B": market(10, 2)[:-120]}
    found = walk_forward(EmaCross, GRID, named, 4, 3, progress=False)
    assert [len(s.test.runs) for s in found.steps] == [2, 1]
    assert {"fast", "slow", "train Sharpe", "test profit"} <= set(found.table.columns)


def test_the_reading_and_the_figure_follow_the_figures():
    """One sentence, the stitched curve, a bar a window in training and test."""
    found = walk_forward(EmaCross, GRID, market(14), 5, 3, progress=False)
    assert f"{found.profit:+,.0f} rupees in {found.table['test days'].sum()} days" in found.reading
    trained = found.table["train profit"].sum() / found.table["train days"].sum()
    tested = found.table["test profit"].sum() / found.table["test days"].sum()
    assert np.isnan(found.efficiency) if trained <= 0 else found.efficiency == pytest.approx(tested / trained)
    bars = [t for t in found.plot().data if t.type == "bar"]
    assert [len(b.y) for b in bars] == [len(found)] * 2
    assert found.drawdown.min() <= 0.0


@pytest.mark.parametrize("number", [1, 2])
def test_interrupting_keeps_the_windows_that_are_done(monkeypatch, number):
    """The sweep of a window ends early, as by the stop button."""
    import tradealgo.research.walk_forward as module

    real, calls = module.sweep, []

    def interrupted(*args, **options):
        found = real(*args, **options)
        calls.append(found)
        if len(calls) == number:
            found._raw[1:] = np.nan
        return found

    monkeypatch.setattr(module, "sweep", interrupted)
    with pytest.warns(UserWarning, match=f"interrupted: {number - 1} of 3 windows"):
        found = walk_forward(EmaCross, GRID, market(14), 5, 3, progress=False)
    assert len(found) == number - 1
    assert ("No window is done" in found.reading) == (number == 1)


def test_what_each_window_warns_of_is_said_once():
    """Days that end before the square-off leave a position open, in nearly every window."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        walk_forward(EmaCross, GRID, market(10), 4, 2, progress=False, sizing=Sizing(units=10))
    assert sum("was held over the end" in str(w.message) for w in told) == 1
    assert all(w.filename == __file__ for w in told)
