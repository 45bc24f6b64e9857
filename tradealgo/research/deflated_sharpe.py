"""`deflated_sharpe(sweep, backtest)`: is the best of many points better than the luckiest of as many worthless ones?

Bailey and López de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40 (5), 2014.
"""

from __future__ import annotations

import math
import warnings
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tradealgo.domain.errors import BadConfig

if TYPE_CHECKING:
    from tradealgo.research.backtest import Backtest
    from tradealgo.research.sweep_result import Sweep

_NORMAL = NormalDist()


def luckiest_sharpe(variance: float, trials: int) -> float:
    """The highest Sharpe ratio to expect of `trials` independent ones without any skill, whose variance is given."""
    if trials < 2:
        return 0.0
    gamma = float(np.euler_gamma)
    quantiles = _NORMAL.inv_cdf(1.0 - 1.0 / trials), _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - gamma) * quantiles[0] + gamma * quantiles[1])


def deflated_sharpe_ratio(
    sharpe: float, *, variance: float, trials: int, observations: int, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """The probability that the true Sharpe ratio is above the luckiest of `trials` without skill.

    Args:
        sharpe: of one observation's returns, not annualised.
        variance: of the trials' Sharpe ratios, not annualised.
        observations: how many returns `sharpe` is of.
        skew, kurtosis: of these returns; a normal distribution has 0 and 3.
    """
    above = (sharpe - luckiest_sharpe(variance, trials)) * math.sqrt(observations - 1)
    spread = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    return _NORMAL.cdf(above / math.sqrt(spread)) if spread > 0.0 else math.nan


class DeflatedSharpe(NamedTuple):
    """`probability` that the best point is no product of the search. Sharpe ratios are annualised over 252 days."""

    probability: float
    sharpe: float
    luckiest: float
    trials: int
    days: int
    skew: float
    kurtosis: float
    sharpes: np.ndarray  # of all points

    @property
    def reading(self) -> str:
        """One sentence."""
        if self.sharpe <= 0.0:
            verdict = "even the best lost, so there is nothing to explain"
        elif self.probability >= 0.95:
            verdict = "it is more than the luck of the search"
        else:
            verdict = (
                "that is below 95 %, so it may well be the luck of the search; more days, or fewer points, would tell"
            )
        return (
            f"The best of {self.trials} trials has a Sharpe ratio of {self.sharpe:.2f} over {self.days} days, and the luckiest of "
            f"as many without skill would have about {self.luckiest:.2f}: the chance that its true one is higher is "
            f"{self.percent}; {verdict}."
        )

    @property
    def percent(self) -> str:
        """The probability as text, cut and not rounded: what is below 95 % never reads as 95.0 %."""
        return f"{self.probability if math.isnan(self.probability) else math.floor(self.probability * 1e3) / 1e3:.1%}"

    def plot(self) -> Any:
        """All points' Sharpe ratios, with the best and the luckiest to expect: a plotly Figure."""
        from tradealgo.research.honesty_figures import deflated_sharpe_figure

        return deflated_sharpe_figure(self)

    def __repr__(self) -> str:
        return self.reading

    def _repr_html_(self) -> str:
        return f"<b>Deflated Sharpe ratio: {self.percent}</b><br>{self.reading}"


def deflated_sharpe(found: Sweep, test: Backtest, *, trials: int | None = None) -> DeflatedSharpe:
    """Correct the Sharpe ratio of a sweep's best point for how many points were tried.

    Args:
        test: the best point's backtest over the sweep's candles: `backtest(found.best_strategy(), candles)`.
        trials: independent ones; None takes every point that traded for one. Neighbouring points are alike, so that
            this judges hard; and whatever was tried before this sweep counts as well.

    Raises:
        BadConfig: fewer than 3 days, or no point with a Sharpe ratio.
    """
    from tradealgo.research.stats import DAYS_A_YEAR, daily_returns

    annual = math.sqrt(DAYS_A_YEAR)
    sharpes = found.table["Sharpe"].dropna().to_numpy(float)
    returns = daily_returns(test.equity, test.capital).to_numpy(float)
    spread = float(returns.std(ddof=1)) if len(returns) > 2 else 0.0
    if not len(sharpes) or spread <= 0.0:
        raise BadConfig(
            f"a deflated Sharpe ratio needs points that traded and at least 3 days of returns: got {len(sharpes)} points "
            f"and {len(returns)} days"
        )
    if not np.isclose(found.table["final equity"].to_numpy(float), test.final_equity, rtol=1e-9).any():
        warnings.warn(
            f"the backtest ends at Rs {test.final_equity:,.2f}, as no point of the sweep does: give the backtest of its best "
            "point over its candles, with the same options",
            stacklevel=2,
        )
    count = len(sharpes) if trials is None else trials
    variance = float(sharpes.var(ddof=1)) / DAYS_A_YEAR if len(sharpes) > 1 else 0.0
    scaled = (returns - returns.mean()) / returns.std()
    sharpe, skew, kurtosis = float(returns.mean()) / spread, float((scaled**3).mean()), float((scaled**4).mean())
    chance = deflated_sharpe_ratio(
        sharpe, variance=variance, trials=count, observations=len(returns), skew=skew, kurtosis=kurtosis
    )
    luckiest = luckiest_sharpe(variance, count) * annual
    return DeflatedSharpe(chance, sharpe * annual, luckiest, count, len(returns), skew, kurtosis, sharpes)
