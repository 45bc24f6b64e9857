"""An event backtest as DataFrames. Times are IST, money in rupees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tradealgo.domain.charges import Charges
from tradealgo.domain.orders import SUBMIT, OrderState
from tradealgo.research.simulate import CHARGE_KINDS
from tradealgo.research.tables import times

if TYPE_CHECKING:
    from tradealgo.research.backtest import InstrumentRun
    from tradealgo.research.event import EventBacktest


def charges_of(charges: Charges) -> pd.Series:
    """Rupees by kind, with the total."""
    kinds = {k: getattr(charges, k) / 100 for k in CHARGE_KINDS}
    return pd.Series({**kinds, "total": charges.total / 100}, name="charges")


def orders(test: EventBacktest) -> pd.DataFrame:
    """As a compiled backtest's, and the tag, intent and reason of each."""
    traded, frames, starts = test._traded, [], test._driver.timeline.starts
    for run in [r for r in test.runs if len(r.orders)] or test.runs[:1]:  # a basket trades few of what it watches
        o, mine = run.orders, traded.of(run)
        kinds, records = traded.charges[mine], [traded.orders[n] for n in mine.tolist()]
        # The minutes that it was asked for and filled in: a thin option may have no candle of them. A kill asks in none.
        asked = [r.start or start for r, start in zip(records, run.data.start[o["signal"]].tolist(), strict=True)]
        frame = pd.DataFrame(
            {
                "time": times(starts[np.searchsorted(starts, traded.first[mine], side="right") - 1]), "signal": times(asked),
                "instrument": run.instrument.key, "quantity": o["quantity"], "price": o["price"], "fees": o["fees"],
            }
        )  # fmt: skip
        for j, kind in enumerate(CHARGE_KINDS):
            frame[kind] = kinds[:, j] / 100.0
        frame["intent"] = [order.intent.value for order in records]
        frame["reason"] = [order.reason for order in records]
        frames.append(frame)
    return pd.concat(frames).sort_values("time", kind="stable").reset_index(drop=True)


def trades(test: EventBacktest) -> pd.DataFrame:
    """Round trips from flat to flat, at average prices; an open one is valued at the last close."""
    rows = [row for run in test.runs for row in _round_trips(run)]
    names = [
        "instrument", "side", "quantity", "entry_time", "entry_price", "exit_time", "exit_price", "candles", "gross",
        "charges", "pnl", "return", "status",
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=names)
    for name in ("entry_time", "exit_time"):
        frame[name] = times(frame[name])
    return frame.sort_values("entry_time", kind="stable").reset_index(drop=True)


def _round_trips(run: InstrumentRun) -> list[tuple[object, ...]]:
    held = np.cumsum(run.orders["quantity"])
    ends = np.flatnonzero(held == 0) + 1
    return [_round_trip(run, legs) for legs in np.split(run.orders, ends) if len(legs)]


def _round_trip(run: InstrumentRun, legs: np.ndarray) -> tuple[object, ...]:
    sign = 1 if legs["quantity"][0] > 0 else -1
    entries, exits = legs[legs["quantity"] * sign > 0], legs[legs["quantity"] * sign < 0]
    bought, left = int(np.abs(entries["quantity"]).sum()), int(abs(legs["quantity"].sum()))
    out = int(exits["fill"][-1]) if not left else run.data.size - 1
    paid = float((entries["price"] * np.abs(entries["quantity"])).sum())
    got = float((exits["price"] * np.abs(exits["quantity"])).sum()) + left * float(run.data.close[-1])
    entered, fees = int(entries["fill"][0]), float(legs["fees"].sum())
    gross = sign * (got - paid)
    return (
        run.instrument.key, "long" if sign > 0 else "short", bought, int(run.data.start[entered]), paid / bought,
        int(run.data.start[out]), got / bought, out - entered, gross, fees, gross - fees, (gross - fees) / paid,
        "open" if left else "closed",
    )  # fmt: skip


def fills(test: EventBacktest) -> pd.DataFrame:
    """time, instrument, side, quantity, price, tag, trade_id."""
    names = ["time", "instrument", "side", "quantity", "price", "tag", "trade_id"]
    rows = [(f.ts_event, f.instrument, f.side.value, f.quantity, f.price, f.tag, f.trade_id) for f in test.fill_records]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(time=times(frame["time"]))


def denials(test: EventBacktest) -> pd.DataFrame:
    """time, instrument, side, quantity, intent, code, text; of a basket that was broken the text alone."""
    asked = {r.request_id: r for r in test.request_records}
    rows = []
    for v in test.verdicts:
        if v.code != SUBMIT:
            r = asked.get(v.request_id)
            what = (r.side.value, r.quantity, r.intent.value) if r else ("", 0, "")
            rows.append((v.ts, v.instrument, *what, v.code, v.text))
    frame = pd.DataFrame(rows, columns=["time", "instrument", "side", "quantity", "intent", "code", "text"])
    return frame.assign(time=times(frame["time"]))


def unfilled(test: EventBacktest) -> pd.DataFrame:
    """time, instrument, side, quantity, filled, price, intent, state, text."""
    rows = [
        (
            o.ts_checked, o.instrument, o.side.value, o.quantity, o.filled_quantity, o.price, o.intent.value,
            o.state.value, o.text,
        )
        for o in test.order_records
        if o.state is not OrderState.FILLED
    ]  # fmt: skip
    names = ["time", "instrument", "side", "quantity", "filled", "price", "intent", "state", "text"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(time=times(frame["time"]))
