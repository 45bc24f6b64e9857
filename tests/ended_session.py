"""Sessions that have ended: a folder with a manifest, and a journal of these records."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.orders import Fill, Intent, Order, OrderState, Side
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import KillState, SessionState, TradingState
from tradealgo.gatekeeper.journal import Journal
from tradealgo.gatekeeper.messages import Kind, Record

ACCOUNT = "AB1234"
DAY_NS = 86_400 * 10**9


def manifest(name: str, mode: Mode = Mode.LIVE, account: str = ACCOUNT) -> Manifest:
    return Manifest(
        session_id=name, mode=mode, account=account, strategy="m:C", parameters={}, sizing=Sizing(lots=1),
        instruments=("NSE:INFY",), capital=1e6, bus_url="unix:///nowhere/bus.sock",
    )  # fmt: skip


def fill(side: Side, quantity: int = 75) -> Record:
    return Record(Kind.FILL, Fill(
        trade_id=f"{side}{quantity}", tag="T1", order_id="1", instrument_token=1, instrument="NSE:INFY", side=side,
        quantity=quantity, price=100.0, ts_event=1,
    ))  # fmt: skip


def order(state: OrderState, **changes: object) -> Record:
    made = Order(
        tag="T2", request_id="r", session_id="old", instrument_token=1, instrument="NSE:INFY", side=Side.BUY,
        quantity=10, price=100.0, intent=Intent.ENTRY, state=state,
    )  # fmt: skip
    return Record(Kind.ORDER, msgspec.structs.replace(made, **changes))


#: The order of `fill`, whole, which the broker tells before the trade.
BOUGHT = order(OrderState.FILLED, tag="T1", quantity=75, filled_quantity=75)


def said(kill: KillState, ts_flat: int = 0) -> Record:
    return Record(Kind.STATE, SessionState(trading=TradingState.HALTED, kill=kill, ts_flat=ts_flat))


def session(home: Path, *records: Record, ts: int = 0, **changes: object) -> SessionDir:
    """An ended session that journaled these."""
    folder = SessionDir(home / "sessions" / "old")
    folder.write_manifest(manifest("old", **changes))  # type: ignore[arg-type]
    journal = Journal(folder.journal)
    for record in records:
        journal.append([record], ts or time.time_ns())
    journal.close()
    return folder
