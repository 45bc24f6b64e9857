"""The honesty tools: who cheats is named, chance is drawn by a seed, formulas give their papers' figures."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.errors import BadConfig, StrategyError
from tradealgo.domain.hours import at
from tradealgo.research.backtest import backtest
from tradealgo.research.deflated_sharpe import DeflatedSharpe, deflated_sharpe, deflated_sharpe_ratio, luckiest_sharpe
from tradealgo.research.history import to_frame
from tradealgo.research.lookahead import check_lookahead
from tradealgo.research.monte_carlo import curves, deepest, monte_carlo
from tradealgo.research.return_figures import monthly_returns, returns_figure, trades_figure
from tradealgo.research.sweep import sweep
from tradealgo.strategies import EMA, FLAT, LONG, SHORT, EmaCross, Strategy

pytestmark = pytest.mark.timeout(300)


def market(days=6, seed=1, minutes=120):
    rng = np.random.default_rng(seed)
    array = np.zeros(days * minutes, CANDLE)
    opens = [at(dt.date(2026, 9, 14) + dt.timedelta(days=7 * (d // 5) + d % 5), dt.time(9, 15)) for d in range(days)]
    array["start"] = np.concatenate([o + np.arange(minutes) * MINUTE_NS for o in opens])
    array["close"] = np.round(1_500.0 + np.cumsum(rng.normal(0.0, 0.8, len(array))), 2)
    array["open"] = np.r_[1_500.0, array["close"][:-1]]
    array["high"] = np.maximum(array["open"], array["close"])
    array["low"] = np.minimum(array["open"], array["close"])
    array["volume"] = 1_000.0
    return array


CANDLES = market()
FRAME = to_frame(market())
BY_TIME = dict(zip(CANDLES["start"].tolist(), np.roll(CANDLES["close"], -1).tolist(), strict=True))


class Peeks(Strategy):
    """Counts candles and looks at the next one in a global array."""

    def setup(self):
        self.i = 0

    def on_candle(self, candle):
        self.i = min(self.i + 1, len(CANDLES) - 1)
        return LONG if CANDLES["close"][self.i] > candle.close else FLAT


class PeeksFrame(Peeks):
    """The same in a global frame."""

    def on_candle(self, candle):
        self.i = min(self.i + 1, len(FRAME) - 1)
        return LONG if FRAME["close"].iloc[self.i] > candle.close else FLAT


class PeeksByTime(Strategy):
    """Looks the next close up in a copy, by time: no change of the caller's candles reaches it."""

    def on_candle(self, candle):
        return LONG if BY_TIME[candle.start] > candle.close else FLAT


class Remembers(Strategy):
    """State in the class outlives a run."""

    heard = []

    def on_candle(self, candle):
        self.heard.append(candle.close)
        return LONG if len(self.heard) % 1_000 > 400 else FLAT


class Anchored(Strategy):
    """Never forgets the first close that it heard."""

    def setup(self):
        self.first = 0.0

    def on_candle(self, candle):
        self.first = self.first or candle.close
        return LONG if candle.close > self.first else SHORT


class Prepared(Strategy):
    """Looks at the whole day before it begins."""

    def setup(self):
        self.middle = float(np.median(CANDLES["close"]))

    def on_candle(self, candle):
        return LONG if candle.close > self.middle else SHORT


class Slow(Strategy):
    """Honest; its start fades with the EMA."""

    span: int = 10

    def setup(self):
        self.ema = EMA(self.span)

    def on_candle(self, candle):
        return LONG if candle.close > self.ema.update(candle.close) else SHORT


class Raises(Strategy):
    def on_candle(self, candle):
        raise ValueError("no")


def test_an_honest_strategy_passes_and_its_warm_up_is_told():
    """All instruments, all probes; the candles are as they were."""
    before = CANDLES.copy()
    found = check_lookahead(EmaCross(fast=5, slow=15), {"NSE:A": CANDLES, "NSE:B": market(seed=2)})
    assert found.check() is found
    assert 0 < max(found.warm_up.values()) < 200
    assert set(found.warm_up) == {"NSE:A", "NSE:B"}
    assert "passes again, future, date, start" in found.reading
    assert np.array_equal(before, CANDLES)


