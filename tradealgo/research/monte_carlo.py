"""`monte_carlo(backtest)`: the same trades drawn again and again, to see how much of a result was their order and luck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tradealgo.domain.errors import BadConfig

if TYPE_CHECKING:
    import pandas as pd

BANDS = (5, 25, 50, 75, 95)  # percentiles
_AT_A_TIME = 2_000_000  # trades drawn at once: bounds memory
_STEPS = 300  # points of a band


class MonteCarlo(NamedTuple):
    """`finals` (rupees) and `drawdowns` (fractions, 0 or negative) have one value a run.

    `bands` holds the BANDS of equity (a row each) after `steps` trades, `actual` the equity of the trades as they came.
    """

    capital: float
    finals: np.ndarray
    drawdowns: np.ndarray
    steps: np.ndarray
    bands: np.ndarray
    actual: np.ndarray
    actual_drawdown: float

    @property
    def table(self) -> pd.DataFrame:
        """Final equity and deepest drawdown by percentile of the runs, the unlucky ones first."""
        import pandas as pd

        return pd.DataFrame(
            {"final equity": np.percentile(self.finals, BANDS), "max drawdown": np.percentile(self.drawdowns, BANDS)},
            index=pd.Index([f"{b} %" for b in BANDS], name="percentile"),
        )

    @property
    def chance_of_loss(self) -> float:
        """Part of the runs that ended below the capital."""
        return float((self.finals < self.capital).mean())

    @property
    def reading(self) -> str:
        """One sentence."""
        low, high = np.percentile(self.finals - self.capital, (5, 95))
        worst = float(np.percentile(self.drawdowns, 5))
        return (
            f"With the same kind of trades, nine runs in ten end between {low:+,.0f} and {high:+,.0f} rupees and "
            f"{self.chance_of_loss:.0%} lose; one in twenty falls {-worst:.1%} or more on the way, at closed trades (the backtest: "
            f"{-self.actual_drawdown:.1%}; by candle, as in its stats, a fall is deeper), so size positions for that fall."
        )

    def plot(self) -> Any:
        """Bands of equity by trade with the backtest's own path, and the drawdowns' distribution: a plotly Figure."""
        from tradealgo.research.honesty_figures import monte_carlo_figure

        return monte_carlo_figure(self)

    def __repr__(self) -> str:
        return f"MonteCarlo({len(self.finals)} runs)\n{self.reading}"

    def _repr_html_(self) -> str:
        shown = self.table.style.format({"final equity": "{:,.0f}", "max drawdown": "{:.2%}"}).to_html()
        return f"<b>Monte Carlo over trades, {len(self.finals):,} runs</b><br>{self.reading}{shown}"


def monte_carlo(
    trades: Any, *, runs: int = 2_000, seed: int = 0, block: int = 1, capital: float | None = None
) -> MonteCarlo:
    """Draw as many trades as there were, with replacement, `runs` times.

    Args:
        trades: a Backtest, or the trades' profits in rupees in their order (then `capital` is needed).
        seed: the same seed gives the same runs.
        block: trades that follow each other and are drawn together; 1 takes them for independent. Give a day's number
            of trades if losses come in rows.

    Raises:
        BadConfig: fewer than 2 trades, no run, or no capital.
    """
    if hasattr(trades, "trades"):
        capital = trades.capital if capital is None else capital
        trades = trades.trades.sort_values("exit_time", kind="stable")["pnl"]
    pnl = np.asarray(trades, float)
    if pnl.ndim != 1 or len(pnl) < 2 or not np.isfinite(pnl).all():
        raise BadConfig(f"monte_carlo got {pnl.size} trades: it draws from at least 2 profits in rupees")
    if capital is None or not capital > 0 or runs < 1 or not 1 <= block <= len(pnl):
        raise BadConfig(
            f"capital {capital!r}, runs {runs!r}, block {block!r}: expected rupees above 0, at least 1 run, "
            f"and blocks of 1 to {len(pnl)} trades"
        )
    return _runs(pnl, float(capital), runs, np.random.default_rng(seed), block)


def _runs(pnl: np.ndarray, capital: float, runs: int, rng: np.random.Generator, block: int) -> MonteCarlo:
    steps = np.unique(np.linspace(0, len(pnl), min(_STEPS, len(pnl) + 1)).astype(int))
    finals, drawdowns = np.empty(runs), np.empty(runs)
    paths = np.empty((runs, len(steps)), np.float32 if runs * len(steps) > _AT_A_TIME else float)
    at_once = max(_AT_A_TIME // len(pnl), 1)
    for begin in range(0, runs, at_once):
        some = slice(begin, min(begin + at_once, runs))
        equity = curves(pnl[_drawn(len(pnl), some.stop - begin, block, rng)], capital)
        finals[some], drawdowns[some], paths[some] = equity[:, -1], deepest(equity), equity[:, steps]
    actual = curves(pnl[None], capital)
    bands = np.percentile(paths, BANDS, axis=0)
    return MonteCarlo(capital, finals, drawdowns, steps, bands, actual[0, steps], float(deepest(actual)[0]))


def _drawn(trades: int, runs: int, block: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of trades, a row a run: blocks that begin anywhere and go on from the first after the last."""
    begins = rng.integers(0, trades, (runs, -(-trades // block)))
    return ((begins[:, :, None] + np.arange(block)) % trades).reshape(runs, -1)[:, :trades]


def curves(pnl: np.ndarray, capital: float) -> np.ndarray:
    """Equity before the first and after each trade, a row a run."""
    return capital + np.concatenate([np.zeros((len(pnl), 1)), np.cumsum(pnl, axis=1)], axis=1)


def deepest(equity: np.ndarray) -> np.ndarray:
    """The deepest fall of each row from its highest so far, as a fraction (0 or negative)."""
    return (equity / np.maximum.accumulate(equity, axis=1) - 1.0).min(axis=1)
