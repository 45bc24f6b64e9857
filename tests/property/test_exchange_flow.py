"""Random order flow against a random market: what must hold whatever happens."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind
from tradealgo.domain.orders import Fill, Side
from tradealgo.domain.portfolio import Portfolio
from tradealgo.domain.ticks import empty_ticks
from tradealgo.exchange.engine import Engine
from tradealgo.exchange.orders import Execution
from tradealgo.exchange.protocol import DONE, KiteError

DAY = dt.date(2026, 11, 20)
OPEN = int(dt.datetime(2026, 11, 20, 3, 45, tzinfo=dt.UTC).timestamp()) * 10**9
SHARE = Instrument(instrument_token=257, exchange="NSE", tradingsymbol="ABC", kind=Kind.EQUITY, tick_size=0.05)
FUTURE = Instrument(
    instrument_token=514, exchange="NFO", tradingsymbol="ABCFUT", kind=Kind.FUTURE, name="ABC", lot_size=25,
    tick_size=0.05, expiry=dt.date(2026, 11, 24),
)  # fmt: skip
OPTION = Instrument(
    instrument_token=770, exchange="NFO", tradingsymbol="ABCCE", kind=Kind.CALL, name="ABC", lot_size=25,
    tick_size=0.05, strike=500.0, expiry=dt.date(2026, 11, 24),
)  # fmt: skip
INSTRUMENTS = [SHARE, FUTURE, OPTION]
BY_TOKEN = {i.instrument_token: i for i in INSTRUMENTS}


def tick(
    instrument: Instrument, number: int, steps: int, spread: int, sizes: tuple[int, int], volume: int
) -> np.ndarray:
    """One tick `steps` price steps from Rs 100."""
    out = empty_ticks(1)
    last = round(100 + steps * 0.05, 2)
    out["instrument_token"], out["ts_event"] = instrument.instrument_token, OPEN + number * 10**9
    out["last_price"], out["close"], out["volume"] = last, 100.0, volume
    out["bid_price"], out["ask_price"] = last, round(last + spread * 0.05, 2)
    out["bid_quantity"], out["ask_quantity"] = sizes
    return out


sizes = st.tuples(st.integers(0, 200), st.integers(0, 200))
quotes = st.tuples(
    st.just("tick"),
    st.sampled_from(INSTRUMENTS),
    st.integers(-60, 60),
    st.integers(1, 6),
    sizes,
    st.integers(0, 300),  # units traded since the tick before
)
places = st.tuples(
    st.just("place"), st.sampled_from(INSTRUMENTS), st.sampled_from(["BUY", "SELL"]), st.integers(1, 12),
    st.sampled_from(["LIMIT", "LIMIT", "MARKET", "SL"]), st.integers(-40, 40), st.sampled_from(["DAY", "DAY", "IOC"]),
)  # fmt: skip
changes = st.tuples(st.sampled_from(["cancel", "modify"]), st.integers(0, 30), st.integers(-40, 40))
flows = st.lists(st.one_of(quotes, quotes, places, changes), max_size=60)


def form(instrument: Instrument, side: str, lots: int, kind: str, steps: int, validity: str) -> dict[str, str]:
    price = 100 + steps * 0.05
    sign = 1 if side == "BUY" else -1
    return {
        "exchange": instrument.exchange, "tradingsymbol": instrument.tradingsymbol, "transaction_type": side,
        "quantity": str(lots * instrument.lot_size), "product": "MIS", "order_type": kind, "validity": validity,
        "price": f"{price + sign * 0.1:.2f}", "trigger_price": f"{price:.2f}", "market_protection": "-1",
    }  # fmt: skip


def play(flow: list[tuple[Any, ...]]) -> Engine:
    """The engine after a flow; what must always hold is checked after each step."""
    first = np.concatenate([tick(i, 0, 0, 2, (50, 50), 0) for i in INSTRUMENTS])
    engine = Engine(DAY, InstrumentBook(INSTRUMENTS), first, 100_000_000)
    engine.on_time(OPEN + 1)
    volumes: dict[int, int] = defaultdict(int)
    seen = 0
    left: dict[tuple[int, str], int] = {}  # of what a tick showed
    for token in BY_TOKEN:
        show(engine, left, token, 0)
    for number, (what, *rest) in enumerate(flow, 1):
        try:
            if what == "tick":
                instrument, steps, spread, size, traded = rest
                volumes[instrument.instrument_token] += traded
                shown = tick(instrument, number, steps, spread, size, volumes[instrument.instrument_token])
                engine.on_ticks(shown)
                show(engine, left, instrument.instrument_token, traded)
                engine.on_time(OPEN + number * 10**9)
            elif what == "place":
                engine.place("regular", form(*rest))
            elif engine.book.all():
                chosen = engine.book.all()[rest[0] % len(engine.book.all())].order_id
                if what == "cancel":
                    engine.cancel("regular", chosen)
                else:
                    engine.modify("regular", chosen, {"price": f"{100 + rest[1] * 0.05:.2f}"})
        except KiteError:
            continue
        check(engine)
        seen = check_fills(engine, seen, left)
    return engine


def show(engine: Engine, left: dict[tuple[int, str], int], token: int, traded: int) -> None:
    """A tick was shown: so much can be had of it, what stands in the book and what was traded since the one before."""
    tick = engine.board.tick(token)
    left[token, "BUY"], left[token, "SELL"] = int(tick["ask_quantity"]) + traded, int(tick["bid_quantity"]) + traded


def check_fills(engine: Engine, seen: int, left: dict[tuple[int, str], int]) -> int:
    """New fills are no kinder than the quote or the last trade that was shown, and no more than is left of what was shown."""
    for execution in engine.book.executions[seen:]:
        shown = engine.board.tick(execution.instrument_token)
        last, bid, ask = (round(float(shown[n]) * 100) for n in ("last_price", "bid_price", "ask_price"))
        if execution.side == "BUY":
            assert execution.price >= min(last, ask)
        else:
            assert execution.price <= max(last, bid)
        left[execution.instrument_token, execution.side] -= execution.quantity
    assert min(left.values()) >= 0
    return len(engine.book.executions)


def check(engine: Engine) -> None:
    """Book, executions and positions agree; no order filled beyond its size."""
    filled: dict[str, list[Execution]] = defaultdict(list)
    for execution in engine.book.executions:
        filled[execution.order_id].append(execution)
    for order in engine.book.all():
        fills = filled[order.order_id]
        assert sum(e.quantity for e in fills) == order.filled <= order.quantity
        assert sum(e.quantity * e.price for e in fills) == order.value
        assert order.filled + order.pending + order.cancelled <= order.quantity
        if order.status in DONE:
            assert order.pending == 0
    net: dict[int, int] = defaultdict(int)
    for execution in engine.book.executions:
        net[execution.instrument_token] += execution.quantity * (1 if execution.side == "BUY" else -1)
    for token in BY_TOKEN:
        assert engine.ledger.quantity(token) == net[token]


@settings(max_examples=50)
@given(flows)
def test_cash_and_shares_are_conserved(flow: list[tuple[Any, ...]]) -> None:
    """Cash plus what is held at last prices is capital plus MTM, to the paisa."""
    engine = play(flow)
    last = engine.last_prices()
    held = sum(h.quantity * last[h.instrument_token] for h in engine.ledger.holdings.values())
    assert engine.ledger.cash + held == engine.ledger.capital + engine.ledger.mtm(last)


@settings(max_examples=50)
@given(flows)
def test_no_fill_beyond_its_limit(flow: list[tuple[Any, ...]]) -> None:
    """A fill is within the limit that the order had at that moment."""
    engine = play(flow)
    for records in engine.book.history.values():
        sign = records[0].sign
        for before, after in pairwise(records):
            if after.filled > before.filled:
                price = (after.value - before.value) / (after.filled - before.filled)
                assert sign * (before.limit - price) >= 0


@settings(max_examples=50)
@given(flows)
def test_our_portfolio_agrees_to_the_paisa(flow: list[tuple[Any, ...]]) -> None:
    """The books that the Gatekeeper keeps, fed the same executions in reverse and twice, say the same."""
    engine = play(flow)
    book = Portfolio(BY_TOKEN)
    for e in [*engine.book.executions, *engine.book.executions]:
        book.apply(
            Fill(
                trade_id=e.trade_id, tag="", order_id=e.order_id, instrument_token=e.instrument_token,
                instrument=BY_TOKEN[e.instrument_token].key, side=Side(e.side), quantity=e.quantity,
                price=e.price / 100, ts_event=e.ts,
            )
        )  # fmt: skip
    last = engine.last_prices()
    for token, price in last.items():
        book.mark(token, price / 100)
    assert book.charges == engine.ledger.charges
    assert book.gross_pnl == engine.ledger.pnl(last)
    assert book.mtm == engine.ledger.mtm(last)
    for (token, _), holding in engine.ledger.holdings.items():
        ours = book.position(token)
        assert (ours.quantity, ours.buy_value, ours.sell_value) == (
            holding.quantity, holding.buy_value, holding.sell_value
        )  # fmt: skip


@settings(max_examples=30)
@given(flows)
def test_same_flow_same_book(flow: list[tuple[Any, ...]]) -> None:
    """Two runs are equal, record by record."""
    first, second = play(flow), play(flow)
    assert first.book.history == second.book.history
    assert first.book.executions == second.book.executions


@settings(max_examples=30)
@given(flows)
def test_restored_book_is_the_same(flow: list[tuple[Any, ...]]) -> None:
    """A log of all changes rebuilds book, ledger and numbering."""
    engine = play(flow)
    first = np.concatenate([tick(i, 0, 0, 2, (50, 50), 0) for i in INSTRUMENTS])
    again = Engine(DAY, InstrumentBook(INSTRUMENTS), first, 100_000_000)
    for change in engine.drain():
        again.restore(change.order, change.execution)
    assert again.book.executions == engine.book.executions
    assert [o.order_id for o in again.book.all()] == [o.order_id for o in engine.book.all()]
    assert [(o.status, o.filled) for o in again.book.all()] == [(o.status, o.filled) for o in engine.book.all()]
    assert again.ledger.cash == engine.ledger.cash
    assert again._next_id() == engine._next_id()


def test_flows_do_trade() -> None:
    """The random flows are no empty talk: most of long ones bring fills of every kind of order."""
    kinds: set[str] = set()

    @settings(max_examples=25, database=None)
    @given(st.lists(st.one_of(quotes, places), min_size=40, max_size=60))
    def collect(flow: list[tuple[Any, ...]]) -> None:
        kinds.update(o.form.order_type for o in play(flow).book.all() if o.filled)

    collect()
    assert kinds == {"LIMIT", "MARKET", "SL"}
