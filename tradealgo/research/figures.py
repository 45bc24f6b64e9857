"""Plotly figures of research. Long series are thinned to what a screen can show, keeping each step's extremes."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tradealgo.domain.shown import many

if TYPE_CHECKING:
    from tradealgo.research.backtest import Backtest, InstrumentRun

MOST_POINTS = 4_000
_POINTS_OF_EACH = 1_000  # of several instruments
_TRACES = 3  # of an instrument: its price, and what was bought and sold
_MOST_TICKS = 10
_LONGEST = 150  # characters of a sentence in a title
#: Up and down as on the desk: blue and vermilion, which the colour-blind can tell apart.
PRICE, UP, DOWN, EQUITY, LOSS = "#7a8799", "#0b6fae", "#c44e00", "#2f6fde", "#d1495b"


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

    Of several instruments the price is the given one's, else the one's that is chosen from a list in the figure; equity and
    drawdown are of all. Weekends and nights would be most of such an axis: it counts candles, and shows their times.
    """
    from plotly.subplots import make_subplots

    runs = _chosen(test, instrument)
    equity, drawdown = test.equity, test.drawdown * 100.0
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, row_heights=[0.55, 0.27, 0.18], vertical_spacing=0.03)
    place = pd.Series(np.arange(len(equity)), equity.index)
    for run in runs:
        _add_price(figure, run, place, MOST_POINTS if len(runs) == 1 else _POINTS_OF_EACH, visible=run is runs[0])
    for row, series, color, name in ((2, equity, EQUITY, "equity"), (3, drawdown, LOSS, "drawdown")):
        add_line(figure, row, series, place, color, name)
    whose = "" if len(test.runs) == 1 else " of all"
    figure.update_yaxes(title_text=runs[0].instrument.tradingsymbol, tickformat=",", row=1, col=1)
    figure.update_yaxes(title_text=f"equity{whose}, Rs", tickformat=",.0f", row=2, col=1)
    figure.update_yaxes(title_text="drawdown", ticksuffix=" %", row=3, col=1)
    label_times(figure, equity.index)
    figure.update_layout(
        title=title_of(test, shown=_shown(test, runs[0])), height=640, template="plotly_white", hovermode="x",
        margin={"l": 70, "r": 20, "t": 60 if len(runs) == 1 else 110 if test.errors else 90, "b": 40}, updatemenus=_menu(test, runs),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )  # fmt: skip
    return figure


def _menu(test: Backtest, runs: list[InstrumentRun]) -> list[dict[str, Any]]:
    """The list to choose the instrument from; none of one."""
    if len(runs) == 1:
        return []
    buttons = [
        {
            "label": f"{run.instrument.key} ({len(run.orders)} orders)", "method": "update",
            "args": [
                {"visible": [other is run for other in runs for _ in range(_TRACES)] + [True, True]},
                {"title.text": title_of(test, shown=_shown(test, run)), "yaxis.title.text": run.instrument.tradingsymbol},
            ],
        }
        for run in runs
    ]  # fmt: skip
    return [{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "showactive": True}]


def _shown(test: Backtest, run: InstrumentRun) -> str:
    return f" in {len(test.runs)} instruments, shown: {run.instrument.key}" if len(test.runs) > 1 else ""


def title_of(test: Backtest, name: str = "", shown: str = "") -> str:
    """Strategy, orders and profit; if it raised, that first. In plotly's own kind of HTML."""
    made = f"{name or repr(test.strategy)}: {many(test.order_count, 'order')}, net {test.final_equity - test.capital:+,.0f} rupees"
    made = html.escape(made + shown, quote=False)
    if not test.errors:
        return made
    said = test.errors[0] if len(test.errors[0]) <= _LONGEST else test.errors[0][: _LONGEST - 1] + "…"
    red = f'<span style="color:{LOSS}">'
    return f"{red}RAISED</span> {made}<br><sup>{red}{html.escape(said, quote=False)}</span></sup>"


def _chosen(test: Backtest, instrument: str | None) -> list[InstrumentRun]:
    from tradealgo.domain.errors import UnknownInstrument

    found = [r for r in test.runs if instrument in (None, r.instrument.key, r.instrument.tradingsymbol)]
    if not found:
        raise UnknownInstrument(
            f"the backtest has no {instrument!r}: it has {', '.join(r.instrument.key for r in test.runs)}"
        )
    return found


def _add_price(figure: Any, run: InstrumentRun, place: pd.Series, most: int, *, visible: bool) -> None:
    """The `_TRACES` of one instrument."""
    from tradealgo.research.tables import times

    closes = pd.Series(run.data.close, times(run.data.start))
    add_line(figure, 1, closes, place, PRICE, "close", most, visible=visible)
    o = run.orders
    spots = place.reindex(times(run.data.start[o["fill"]])).to_numpy()
    for name, chosen, symbol, color in (
        ("buy", o["quantity"] > 0, "triangle-up", UP),
        ("sell", o["quantity"] < 0, "triangle-down", DOWN),
    ):
        figure.add_scattergl(
            x=spots[chosen], y=o["price"][chosen], mode="markers", name=name, customdata=np.abs(o["quantity"][chosen]),
            marker={"symbol": symbol, "size": 9, "color": color}, visible=visible,
            hovertemplate=f"{name} %{{customdata}} at %{{y:,.2f}}<extra></extra>", row=1, col=1,
        )  # fmt: skip


def add_line(
    figure: Any, row: int, series: pd.Series, place: pd.Series, color: str, name: str, most: int = MOST_POINTS, *,
    visible: bool = True,
) -> None:  # fmt: skip
    """A series over `place`, which gives each time its number of candles from the start."""
    few = thinned(series, most)
    figure.add_scattergl(
        x=place.reindex(few.index).to_numpy(), y=few.to_numpy(), mode="lines", name=name, showlegend=False, visible=visible,
        line={"color": color, "width": 1.4}, customdata=few.index.strftime("%d %b %Y %H:%M").to_numpy(),
        hovertemplate="%{customdata}: %{y:,.2f}<extra>" + name + "</extra>", row=row, col=1,
    )  # fmt: skip


def label_times(figure: Any, index: pd.DatetimeIndex) -> None:
    """Round times for axes that count candles: of a day its hours or less, of some days each morning, of many some mornings."""
    days = index.normalize().nunique()
    style = "%H:%M" if days == 1 else "%d %b %H:%M" if days <= 3 else "%d %b %y"
    steps = ["1min", "2min", "5min", "10min", "15min", "30min", "1h"] if days == 1 else ["3h"] if days <= 3 else ["1D"]
    found = [_first_of_each(index, step) for step in steps]
    spots = next((f for f in found if len(f) <= _MOST_TICKS), found[-1])
    spots = spots[:: -(-len(spots) // _MOST_TICKS)]
    room = len(index) / _MOST_TICKS / 1.5  # of a label: 15:00 is too near to the next day's 09:15
    spots = np.array([s for s, after in zip(spots, [*spots[1:], np.inf], strict=True) if after - s >= room])
    figure.update_xaxes(tickmode="array", tickvals=spots, ticktext=[index[i].strftime(style) for i in spots])


def _first_of_each(index: pd.DatetimeIndex, step: str) -> np.ndarray:
    """The first candle of each step, a day's first one included; of a single day only if it is on the step."""
    groups = index.floor(step)
    first = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    is_day_alone = index[0].date() == index[-1].date() and len(index) > 1
    return first if is_day_alone and groups[0] != index[0] else np.r_[0, first]
