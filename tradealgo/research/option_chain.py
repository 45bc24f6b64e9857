"""An option chain at a moment, and what option positions pay at expiry: tables and figures."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tradealgo.domain.errors import UnknownInstrument
from tradealgo.domain.hours import at, ist_date
from tradealgo.domain.instruments import INDEX_SYMBOLS, Instrument, Kind

if TYPE_CHECKING:
    import pandas as pd

    from tradealgo.research.basket import BasketBacktest

CALL_COLOR, PUT_COLOR, SPOT_COLOR, LOSS_COLOR = "#2f6fde", "#d98324", "#7a8799", "#d1495b"


def chain_table(
    candles: Mapping[Instrument, np.ndarray], time: str = "10:00", name: str = "NIFTY", day: dt.date | str | None = None
) -> pd.DataFrame:
    """Last closes and open interest (units) by strike at an IST time, of the nearest expiry; nan before the first trade.

    Columns call, put, straddle, call_oi, put_oi; `attrs` has spot, expiry and time. Candles are `CANDLE` arrays.
    """
    import pandas as pd

    spot_candles = _index(candles, name)
    date = dt.date.fromisoformat(str(day)) if day else ist_date(int(spot_candles["start"][-1]))
    moment = at(date, dt.time.fromisoformat(time))
    begins = at(date, dt.time(0))
    options = [i for i in candles if i.name == name and i.is_option and i.expiry is not None and i.expiry >= date]
    expiry = min((i.expiry for i in options if i.expiry is not None), default=date)
    rows: dict[float, dict[str, float]] = {}
    for option in options:
        if option.expiry == expiry:
            side = "call" if option.kind is Kind.CALL else "put"
            close, oi = _last(candles[option], begins, moment)
            rows.setdefault(option.strike, {}).update({side: close, f"{side}_oi": oi})
    table = pd.DataFrame.from_dict(rows, orient="index").sort_index().rename_axis("strike")
    table = table.assign(straddle=table["call"] + table["put"])[["call", "put", "straddle", "call_oi", "put_oi"]]
    table.attrs = {
        "spot": _last(spot_candles, begins, moment)[0],
        "expiry": expiry,
        "time": f"{date} {time}",
        "name": name,
    }
    return table


def _index(candles: Mapping[Instrument, np.ndarray], name: str) -> np.ndarray:
    symbol = INDEX_SYMBOLS.get(name, name)
    found = next((c for i, c in candles.items() if i.tradingsymbol == symbol), None)
    if found is None:
        raise UnknownInstrument(f"no candles of NSE:{symbol}, the index under {name}'s options, are among these")
    return found


def _last(candles: np.ndarray, begins: int, moment: int) -> tuple[float, float]:
    """Close and open interest of the last candle of the day that began before a moment."""
    n = int(np.searchsorted(candles["start"], moment)) - 1
    if n < 0 or candles["start"][n] < begins:
        return float("nan"), 0.0
    return float(candles["close"][n]), float(candles["oi"][n])


def chain_figure(table: pd.DataFrame) -> Any:
    """Premiums and open interest by strike."""
    from plotly.subplots import make_subplots

    facts = table.attrs
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.6, 0.4], vertical_spacing=0.06)
    for side, color in (("call", CALL_COLOR), ("put", PUT_COLOR)):
        figure.add_scatter(x=table.index, y=table[side], name=side, line={"color": color}, row=1, col=1)
        figure.add_bar(x=table.index, y=table[f"{side}_oi"], marker_color=color, showlegend=False, row=2, col=1)
    figure.add_scatter(
        x=table.index, y=table["straddle"], name="straddle", line={"color": SPOT_COLOR, "dash": "dot"}, row=1, col=1
    )
    figure.add_vline(x=facts["spot"], line={"color": SPOT_COLOR, "width": 1}, row="all", col=1)
    figure.update_yaxes(title_text="premium, Rs", row=1, col=1)
    figure.update_yaxes(title_text="open interest, units", row=2, col=1)
    figure.update_xaxes(tickformat=",")
    figure.update_xaxes(title_text="strike", row=2, col=1)
    title = f"{facts['name']} at {facts['spot']:,.0f}, options of {facts['expiry']:%d %b}, {facts['time']}"
    return _laid_out(figure, title, 520)


def positions_at(test: BasketBacktest, time: str) -> dict[Instrument, tuple[int, float]]:
    """Units and average price in rupees of what a backtest held at an IST time such as "2026-11-20 10:00"."""
    held: dict[str, tuple[int, float]] = {}
    orders = test.orders
    for order in orders[orders["time"].dt.tz_localize(None) <= time].itertuples():
        units, price = held.get(order.instrument, (0, 0.0))
        after = units + order.quantity
        if units * order.quantity >= 0:
            price = (units * price + order.quantity * order.price) / after
        held[order.instrument] = (after, price if units * after >= 0 else order.price)
    by_key = {i.key: i for i in test.instruments}
    return {by_key[key]: held[key] for key in held if held[key][0]}


def payoff(legs: Mapping[Instrument, tuple[int, float]], spots: Iterable[float]) -> np.ndarray:
    """Rupees that option positions (units, price) have made if the index settles at each of `spots`; no charges."""
    settled = np.asarray(list(spots), float)
    total = np.zeros(len(settled))
    for option, (units, price) in legs.items():
        if not option.is_option:
            raise UnknownInstrument(f"{option.key} is no option: payoff is of options of one underlying and expiry")
        sign = 1.0 if option.kind is Kind.CALL else -1.0
        total += units * (np.maximum(sign * (settled - option.strike), 0.0) - price)
    return total


def payoff_figure(named: Mapping[str, Mapping[Instrument, tuple[int, float]]], spot: float, loss_line: float) -> Any:
    """Payoffs at expiry of some positions by name, with the rupees of loss at which the kill switch trips."""
    import plotly.graph_objects as go

    spots = np.linspace(spot * 0.96, spot * 1.04, 321)
    figure = go.Figure()
    for (name, legs), color in zip(named.items(), (CALL_COLOR, PUT_COLOR, SPOT_COLOR), strict=False):
        figure.add_scatter(x=spots, y=payoff(legs, spots), name=name, line={"color": color})
    figure.add_hline(
        y=-abs(loss_line), line={"color": LOSS_COLOR, "dash": "dash"}, annotation_text="kill switch",
        annotation_position="bottom left",
    )  # fmt: skip
    figure.add_vline(x=spot, line={"color": SPOT_COLOR, "width": 1})
    figure.update_xaxes(title_text="index at expiry", tickformat=",")
    figure.update_yaxes(title_text="profit, Rs", tickformat=",")
    return _laid_out(figure, "What the positions pay at expiry", 420)


def _laid_out(figure: Any, title: str, height: int) -> Any:
    return figure.update_layout(
        title=title, height=height, template="plotly_white", hovermode="x unified",
        margin={"l": 80, "r": 20, "t": 60, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )  # fmt: skip