@pytest.mark.parametrize(
    ("cls", "candles", "probes"),
    [
        (Peeks, CANDLES, {"future", "start"}),
        (PeeksFrame, FRAME, {"future", "start"}),
        (PeeksByTime, CANDLES, {"date"}),
        (Prepared, CANDLES, {"future"}),
        (Remembers, CANDLES, {"again"}),
        (Anchored, CANDLES, {"start"}),
    ],
)
def test_cheats_are_caught(cls, candles, probes):
    """Each by the probes that can see it; the sentence names instrument, candle and time."""
    before = candles.copy()
    found = check_lookahead(cls, candles, instruments="NSE:INFY")
    assert probes <= {f.probe for f in found.findings}
    first = found.findings[0]
    when = pd.Timestamp(CANDLES["start"][first.candle], tz="UTC").tz_convert("Asia/Kolkata")
    assert f"NSE:INFY, candle {first.candle} of {when:%Y-%m-%d %H:%M} IST" in found.reading
    assert len(found.table) == len(found.findings)
    with pytest.raises(StrategyError, match=f"{cls.__name__}.* fails"):
        found.check()
    assert np.array_equal(before, candles)


class PeeksVolume(Peeks):
    """Looks at the next volume."""

    def on_candle(self, candle):
        self.i = min(self.i + 1, len(CANDLES) - 1)
        return LONG if CANDLES["volume"][self.i] > 1_000.0 else FLAT


@pytest.mark.parametrize("cls", [Peeks, PeeksVolume])
def test_the_first_candle_that_saw_the_future_is_the_last_before_the_first_cut(cls):
    """Who looks one candle ahead changes exactly there, whichever way the price went."""
    found = check_lookahead(cls, CANDLES, probes=("future",), cuts=5)
    assert found.findings[0].candle == len(CANDLES) // 6 - 1


def test_warm_up_longer_than_allowed_is_a_finding():
    """The bound is the caller's."""
    slow = Slow(span=60)
    measured = max(check_lookahead(slow, CANDLES, probes=("start",)).warm_up.values())
    assert measured > 2
    assert check_lookahead(slow, CANDLES, probes=("start",), warm_up=measured).passed
    assert not check_lookahead(slow, CANDLES, probes=("start",), warm_up=measured - 1).passed


def test_what_cannot_be_checked_gets_a_sentence():
    """A strategy that raises anyway; a probe that is none."""
    with pytest.raises(StrategyError, match="raised ValueError: no"):
        check_lookahead(Raises, CANDLES)
    with pytest.raises(BadConfig, match="some of again, future, date, start"):
        check_lookahead(EmaCross, CANDLES, probes=("past",))


def test_monte_carlo_is_its_seed():
    """The same seed, the same runs; another, others."""
    pnl = np.random.default_rng(3).normal(10.0, 100.0, 80)
    one, same, other = (monte_carlo(pnl, capital=10_000.0, seed=s, runs=500) for s in (1, 1, 2))
    assert np.array_equal(one.finals, same.finals)
    assert np.array_equal(one.bands, same.bands)
    assert not np.array_equal(one.finals, other.finals)
    assert one.actual[-1] == pytest.approx(10_000.0 + pnl.sum())
    assert (one.drawdowns <= 0.0).all()
    assert one.finals.mean() == pytest.approx(10_000.0 + pnl.sum(), abs=4.0 * 100.0 * 80**0.5 / 500**0.5)
    assert "nine runs in ten" in one.reading
    assert list(one.table.index) == ["5 %", "25 %", "50 %", "75 %", "95 %"]


def test_blocks_keep_neighbours_together():
    """A block of all trades is a rotation: the sum never changes, the drawdown may."""
    pnl = np.array([5.0, -3.0, 2.0, -8.0, 9.0])
    found = monte_carlo(pnl, capital=100.0, block=5, runs=50)
    assert found.finals == pytest.approx(105.0)
    assert len(np.unique(found.drawdowns)) > 1


def test_drawdowns_are_those_of_paper_and_pencil():
    """100, 110, 99, 120, 90: a quarter below 120."""
    equity = curves(np.array([[10.0, -11.0, 21.0, -30.0]]), 100.0)
    assert equity.tolist() == [[100.0, 110.0, 99.0, 120.0, 90.0]]
    assert deepest(equity).tolist() == [-0.25]


