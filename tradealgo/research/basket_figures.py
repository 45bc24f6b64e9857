"""A basket's backtest in one figure: the underlying with what was done on it, and the equity against the loss line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from tradealgo.domain.instruments import Kind
from tradealgo.research.figures import DOWN, EQUITY, LOSS, PRICE, UP, add_line, label_times, title_of
from tradealgo.research.tables import times

if TYPE_CHECKING:
    from tradealgo.research.backtest import InstrumentRun
    from tradealgo.research.basket import BasketBacktest

#: What was done, and how it is marked.
MARKS = (
    ("left", PRICE, "x-thin-open", 6),
    ("bought", EQUITY, "circle-open", 8),
    ("sold put", UP, "triangle-up", 10),
    ("sold call", DOWN, "triangle-down", 10),
)


def basket_figure(test: BasketBacktest) -> Any:
    """Price of the index (or of the most traded instrument) with the basket's orders, equity, loss line and kills.

    Hedges bought together with what they cover have no mark of their own.
    """
    from plotly.subplots import make_subplots

    run, equity = _reference(test), test.equity
    place = pd.Series(range(len(equity)), equity.index)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.6, 0.4], vertical_spacing=0.04)
    price = pd.Series(run.data.close, times(run.data.start))
    add_line(figure, 1, price, place, PRICE, run.instrument.tradingsymbol)
    _add_marks(figure, test, price, place)
    add_line(figure, 2, equity, place, EQUITY, "equity")
    line = test.capital * (1.0 - test.max_loss_fraction)
    if equity.min() < (line + test.capital) / 2:
        figure.add_hline(y=line, line={"color": LOSS, "dash": "dash"}, annotation_text="loss line", row=2, col=1)
    for trip in test.trips:
        at = int(place.index.searchsorted(times([trip.ts_tripped])[0]))
        figure.add_vline(x=at, line={"color": LOSS}, row="all", col=1)
    figure.update_yaxes(title_text=run.instrument.tradingsymbol, tickformat=",", row=1, col=1)
    figure.update_yaxes(title_text="equity, Rs", tickformat=",.0f", row=2, col=1)
    label_times(figure, equity.index)
    return figure.update_layout(
        title=title_of(test, type(test.strategy).__name__), height=560, template="plotly_white",
        margin={"l": 70, "r": 20, "t": 60, "b": 40}, hovermode="x",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )  # fmt: skip


def _reference(test: BasketBacktest) -> InstrumentRun:
    indices = [r for r in test.runs if r.instrument.kind is Kind.INDEX]
    return indices[0] if indices else max(test.runs, key=lambda r: len(r.orders))


def _add_marks(figure: Any, test: BasketBacktest, price: pd.Series, place: pd.Series) -> None:
    kinds = {i.key: i.kind for i in test.instruments}
    orders = test.orders.assign(entry=test.orders["intent"] == "ENTRY")
    sold = orders["entry"] & (orders["quantity"] < 0)
    right = orders["instrument"].map(kinds)
    hedges = orders["time"].isin(orders["time"][sold])
    chosen = (
        ~orders["entry"], orders["entry"] & (orders["quantity"] > 0) & ~hedges,
        sold & (right == Kind.PUT), sold & (right == Kind.CALL),
    )  # fmt: skip
    for (name, color, symbol, size), rows in zip(MARKS, chosen, strict=True):
        mine = orders[rows]
        if len(mine):
            level = price.asof(pd.DatetimeIndex(mine["time"]))
            figure.add_scatter(
                x=place.reindex(mine["time"], method="ffill"), y=level, mode="markers", name=name,
                text=[f"{o.instrument} {o.quantity:+d} at {o.price:,.2f}" for o in mine.itertuples()],
                marker={"color": color, "symbol": symbol, "size": size}, row=1, col=1,
            )  # fmt: skip
