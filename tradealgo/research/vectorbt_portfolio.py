"""The same orders as a vectorbt Portfolio, for its statistics and plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tradealgo.research.tables import times

if TYPE_CHECKING:
    from tradealgo.research.backtest import Backtest, InstrumentRun


def portfolio(test: Backtest) -> Any:
    """One column an instrument, sharing the capital as one group. vectorbt takes seconds to import."""
    import vectorbt as vbt

    keys = [r.instrument.key for r in test.runs]
    columns = {name: _wide(test, name, keys) for name in ("close", "size", "price", "fees")}
    many = len(keys) > 1
    one = {k: (v if many else v.iloc[:, 0]) for k, v in columns.items()}
    return vbt.Portfolio.from_orders(
        one["close"], size=one["size"], price=one["price"], fixed_fees=one["fees"], init_cash=_cash_needed(test),
        freq=pd.Timedelta(seconds=test.runs[0].data.interval), cash_sharing=many, group_by=many or None,
    )  # fmt: skip


def _wide(test: Backtest, name: str, keys: list[str]) -> pd.DataFrame:
    frame = pd.concat([_series(r, name) for r in test.runs], axis=1, keys=keys).sort_index()
    if name == "size":
        return frame  # nan: no order
    return frame.ffill().bfill() if name in ("close", "price") else frame.fillna(0.0)


def _series(run: InstrumentRun, name: str) -> pd.Series:
    index, o = times(run.data.start), run.orders
    if name == "close":
        return pd.Series(run.data.close, index)
    out = run.data.close.copy() if name == "price" else np.zeros(len(index))
    if name == "price":
        out[o["fill"]] = o["price"]
    elif name == "fees":
        np.add.at(out, o["fill"], o["fees"])
    else:
        np.add.at(out, o["fill"], o["quantity"].astype(float))
        out[out == 0.0] = np.nan
    return pd.Series(out, index)


def _cash_needed(test: Backtest) -> float:
    """vectorbt has no margin: where our cash would fall below nothing, its portfolio starts with what it takes."""
    flows = []
    for run in test.runs:
        cost = run.orders["quantity"] * run.orders["price"] + run.orders["fees"]
        flows.append(pd.Series(-cost, run.data.start[run.orders["fill"]]))
    cash = pd.concat(flows).sort_index(kind="stable").cumsum()
    return max(test.capital, -float(cash.min()) if len(cash) else 0.0)
