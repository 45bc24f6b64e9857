"""A backtest as DataFrames. Times are IST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from tradealgo.domain.candles import CANDLE
from tradealgo.research.simulate import CHARGE_KINDS, SCHEDULED, charge_table

if TYPE_CHECKING:
    from tradealgo.research.backtest import Backtest, InstrumentRun
    from tradealgo.research.columns import Columns

INDIA = "Asia/Kolkata"


def times(starts: Any) -> pd.DatetimeIndex:
    """UTC nanoseconds as Indian time."""
    return pd.DatetimeIndex(np.asarray(starts, np.int64), tz="UTC").tz_convert(INDIA)


def candle_array(data: Columns) -> np.ndarray:
    """Columns as a CANDLE array."""
    array = np.empty(data.size, CANDLE)
    for name, column in zip(CANDLE.names or (), data.arrays, strict=True):
        array[name] = column
    return array


def signals(test: Backtest) -> pd.DataFrame:
    """One row a candle and instrument: instrument, target, stop, reason, close."""
    frames = []
    for run in test.runs:
        said, s = run.signals.said, run.signals
        frames.append(
            pd.DataFrame(
                {
                    "instrument": run.instrument.key, "target": s.target[:said], "stop": s.stop[:said],
                    "reason": [s.texts[c] for c in s.reason[:said].tolist()], "close": run.data.close[:said],
                },
                index=times(run.data.start[:said]).rename("start"),
            )
        )  # fmt: skip
    return pd.concat(frames).sort_index(kind="stable")


def requests(test: Backtest) -> pd.DataFrame:
    """One row an order request."""
    rows = [msgspec.structs.asdict(r) for r in test.request_records]
    names = [
        "start", "instrument", "side", "quantity", "position_after", "reference_price", "intent", "stop", "reason", "request_id"
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=names)
    for name in ("side", "intent"):
        frame[name] = frame[name].astype(str)
    return frame.assign(start=times(frame["start"]))


def orders(test: Backtest) -> pd.DataFrame:
    """One row a simulated order: time of the fill, instrument, quantity (signed), price, fees, and charges by kind."""
    return pd.concat([_orders_of(r) for r in test.runs]).sort_values("time", kind="stable").reset_index(drop=True)


def _orders_of(run: InstrumentRun) -> pd.DataFrame:
    o = run.orders
    frame = pd.DataFrame(
        {
            "time": times(run.data.start[o["fill"]]), "signal": times(run.data.start[o["signal"]]),
            "instrument": run.instrument.key, "quantity": o["quantity"], "price": o["price"], "fees": o["fees"],
        }
    )  # fmt: skip
    if run.costs.kind == SCHEDULED:
        paise = np.empty((len(o), len(CHARGE_KINDS)), np.int64)
        charge_table(run.data.start, o, run.costs, paise)
        for j, kind in enumerate(CHARGE_KINDS):
            frame[kind] = paise[:, j] / 100.0
    return frame


def charges(test: Backtest) -> pd.Series:
    """Rupees by kind, with the total."""
    found = orders(test)
    kinds = {k: float(found[k].sum()) for k in CHARGE_KINDS if k in found}
    return pd.Series({**kinds, "total": float(found["fees"].sum())}, name="charges").round(2)


def trades(test: Backtest) -> pd.DataFrame:
    """Round trips: an entry leg and the exit leg after it; an open one is valued at the last close."""
    return pd.concat([_trades_of(r) for r in test.runs]).sort_values("entry_time", kind="stable").reset_index(drop=True)


def _trades_of(run: InstrumentRun) -> pd.DataFrame:
    entries, exits = run.orders[0::2], run.orders[1::2]  # legs alternate: a position is always left whole
    is_open = len(exits) < len(entries)
    pad = [run.data.size - 1] if is_open else []
    exit_at = np.concatenate([exits["fill"], pad]).astype(np.int64)
    exit_price = np.concatenate([exits["price"], run.data.close[pad]])
    fees = entries["fees"] + np.concatenate([exits["fees"], [0.0] * len(pad)])
    gross = (exit_price - entries["price"]) * entries["quantity"]
    return pd.DataFrame(
        {
            "instrument": run.instrument.key, "side": np.where(entries["quantity"] > 0, "long", "short"),
            "quantity": np.abs(entries["quantity"]), "entry_time": times(run.data.start[entries["fill"]]),
            "entry_price": entries["price"], "exit_time": times(run.data.start[exit_at]), "exit_price": exit_price,
            "candles": exit_at - entries["fill"], "gross": gross, "charges": fees, "pnl": gross - fees,
            "return": (gross - fees) / (entries["price"] * np.abs(entries["quantity"])),
            "status": ["closed"] * len(exits) + ["open"] * len(pad),
        }
    )  # fmt: skip


def equity(test: Backtest) -> pd.Series:
    """Cash and positions at each close; with several instruments, at every time that any has a candle."""
    curves = [pd.Series(test.equity_of(r), times(r.data.start).rename("start")) for r in test.runs]
    if len(curves) == 1:
        return curves[0].rename("equity")
    moved = pd.concat([c - test.capital for c in curves], axis=1, sort=True).ffill().fillna(0.0)
    return (moved.sum(axis=1) + test.capital).rename("equity")