@pytest.mark.parametrize(
    ("trades", "options"),
    [([1.0], {"capital": 1.0}), ([1.0, 2.0], {}), ([1.0, 2.0], {"capital": 1.0, "block": 3}), ([1.0, np.nan], {"capital": 9.0})],
)  # fmt: skip
def test_monte_carlo_refuses_in_a_sentence(trades, options):
    """Too few trades, no capital, too long blocks."""
    with pytest.raises(BadConfig, match=r"expected rupees|draws from"):
        monte_carlo(trades, **options)


def test_deflated_sharpe_gives_the_papers_example():
    """Bailey and López de Prado (2014): 2.5 a year over 1,250 days, 100 trials of variance 1/2 a year, skew -3, kurtosis 10."""
    sharpe, variance = 2.5 / 250**0.5, 0.5 / 250
    shape = {"variance": variance, "observations": 1_250}
    assert luckiest_sharpe(variance, 100) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe_ratio(sharpe, trials=100, skew=-3, kurtosis=10, **shape) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe_ratio(sharpe, trials=46, skew=-3, kurtosis=10, **shape) == pytest.approx(0.9505, abs=5e-5)
    assert deflated_sharpe_ratio(sharpe, trials=88, **shape) == pytest.approx(0.9505, abs=5e-5)


def test_one_trial_is_held_against_zero():
    """Without a search there is nothing to correct: the probabilistic Sharpe ratio."""
    assert luckiest_sharpe(0.01, 1) == 0.0
    assert deflated_sharpe_ratio(0.0, variance=0.01, trials=1, observations=100) == 0.5


def test_a_sweeps_best_point_is_deflated():
    """More trials never make it more believable."""
    candles = market(days=20)
    found = sweep(EmaCross, {"fast": range(2, 8), "slow": [10, 20, 30]}, candles, progress=False)
    test = backtest(found.best_strategy(), candles)
    once, often = (deflated_sharpe(found, test, trials=n) for n in (1, 10_000))
    plain = deflated_sharpe(found, test)
    assert once.probability >= plain.probability >= often.probability
    assert plain.sharpe == pytest.approx(found["Sharpe"].max())
    assert plain.trials == 18
    assert "The best of 18 trials" in plain.reading
    with pytest.raises(BadConfig, match="at least 3 days"):
        deflated_sharpe(found, backtest(EmaCross, market(days=2)))


@pytest.mark.parametrize(
    ("probability", "shown", "words"),
    [
        (0.94996, "94.9%", "that is below 95 %"),
        (0.95, "95.0%", "more than the luck"),
        (0.9996, "99.9%", "more than the luck"),
        (float("nan"), "nan%", "below 95 %"),
    ],
)
def test_a_probability_reads_on_the_verdicts_side(probability, shown, words):
    """Rounded up, a chance just below 95 % would read as the 95.0 % that it lacks."""
    luck = DeflatedSharpe(probability, 2.0, 1.0, 10, 20, 0.0, 3.0, np.zeros(10))
    assert f"is higher is {shown}; " in luck.reading
    assert words in luck.reading
    assert shown in luck._repr_html_()


def test_figures_show_what_was_computed():
    """Monte Carlo's bands, the Sharpe ratios, returns by day and by month, won and lost trades."""
    candles = market(days=20)
    test = backtest(EmaCross(fast=3, slow=9), candles)
    runs = monte_carlo(test, runs=100)
    assert [t.name for t in runs.plot().data][:4] == ["9 of 10 runs", "half of the runs", "median", "the backtest"]
    found = sweep(EmaCross, {"fast": [2, 3], "slow": [10, 20]}, candles, progress=False)
    assert len(deflated_sharpe(found, test).plot().data[0].x) == 4
    days = returns_figure(test).data[0]
    assert list(days.x) == ["Mon", "Tue", "Wed", "Thu", "Fri"]
    assert np.nansum(days.z) / 100.0 * test.capital == pytest.approx(test.final_equity - test.capital)
    histograms = [t for t in trades_figure(test).data if t.type == "histogram"]
    assert sum(len(h.x) for h in histograms) == len(test.trades)


def test_months_add_up():
    """Each month's part of the capital; the year is their sum."""
    test = backtest(EmaCross(fast=3, slow=9), market(days=20))
    table = monthly_returns(test)
    assert list(table.index) == [2026]
    assert table.loc[2026, "whole year"] * test.capital == pytest.approx(test.final_equity - test.capital)
    assert table.loc[2026].notna().sum() == 3  # September, October, the year
