"""Single messages as a cell and a terminal show them."""

from __future__ import annotations

import enum

import pytest
from IPython.lib.pretty import pretty

from tradealgo.domain.orders import Fill, Intent, Order, OrderRequest, OrderState, Side, Verdict
from tradealgo.domain.portfolio import Position
from tradealgo.domain.state import (
    Action,
    Alert,
    Beat,
    Control,
    KillState,
    Level,
    Module,
    MtmPoint,
    SessionState,
    TradingState,
)
from tradealgo.journal.schema import TABLES

NAMED = {"instrument_token": 1, "instrument": "NSE:A<B", "side": Side.BUY, "quantity": 3}
OPEN = 1_795_146_300_000_000_000  # 2026-11-20 09:15 IST
SHOWN = [
    Order(tag="TAG1", request_id="r", session_id="s", price=99.5, intent=Intent.ENTRY, state=OrderState.OPEN, **NAMED),
    Fill(trade_id="1", tag="TAG1", order_id="9", price=1500.5, ts_event=OPEN, **NAMED),
    OrderRequest(
        request_id="r", session_id="s", strategy="A", position_after=3, reference_price=1.0, intent=Intent.ENTRY,
        start=OPEN, **NAMED,
    ),
    Verdict(request_id="r", instrument="NSE:A<B", code="SUBMIT", text="", figures={"gross": 1}, ts=OPEN),
    Position(instrument_token=1, instrument="NSE:A<B", quantity=2, open_value=300_000, buy_value=300_000, last_price=1_510.0),
    Alert(level=Level.WARNING, module=Module.PRODUCER, code="GAP", text="NSE:A<B: a gap", ts=OPEN),
    Beat(module=Module.CONSUMER, pid=7, ts=OPEN, state="READY", figures={"NSE:A<B": 1}),
    Control(action=Action.SETTLE, source="cli", reason="NSE:A<B looked up", order="TAG1", ts=OPEN),
    SessionState(trading=TradingState.HALTED, kill=KillState.LOCKED, reason="NSE:A<B", ts=OPEN),
]  # fmt: skip


@pytest.mark.parametrize("message", SHOWN, ids=lambda m: type(m).__name__)
def test_a_message_is_a_table_in_html_and_in_text(message: object) -> None:
    """Escaped HTML with a row a fact, aligned lines in a terminal, and the plain repr for code."""
    html, text = message._repr_html_(), pretty(message)  # type: ignore[attr-defined]
    assert "NSE:A&lt;B" in html
    assert "A<B" not in html
    assert text.splitlines()[0] == type(message).__name__
    assert "NSE:A<B" in text
    assert repr(message).startswith(f"{type(message).__name__}(")


def test_times_are_indian_and_paise_become_rupees() -> None:
    """What is kept in nanoseconds and paise is shown as people read it; enums by their value."""
    assert "20 Nov 2026 09:15:00 IST" in pretty(SHOWN[1])
    assert "Rs 3,000.00" in pretty(SHOWN[4])
    assert "unrealised        Rs 20.00" in pretty(SHOWN[4])
    assert isinstance(Side.BUY, enum.Enum)
    assert "Side." not in pretty(SHOWN[0])


def test_a_point_of_mtm_is_in_rupees() -> None:
    """Its moments as IST, its figures from paise."""
    text = pretty(MtmPoint(OPEN, OPEN, 0, 150_050, 0, 150_050, 0, -2_000_000))
    assert "mtm         Rs 1,500.50" in text
    assert "limit       Rs -20,000.00" in text
    assert "20 Nov 2026 09:15:00 IST" in text


def test_how_it_looks_is_no_column() -> None:
    """The record's tables have the messages' fields only."""
    assert not {"PAISE", "BESIDES"} & {c.name for t in TABLES.values() for c in t.columns}
