"""The book agrees with plain sums over its fills, whatever their order."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.orders import Fill, Side
from tradealgo.domain.portfolio import Portfolio, to_paise

INSTRUMENTS = {
    n: Instrument(instrument_token=n, exchange="NSE", tradingsymbol=f"S{n}", kind=Kind.EQUITY) for n in (1, 2)
}
NOW = at(dt.date(2026, 11, 20), dt.time(10, 0))


@st.composite
def fills(draw):
    """Random executions over two shares and a few orders."""
    found = []
    for n in range(draw(st.integers(0, 30))):
        order = draw(st.integers(1, 6))
        token = 1 + order % 2
        found.append(
            Fill(
                trade_id=str(n), tag=f"T{order}", order_id=str(order), instrument_token=token, instrument=f"NSE:S{token}",
                side=Side.BUY if order % 3 else Side.SELL, quantity=draw(st.integers(1, 500)),
                price=draw(st.integers(5, 500_000)) / 100, ts_event=NOW,
            )
        )  # fmt: skip
    return found


@given(fills(), st.integers(5, 500_000))
def test_pnl_is_the_sum_over_fills(executions, mark):
    """P&L is what was sold less what was bought, plus what is held at the last price: to the paisa."""
    book = Portfolio.replay(INSTRUMENTS, executions)
    for token in INSTRUMENTS:
        book.mark(token, mark / 100)
    quantity = {t: sum(f.side.sign * f.quantity for f in executions if f.instrument_token == t) for t in INSTRUMENTS}
    cash = -sum(f.side.sign * f.quantity * to_paise(f.price) for f in executions)
    assert book.gross_pnl == cash + sum(quantity.values()) * mark
    assert book.mtm == book.gross_pnl - book.charges.total
    assert book.realised + book.unrealised == book.gross_pnl
    assert {p.instrument_token: p.quantity for p in book.positions()} == {
        t: quantity[t] for t in {f.instrument_token for f in executions}
    }


@given(fills(), st.lists(st.integers(5, 500_000), min_size=30, max_size=30))
def test_the_sums_are_the_positions_at_every_step(executions, marks):
    """P&L, what is realised and what is open are kept as fills and prices come: they equal the sums over positions."""
    book = Portfolio(INSTRUMENTS)
    for fill, mark in zip(executions, marks, strict=False):
        book.apply(fill)
        book.mark(fill.instrument_token, mark / 100)
        held = book.positions()
        assert book.position(fill.instrument_token).last_price == mark / 100
        assert book.gross_pnl == sum(p.pnl for p in held)
        assert book.realised == sum(p.realised for p in held)
        assert book.worth == sum(p.quantity * to_paise(p.last_price) for p in held)
        assert book.open_positions() == [p for p in held if p.quantity]


@given(fills())
def test_a_fill_counts_once(executions):
    """Repeated fills change nothing; charges don't depend on the order of arrival."""
    once = Portfolio.replay(INSTRUMENTS, executions)
    twice = Portfolio.replay(INSTRUMENTS, [*executions, *executions])
    backwards = Portfolio.replay(INSTRUMENTS, reversed(executions))
    assert once.gross_pnl == twice.gross_pnl
    assert once.charges == twice.charges == backwards.charges


@given(fills())
def test_flat_means_nothing_unrealised(executions):
    """An instrument that is flat has all its P&L realised, at any price."""
    book = Portfolio.replay(INSTRUMENTS, executions)
    for position in book.positions():
        if not position.quantity:
            assert position.unrealised == 0
            assert position.average_price == 0.0
