"""`walk_forward(Strategy, grid, candles, train, test)`: choose on one stretch of days, trade the next, and go on.

    rolling    |--- train ---|embargo|- test -|
                        |--- train ---|embargo|- test -|
    anchored   |--- train ---|embargo|- test -|
               |-------- train -------|embargo|- test -|

The embargo keeps the two apart: its candles warm the strategy up for the test and are traded in neither, so that no indicator
carries training prices into the test, and no position spans the two. Each window begins flat and is a backtest of its own.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tradealgo.domain.errors import BadConfig
from tradealgo.domain.hours import DAY_NS, IST_OFFSET_NS
from tradealgo.domain.instruments import Instrument
from tradealgo.research.backtest import Backtest, backtest, by_instrument
from tradealgo.research.columns import columns
from tradealgo.research.grid import Point
from tradealgo.research.sweep import sweep
from tradealgo.research.tables import candle_array
from tradealgo.strategies.base import Strategy

if TYPE_CHECKING:
    import pandas as pd

    from tradealgo.research.sweep_result import Sweep

#: By instrument: a CANDLE array.
Candles = dict[Instrument, np.ndarray]


class Window(NamedTuple):
    """Numbers of trading days, from 0."""

    train: range
    embargo: range
    test: range


class Step(NamedTuple):
    """One window's outcome: the best point of training, its backtest there, and the backtest of the test."""

    window: Window
    point: Point
    train: Backtest
    test: Backtest


def splits(days: int, train: int, test: int, *, embargo: int = 1, anchored: bool = False) -> list[Window]:
    """The windows that `days` trading days hold; tests follow each other without a gap, the last may be shorter.

    Raises BadConfig if there is none.
    """
    if train < 1 or test < 1 or embargo < 0:
        raise BadConfig(f"train {train!r}, test {test!r}, embargo {embargo!r}: expected days, at least 1, 1 and 0")
    if train + embargo >= days:
        raise BadConfig(
            f"{days} days don't hold {train} of training, {embargo} of embargo and a test: give more candles, or less train"
        )
    return [
        Window(
            range(0 if anchored else end - train, end),
            range(end, end + embargo),
            range(end + embargo, min(end + embargo + test, days)),
        )
        for end in range(train, days - embargo, test)
    ]


def walk_forward(
    strategy_class: type[Strategy], grid: Any, candles: Any, train: int, test: int, *, embargo: int = 1,
    anchored: bool = False, by: str = "Sharpe", instruments: Any = None, interval: int | None = None,
    sample: int | None = None, seed: int = 0, progress: bool = True, **options: Any,
) -> WalkForward:  # fmt: skip
    """Sweep each training window, trade its best point on the test after it. Interrupting keeps the windows that are done.

    Args:
        grid, sample, seed: as in `sweep`.
        train, test, embargo: trading days. Several instruments share the days and one point.
        anchored: training always begins with the first day.
        by: the sweep's figure that chooses the point (its mean over the instruments).
        options: capital, sizing, charges, slippage, fill, intraday, as in `backtest`.

    A position open at a window's end (only with intraday=False) is valued at the close, without an exit's charges.
    """
    read = {i: columns(c, i.key, interval) for i, c in by_instrument(candles, instruments).items()}
    options["interval"] = interval or min(d.interval for d in read.values())
    data = {i: candle_array(c) for i, c in read.items()}
    days = np.unique(np.concatenate([_day_numbers(c) for c in data.values()]))
    windows = splits(len(days), train, test, embargo=embargo, anchored=anchored)
    result = WalkForward(strategy_class, by, anchored)
    try:
        with _told_once():
            for window in _shown(windows, progress):
                inside = _cut(data, days, window.train)
                found = sweep(strategy_class, grid, inside, sample=sample, seed=seed, progress=False, **options)
                if found.done < len(found):
                    raise KeyboardInterrupt  # a sweep that is interrupted gives what it has
                point = best_point(found, by)
                strategy = strategy_class(**point)
                tested = _tested(strategy, data, days, window, options)
                result.steps.append(Step(window, point, backtest(strategy, inside, **options), tested))
    except KeyboardInterrupt:
        warnings.warn(f"interrupted: {len(result)} of {len(windows)} windows are done and kept", stacklevel=2)
    return result


@contextmanager
def _told_once() -> Iterator[None]:
    """What many windows warn of, with other days and figures, is said once, at the end."""
    told: dict[str, warnings.WarningMessage] = {}
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            yield
    finally:
        for one in said:
            told.setdefault(re.sub(r" and of \d+ more days?|\d+", "", str(one.message)), one)
        for one in told.values():
            warnings.warn(one.message, one.category, stacklevel=4)


def _day_numbers(candles: np.ndarray) -> np.ndarray:
    return (candles["start"] + IST_OFFSET_NS) // DAY_NS


def _cut(data: Candles, days: np.ndarray, wanted: range) -> Candles:
    """The candles of some days; instruments without any are left out."""
    if not len(wanted):
        return {}
    ends = np.array([days[wanted[0]], days[wanted[-1]] + 1])
    spans = {i: np.searchsorted(_day_numbers(c), ends) for i, c in data.items()}
    return {i: data[i][low:high] for i, (low, high) in spans.items() if high > low}


