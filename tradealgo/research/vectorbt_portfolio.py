"""The same orders as a vectorbt Portfolio, for its statistics and plots.

A row of vectorbt's takes one order. Orders of one candle at one price on one side are one there; others of that candle follow
it on rows of their own, each a nanosecond later.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from tradealgo.research.tables import times

if TYPE_CHECKING:
    from tradealgo.research.backtest import Backtest, InstrumentRun


def portfolio(test: Backtest) -> Any:
    """One column an instrument, sharing the capital as one group. vectorbt takes seconds to import."""
    import vectorbt as vbt

    keys = [r.instrument.key for r in test.runs]
    legs = [_legs(r) for r in test.runs]
    cash = _cash_needed(legs, test.capital)
    if cash > test.capital:
        warnings.warn(
            f"vectorbt has no margin: its portfolio starts with Rs {cash:,.2f}, where the backtest has {test.capital:,.2f}, and "
            "its percentages are of that; the backtest's own stats are of its capital",
            stacklevel=3,
        )
    frames = [_frame(r, of) for r, of in zip(test.runs, legs, strict=True)]
    columns = {name: _wide(frames, name, keys) for name in ("close", "size", "price", "fees")}
    many = len(keys) > 1
    one = {k: (v if many else v.iloc[:, 0]) for k, v in columns.items()}
    return vbt.Portfolio.from_orders(
        one["close"], size=one["size"], price=one["price"], fixed_fees=one["fees"], init_cash=cash,
        freq=pd.Timedelta(seconds=test.runs[0].data.interval), cash_sharing=many, group_by=many or None,
    )  # fmt: skip


class Legs(NamedTuple):
    """Orders as vectorbt takes them; `ts` is the row's time in UTC ns."""

    ts: np.ndarray
    quantity: np.ndarray
    price: np.ndarray
    fees: np.ndarray


def _legs(run: InstrumentRun) -> Legs:
    o = run.orders[np.argsort(run.orders["fill"], kind="stable")]
    fill, price, sign = o["fill"], o["price"], np.sign(o["quantity"])
    new = np.ones(len(o), np.bool_)
    new[1:] = (np.diff(fill) != 0) | (np.diff(price) != 0) | (np.diff(sign) != 0)
    first = np.flatnonzero(new)
    if not len(first):
        return Legs(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0))
    fill = fill[first]
    nth = np.arange(len(fill)) - np.searchsorted(fill, fill)  # of its candle
    quantity, fees = (np.add.reduceat(o[name], first) for name in ("quantity", "fees"))
    return Legs(run.data.start[fill] + nth, quantity.astype(float), price[first], fees)


def _frame(run: InstrumentRun, legs: Legs) -> pd.DataFrame:
    rows = np.union1d(run.data.start, legs.ts)
    close = run.data.close[np.searchsorted(run.data.start, rows, side="right") - 1]
    frame = pd.DataFrame({"close": close, "size": np.nan, "price": close, "fees": 0.0}, index=times(rows))
    at = np.searchsorted(rows, legs.ts)
    for name, values in (("size", legs.quantity), ("price", legs.price), ("fees", legs.fees)):
        column = frame[name].to_numpy(copy=True)
        column[at] = values
        frame[name] = column
    return frame


def _wide(frames: list[pd.DataFrame], name: str, keys: list[str]) -> pd.DataFrame:
    frame = pd.concat([f[name] for f in frames], axis=1, keys=keys).sort_index()
    if name == "size":
        return frame  # nan: no order
    return frame.ffill().bfill() if name in ("close", "price") else frame.fillna(0.0)


def _cash_needed(legs: list[Legs], capital: float) -> float:
    """vectorbt has no margin: where our cash would fall below nothing, its portfolio starts with what it takes."""
    flows = [pd.Series(-(of.quantity * of.price + of.fees), of.ts) for of in legs]
    cash = pd.concat(flows).sort_index(kind="stable").cumsum()
    return max(capital, -float(cash.min()) if len(cash) else 0.0)
