"""What a sweep found: a table of its points, the best of them, and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tradealgo.domain.errors import BadConfig, StrategyError
from tradealgo.research.backtest import red
from tradealgo.research.stats import DAYS_A_YEAR
from tradealgo.strategies.base import Strategy

if TYPE_CHECKING:
    import pandas as pd

    from tradealgo.research.grid import Point

#: Figures of the table, as in a backtest's stats.
FIGURES = (
    "net profit", "return", "Sharpe", "max drawdown", "orders", "trades", "win rate", "profit factor", "charges",
    "final equity",
)  # fmt: skip


class Sweep:
    """One row a point and instrument. Acts as its `table` for columns and length: `s["Sharpe"]`, `len(s)`."""

    def __init__(self, cls: type[Strategy], instruments: list[str], points: list[Point], capital: float) -> None:
        self.cls = cls
        self.instruments = instruments
        self.points = points
        self.capital = capital
        self.errors: dict[int, str] = {}  # sentences of strategies that raised, by row
        self._raw = np.full((len(points) * len(instruments), 11), np.nan)

    def add(self, rows: Sequence[int], figures: np.ndarray, errors: dict[int, str]) -> None:
        """Take in the figures of some rows."""
        self._raw[list(rows)] = figures
        self.errors.update({rows[k]: text for k, text in errors.items()})
        self.__dict__.pop("table", None)

    @property
    def names(self) -> list[str]:
        """The parameters that the grid named."""
        return list(self.points[0])

    @property
    def done(self) -> int:
        """Rows that were run: all of them, unless the sweep was interrupted."""
        return int(self._is_done.sum())

    @property
    def _is_done(self) -> np.ndarray:
        found = np.isfinite(self._raw[:, 0])
        found[list(self.errors)] = True
        return found

    @property
    def error_text(self) -> str:
        """How many rows raised, and the first one's sentence; empty for none."""
        if not self.errors:
            return ""
        return f"{len(self.errors)} of {len(self)} points raised, the first: {self.errors[min(self.errors)]}"

    @cached_property
    def table(self) -> pd.DataFrame:
        """Parameters and figures of the rows that are done, nan where a strategy raised. Money in rupees, fractions of 1."""
        import pandas as pd

        keys = [{"instrument": i} for i in self.instruments] if len(self.instruments) > 1 else [{}]
        frame = pd.DataFrame([{**key, **point} for key in keys for point in self.points])
        frame = frame.assign(**_figures(self._raw, self.capital))
        frame = frame[self._is_done]
        return frame if self.errors else frame.astype(dict.fromkeys(("orders", "trades"), np.int64))

    def best(self, n: int = 10, by: str = "Sharpe") -> pd.DataFrame:
        """The `n` rows with the highest `by`, of those that didn't raise."""
        return (
            self.table.drop(index=list(self.errors))
            .sort_values(self._figure(by), ascending=False, kind="stable")
            .head(n)
        )

    def best_strategy(self, by: str = "Sharpe") -> Strategy:
        """The best point as a strategy, to backtest or launch. Raises StrategyError if all of them raised."""
        if len(self.errors) == len(self):
            raise StrategyError(self.error_text)
        row = int(self.best(1, by).index[0])
        return self.cls(**self.points[row % len(self.points)])

    def heatmap(self, x: str | None = None, y: str | None = None, by: str = "Sharpe") -> Any:
        """A figure over two parameters; over others, and over instruments, it shows the median."""
        from tradealgo.research.sweep_figures import heatmap

        names = [n for n in self.names if len({p[n] for p in self.points}) > 1] or self.names
        x = x or names[0]
        return heatmap(self.table, x, y or next((n for n in names if n != x), x), self._figure(by))

    def parallel(self, by: str = "Sharpe") -> Any:
        """Parallel coordinates of all points, coloured by a figure."""
        from tradealgo.research.sweep_figures import parallel

        return parallel(self.table, self.names, self._figure(by))

    def _figure(self, by: str) -> str:
        if by not in FIGURES:
            raise BadConfig(f"a sweep has no figure {by!r}: it has {', '.join(FIGURES)}")
        return by

    def __getitem__(self, name: Any) -> Any:
        return self.table[name]

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        of = f" of {len(self)}" if self.done < len(self) else ""
        raised = f"\nRAISED: {self.error_text}" if self.errors else ""
        return f"Sweep({self.cls.__name__}, {self.done}{of} points){raised}\n{self.best(5)}"

    def _repr_html_(self) -> str:
        of = f" of {len(self)}" if self.done < len(self) else ""
        head = f"<b>Sweep of {self.cls.__name__}: {self.done}{of} points</b>, the best by Sharpe:"
        return red(self.error_text) + head + self.best().to_html()


def _figures(raw: np.ndarray, capital: float) -> dict[str, Any]:
    final, orders, trades, won, sum_won, sum_lost, charges, drawdown, days, returns, squares = raw.T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = returns / days
        spread = np.sqrt(np.maximum(squares - days * mean * mean, 0.0) / (days - 1.0))
        sharpe = np.where(spread > 1e-15, mean / spread * math.sqrt(DAYS_A_YEAR), np.nan)
        rate, factor = won / trades, np.where(sum_lost < 0.0, sum_won / -sum_lost, np.nan)
    values = (
        final - capital, final / capital - 1.0, sharpe, drawdown, orders, trades, rate, factor, charges, final,
    )  # fmt: skip
    return dict(zip(FIGURES, values, strict=True))
