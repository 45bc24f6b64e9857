"""Pictures of a backtest's returns and trades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tradealgo.research.figures import DOWN, EQUITY, UP
from tradealgo.research.stats import daily_returns

if TYPE_CHECKING:
    from tradealgo.research.backtest import Backtest

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_FEW_MONTHS = 3  # up to so many, the days say more than the months


def monthly_returns(test: Backtest) -> pd.DataFrame:
    """Fractions of capital by year (rows) and month, and the year's. Sizes don't compound, so months add up."""
    profit = _daily_profit(test)
    table = profit.groupby([profit.index.year, profit.index.month]).sum().unstack()  # type: ignore[attr-defined]
    table = table.reindex(columns=range(1, 13)).set_axis(_MONTHS, axis=1).rename_axis("year")
    return table.assign(year=table.sum(axis=1)).rename(columns={"year": "whole year"})


def _daily_profit(test: Backtest) -> pd.Series:
    """Each day's profit as a fraction of the capital."""
    growth = (1.0 + daily_returns(test.equity, test.capital)).cumprod()
    return growth.diff().fillna(growth.iloc[0] - 1.0)


def _by_weekday(test: Backtest) -> pd.DataFrame:
    """Fractions of capital by week (rows, named by Monday) and day of the week."""
    profit = _daily_profit(test)
    days: Any = profit.index
    mondays = (days - pd.to_timedelta(days.day_of_week, unit="D")).strftime("%d %b %y")
    table = pd.DataFrame({"week": mondays, "day": days.day_of_week, "profit": profit.to_numpy()})
    wide = table.pivot(index="week", columns="day", values="profit").reindex(pd.unique(mondays))
    return wide.set_axis([_WEEKDAYS[d] for d in wide.columns], axis=1)


def returns_figure(test: Backtest) -> Any:
    """Heatmap of returns by month and year; of a few months, by day and week."""
    import plotly.graph_objects as go

    days: Any = test.equity.index
    by_day = len(pd.unique(days.strftime("%Y-%m"))) <= _FEW_MONTHS
    table = _by_weekday(test) if by_day else monthly_returns(test)
    percent = table.to_numpy(float) * 100.0
    inner = percent if by_day else percent[:, :-1]
    most = float(np.nanmax(np.abs(inner), initial=0.01))
    figure = go.Figure(
        go.Heatmap(
            z=percent, x=list(table.columns), y=table.index.astype(str), zmin=-most, zmax=most, zmid=0.0,
            colorscale=[[0.0, DOWN], [0.5, "#ffffff"], [1.0, UP]], colorbar={"ticksuffix": " %"}, xgap=2, ygap=2,
            text=np.where(np.isnan(percent), "", np.char.mod("%+.2f", percent)), texttemplate="%{text}",
            hoverongaps=False, hovertemplate="%{y} %{x}: %{z:+.2f} %<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        title=f"Returns by {'day' if by_day else 'month'}, % of capital", template="plotly_white",
        height=160 + 36 * len(table), margin={"l": 80, "r": 20, "t": 60, "b": 40},
        xaxis={"side": "top", "type": "category", "showgrid": False},
        yaxis={"autorange": "reversed", "type": "category", "showgrid": False},
    )  # fmt: skip
    return figure


def trades_figure(test: Backtest) -> Any:
    """How the trades' profits are distributed, and profit by how long they were held."""
    from plotly.subplots import make_subplots

    trades = test.trades
    figure = make_subplots(rows=1, cols=2, subplot_titles=("trades by profit", "profit by candles held"))
    pnl = trades["pnl"].to_numpy(float)
    width = _bin_width(pnl)
    for name, chosen, color in (("won", pnl > 0, UP), ("lost", pnl <= 0, DOWN)):
        figure.add_histogram(
            x=pnl[chosen], xbins={"start": np.floor(min(pnl, default=0.0) / width) * width, "size": width},
            name=f"{name} {int(chosen.sum())}", marker_color=color, hovertemplate="%{x}: %{y} trades<extra></extra>",
            row=1, col=1,
        )  # fmt: skip
        figure.add_scattergl(
            x=trades["candles"][chosen], y=pnl[chosen], mode="markers", showlegend=False,
            marker={"color": color, "size": 6, "opacity": 0.6}, customdata=trades["instrument"][chosen],
            hovertemplate="%{customdata}: %{y:+,.0f} after %{x} candles<extra></extra>", row=1, col=2,
        )  # fmt: skip
    if len(pnl):
        figure.add_vline(
            x=float(pnl.mean()), line_dash="dash", line_color=EQUITY, row=1, col=1,
            annotation_text=f"average {pnl.mean():+,.0f}", annotation_font_color=EQUITY,
        )  # fmt: skip
    figure.update_xaxes(title_text="profit, Rs", tickformat=",.0f", row=1, col=1)
    figure.update_yaxes(title_text="trades", row=1, col=1)
    figure.update_xaxes(title_text="candles", row=1, col=2)
    figure.update_yaxes(title_text="profit, Rs", tickformat=",.0f", row=1, col=2)
    figure.update_layout(
        title=f"{len(pnl)} trades after charges", template="plotly_white", height=420, barmode="overlay", bargap=0.05,
        legend={"orientation": "h", "y": -0.2, "x": 0}, margin={"l": 70, "r": 20, "t": 80, "b": 50},
    )  # fmt: skip
    return figure


def _bin_width(values: np.ndarray) -> float:
    """Of bins such that zero is an edge: about 40 over the range, a round number of rupees."""
    reach = float(np.ptp(values)) / 40.0 if len(values) > 1 else 0.0
    if reach <= 0.0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(reach))
    return float(next(m for m in (1, 2, 5, 10) if m * power >= reach) * power)