def best_point(found: Sweep, by: str) -> Point:
    """The point whose figure, in the mean over the instruments, is the highest; the first one if none has the figure. Not one that
    raised or lost all capital in any of them: what it lacks there must not lift its mean.
    """
    found.best(1, by)  # names the figures, if `by` is none
    shape = len(found.instruments), len(found.points)
    values = found.table[by].to_numpy(float).reshape(shape)
    is_bad = (found.table["max drawdown"].to_numpy(float) <= -1.0).reshape(shape)
    is_bad.flat[list(found.errors)] = True
    known = np.isfinite(values)
    mean = np.where(known, values, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    return found.points[int(np.argmax(np.where(known.any(0) & ~is_bad.any(0), mean, -np.inf)))]


def _tested(strategy: Strategy, data: Candles, days: np.ndarray, window: Window, options: dict[str, Any]) -> Backtest:
    """The test days alone, by a strategy that has heard the embargo's candles."""
    inside = _cut(data, days, window.test)
    embargo = {i: c for i, c in _cut(data, days, window.embargo).items() if i in inside}
    return backtest(strategy, inside, warm_up=embargo, **options)


def _shown(windows: list[Window], progress: bool) -> Iterator[Window]:
    if not progress:
        return iter(windows)
    from tqdm.auto import tqdm

    return iter(tqdm(windows, unit="window", leave=False))


class WalkForward:
    """What came of the windows. Money in rupees."""

    def __init__(self, cls: type[Strategy], by: str, anchored: bool) -> None:
        self.cls = cls
        self.by = by
        self.anchored = anchored
        self.steps: list[Step] = []

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a window: its days, the chosen parameters, profit a day and Sharpe in training and in the test."""
        import pandas as pd

        rows = []
        for step in self.steps:
            row: dict[str, Any] = {}
            for name, test in (("train", step.train), ("test", step.test)):
                row[f"{name} from"], row[f"{name} to"] = test.equity.index[0].date(), test.equity.index[-1].date()
            row.update(step.point)
            for name, test in (("train", step.train), ("test", step.test)):
                row[f"{name} days"] = len(_returns(test))
                row[f"{name} profit"] = test.final_equity - test.capital
                row[f"{name} Sharpe"] = _sharpe(test)
            rows.append(row)
        return pd.DataFrame(rows)

    @cached_property
    def equity(self) -> pd.Series:
        """The tests' equity, one after another: what trading the chosen points would have made."""
        import pandas as pd

        parts, made = [], 0.0
        for step in self.steps:
            parts.append(step.test.equity + made)
            made += step.test.final_equity - step.test.capital
        return pd.concat(parts).rename("equity")

    @property
    def capital(self) -> float:
        return self.steps[0].test.capital

    @property
    def profit(self) -> float:
        """Rupees that the tests made."""
        return float(self.table["test profit"].sum())

    @property
    def drawdown(self) -> pd.Series:
        """Fraction below the highest stitched equity so far (0 or negative)."""
        return self.equity / self.equity.cummax().clip(lower=self.capital) - 1.0

    @property
    def sharpe(self) -> float:
        """Of the stitched equity's daily returns."""
        from tradealgo.research import stats

        return stats.sharpe(stats.daily_returns(self.equity, self.capital))

    @property
    def efficiency(self) -> float:
        """Profit a day in the tests over profit a day of the same points in training; nan where training lost."""
        sums = self.table[["train profit", "train days", "test profit", "test days"]].sum()
        trained = sums["train profit"] / sums["train days"]
        return float(sums["test profit"] / sums["test days"] / trained) if trained > 0 else math.nan

    @property
    def reading(self) -> str:
        """One sentence."""
        if not self.steps:
            return "No window is done, so there is nothing to read."
        table = self.table
        won = int((table["test profit"] > 0).sum())
        made = (
            f"Out of sample {self.cls.__name__} made {self.profit:+,.0f} rupees in {table['test days'].sum()} days, "
            f"{won} of {len(table)} windows with a gain"
        )
        if math.isnan(self.efficiency):
            return f"{made}; even the best points lost in training, so there is nothing to carry over."
        return f"{made}; a day there made {self.efficiency:.0%} of a day in training: {self._verdict()}."

    def _verdict(self) -> str:
        if self.efficiency <= 0.0:
            return "what training found was chance, don't trade it"
        if self.efficiency < 0.5:
            return "most of what training found was chance"
        if self.efficiency > 1.5:
            return "more than training promised is luck as well, so give it more windows before believing it"
        return "most of it carried over, so these candles hold it; see that it is not one window's doing"

    def plot(self) -> Any:
        """The stitched equity by window, and profit a day in training beside the test's: a plotly Figure."""
        from tradealgo.research.honesty_figures import walk_forward_figure

        return walk_forward_figure(self)

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        return f"WalkForward({self.cls.__name__}, {len(self)} windows)\n{self.reading}"

    def _repr_html_(self) -> str:
        return f"<b>Walk-forward of {self.cls.__name__}</b><br>{self.reading}" + self.table.to_html()


def _returns(test: Backtest) -> pd.Series:
    from tradealgo.research import stats

    return stats.daily_returns(test.equity, test.capital)


def _sharpe(test: Backtest) -> float:
    from tradealgo.research import stats

    return stats.sharpe(_returns(test))
