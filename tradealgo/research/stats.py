"""Statistics of a backtest. Ratios are of daily returns, annualised over 252 trading days, with no risk-free rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from tradealgo.research.backtest import Backtest

DAYS_A_YEAR = 252
#: Trading days below which a return isn't made one of a year: a day's 0.5 % would be 250 %.
DAYS_A_MONTH = 21

_PERCENT = ("return", "return a year", "max drawdown", "win rate")
_RUPEES = ("capital", "final equity", "net profit", "charges", "average trade", "best trade", "worst trade")
_SIGNED = ("return", "return a year", "net profit", "average trade", "best trade", "worst trade")


def daily_returns(equity: pd.Series, capital: float) -> pd.Series:
    """Returns from one day's last equity to the next's, the first against `capital`."""
    last = equity.groupby(equity.index.normalize()).last()  # type: ignore[attr-defined]
    return last.div(last.shift(fill_value=capital)).sub(1.0).rename("return")


def is_ruin(returns: pd.Series) -> bool:
    """Whether equity fell to nothing or below."""
    return bool((returns <= -1.0).any())


def sharpe(returns: pd.Series) -> float:
    """nan for fewer than two days or no variation, or where the capital was lost: nothing is earned on less than nothing."""
    if is_ruin(returns):
        return math.nan
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    return float(returns.mean()) / spread * math.sqrt(DAYS_A_YEAR) if spread > 0 else math.nan


def sortino(returns: pd.Series) -> float:
    """As Sharpe, against the losing days' deviation alone: of one day that would be the same number for any loss."""
    if is_ruin(returns) or len(returns) < 2:
        return math.nan
    down = float(np.sqrt((returns.clip(upper=0.0) ** 2).mean()))
    return float(returns.mean()) / down * math.sqrt(DAYS_A_YEAR) if down > 0 else math.nan


def summary(test: Backtest) -> pd.Series:
    """The figures that people ask for, by name. Money in rupees, fractions of 1, times in IST.

    The return a year is nan for less than a month, `DAYS_A_MONTH`.
    """
    equity, trades = test.equity, test.trades
    returns = daily_returns(equity, test.capital)
    growth = float(equity.iloc[-1]) / test.capital
    worst = float(test.drawdown.min())
    figures: dict[str, Any] = {
        "start": equity.index[0],
        "end": equity.index[-1],
        "days": len(returns),
        "candles": sum(r.data.size for r in test.runs),
        "capital": test.capital,
        "final equity": float(equity.iloc[-1]),
        "net profit": float(equity.iloc[-1]) - test.capital,
        "charges": test.charges["total"],
        "return": growth - 1.0,
        "return a year": _a_year(growth, len(returns)),
        "max drawdown": worst,
        "Sharpe": sharpe(returns),
        "Sortino": sortino(returns),
        **_of_trades(trades),
    }
    return pd.Series(figures, name=repr(test.strategy), dtype=object)


def _a_year(growth: float, days: int) -> float:
    if days < DAYS_A_MONTH:
        return math.nan
    return growth ** (DAYS_A_YEAR / days) - 1.0 if growth > 0 else -1.0


def shown(figures: pd.Series) -> pd.Series:
    """The figures of `summary` as people read them: with their units; – for what there isn't."""
    return pd.Series({name: _shown(str(name), value) for name, value in figures.items()}, name=figures.name)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return f"{value:%d %b %Y %H:%M} IST"
    if math.isnan(value):
        return "–"
    sign = "+" if name in _SIGNED else ""
    if name in _PERCENT:
        return f"{value:{sign}.2%}"
    if name in _RUPEES:
        return f"Rs {value:{sign},.2f}"
    if name == "average candles held":
        return f"{value:.1f} candles"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _of_trades(trades: pd.DataFrame) -> dict[str, Any]:
    pnl = trades["pnl"]
    won, lost = pnl[pnl > 0], pnl[pnl <= 0]
    n = len(pnl)
    return {
        "trades": n,
        "win rate": len(won) / n if n else math.nan,
        "average trade": float(pnl.mean()) if n else math.nan,
        "best trade": float(pnl.max()) if n else math.nan,
        "worst trade": float(pnl.min()) if n else math.nan,
        "profit factor": float(won.sum() / -lost.sum()) if lost.sum() < 0 else math.nan,
        "average candles held": float(trades["candles"].mean()) if n else math.nan,
    }


def raw(test: Backtest) -> np.ndarray:
    """A sweep's raw figures, by the way of the tables."""
    pnl = test.trades["pnl"]
    returns = daily_returns(test.equity, test.capital)
    if is_ruin(returns):
        returns = returns * math.nan
    won = pnl[pnl > 0]
    return np.array(
        [
            test.final_equity, test.order_count, len(pnl), len(won), won.sum(), pnl[pnl <= 0].sum(),
            float(test.orders["fees"].sum()), float(test.drawdown.min()),
            len(returns), returns.sum(skipna=False), (returns**2).sum(skipna=False),
        ],
        float,
    )  # fmt: skip
