"""Plotly figures of research. Long series are thinned to what a screen can show, keeping each step's extremes."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from tradealgo.research.backtest import Backtest, InstrumentRun

MOST_POINTS = 4_000
_LONGEST = 150  # characters of a sentence in a title
PRICE, UP, DOWN, EQUITY, LOSS = "#7a8799", "#1a9c6b", "#d1495b", "#2f6fde", "#d1495b"


def thinned(series: pd.Series, most: int = MOST_POINTS) -> pd.Series:
    """At most about `most` points: the lowest and the highest of each of equal stretches, in order."""
    n = len(series)
    if n <= most:
        return series
    stretch = -(-n // (most // 2))
    values = np.pad(series.to_numpy(float), (0, -n % stretch), mode="edge").reshape(-1, stretch)
    base = np.arange(len(values)) * stretch
    keep = np.unique(np.concatenate([base + values.argmin(1), base + values.argmax(1), [0, n - 1]]))
    return series.iloc[keep[keep < n]]


def backtest_figure(test: Backtest, instrument: str | None = None) -> Any:
    """Price with entries and exits, the equity, and the drawdown, on one time axis.

    Weekends and nights would be most of such an axis: it counts candles, and shows their times.
    """
    from plotly.subplots import make_subplots

    run = _chosen(test, instrument)
    equity, drawdown = test.equity, test.drawdown * 100.0
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, row_heights=[0.55, 0.27, 0.18], vertical_spacing=0.03)
    place = pd.Series(np.arange(len(equity)), equity.index)
    _add_price(figure, run, place)
    for row, series, color, name in ((2, equity, EQUITY, "equity"), (3, drawdown, LOSS, "drawdown")):
        add_line(figure, row, series, place, color, name)
    figure.update_yaxes(title_text=run.instrument.tradingsymbol, row=1, col=1)
    figure.update_yaxes(title_text="equity, Rs", tickformat=",.0f", row=2, col=1)
    figure.update_yaxes(title_text="drawdown", ticksuffix=" %", row=3, col=1)
    label_times(figure, equity.index)
    title = title_of(test)
    figure.update_layout(
        title=title, height=640, margin={"l": 70, "r": 20, "t": 60, "b": 40}, template="plotly_white",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"}, hovermode="x",
    )  # fmt: skip
    return figure


def title_of(test: Backtest, name: str = "") -> str:
    """Strategy, orders and profit; if it raised, that first. In plotly's own kind of HTML."""
    made = (
        f"{name or repr(test.strategy)}: {test.order_count} orders, net {test.final_equity - test.capital:+,.0f} rupees"
    )
    if not test.errors:
        return html.escape(made, quote=False)
    shown = test.errors[0] if len(test.errors[0]) <= _LONGEST else test.errors[0][: _LONGEST - 1] + "…"
    return f'<span style="color:{LOSS}">RAISED</span> {html.escape(made, quote=False)}<br><sup style="color:{LOSS}">{html.escape(shown, quote=False)}</sup>'


def _chosen(test: Backtest, instrument: str | None) -> InstrumentRun:
    from tradealgo.domain.errors import UnknownInstrument

    found = [r for r in test.runs if instrument in (None, r.instrument.key, r.instrument.tradingsymbol)]
    if not found:
        raise UnknownInstrument(
            f"the backtest has no {instrument!r}: it has {', '.join(r.instrument.key for r in test.runs)}"
        )
    return found[0]


def _add_price(figure: Any, run: InstrumentRun, place: pd.Series) -> None:
    from tradealgo.research.tables import times

    closes = pd.Series(run.data.close, times(run.data.start))
    add_line(figure, 1, closes, place, PRICE, "close")
    o = run.orders
    spots = place.reindex(times(run.data.start[o["fill"]])).to_numpy()
    for name, chosen, symbol, color in (
        ("buy", o["quantity"] > 0, "triangle-up", UP),
        ("sell", o["quantity"] < 0, "triangle-down", DOWN),
    ):
        figure.add_scattergl(
            x=spots[chosen], y=o["price"][chosen], mode="markers", name=name, customdata=np.abs(o["quantity"][chosen]),
            marker={"symbol": symbol, "size": 9, "color": color},
            hovertemplate=f"{name} %{{customdata}} at %{{y:,.2f}}<extra></extra>", row=1, col=1,
        )  # fmt: skip


def add_line(figure: Any, row: int, series: pd.Series, place: pd.Series, color: str, name: str) -> None:
    """A series over `place`, which gives each time its number of candles from the start."""
    few = thinned(series)
    figure.add_scattergl(
        x=place.reindex(few.index).to_numpy(), y=few.to_numpy(), mode="lines", name=name, showlegend=False,
        line={"color": color, "width": 1.4}, customdata=few.index.strftime("%d %b %Y %H:%M").to_numpy(),
        hovertemplate="%{customdata}: %{y:,.2f}<extra>" + name + "</extra>", row=row, col=1,
    )  # fmt: skip


def label_times(figure: Any, index: pd.DatetimeIndex) -> None:
    """Times for axes that count candles."""
    spots = np.unique(np.linspace(0, len(index) - 1, 8).astype(int))
    days = (index[-1].date() - index[0].date()).days
    style = "%H:%M" if not days else "%d %b %H:%M" if days < len(spots) else "%d %b %y"
    texts = [index[i].strftime(style) for i in spots]
    figure.update_xaxes(tickmode="array", tickvals=spots, ticktext=texts)
