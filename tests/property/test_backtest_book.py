"""A backtest's own books: charges to the paisa, equity against the domain's portfolio, requests against orders."""

import datetime as dt

import numpy as np
import pytest
from candle_makers import Everything, candles
from hypothesis import given, settings
from hypothesis import strategies as st

from tradealgo.domain.charges import order_charges
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.orders import Fill, Side
from tradealgo.domain.portfolio import Portfolio, to_paise
from tradealgo.domain.sizing import Sizing
from tradealgo.research.backtest import backtest
from tradealgo.research.simulate import charge_kinds, costs, quantity_at, size

pytestmark = pytest.mark.timeout(300)
KINDS = [
    Instrument(instrument_token=7, exchange="NSE", tradingsymbol="INFY", kind=Kind.EQUITY),
    Instrument(instrument_token=7, exchange="NFO", tradingsymbol="NIFTY26DECFUT", kind=Kind.FUTURE, lot_size=65),
    Instrument(instrument_token=7, exchange="NFO", tradingsymbol="NIFTY26D0124000CE", kind=Kind.CALL, lot_size=65),
]
SIZINGS = st.one_of(
    st.builds(lambda n: Sizing(units=n), st.integers(1, 5_000)),
    st.builds(lambda n: Sizing(lots=n), st.integers(1, 40)),
    st.builds(lambda f: Sizing(fraction=f), st.floats(0.0001, 2.0)),
)


@given(
    instrument=st.sampled_from(KINDS), paise=st.integers(20, 5_000_000), quantity=st.integers(1, 20_000),
    side=st.sampled_from(Side), day=st.dates(dt.date(2020, 1, 1), dt.date(2027, 12, 31)),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_compiled_charges_are_the_ledgers_to_the_paisa(instrument, paise, quantity, side, day):
    """Each kind, in whole-number arithmetic against the domain's decimals."""
    kinds = charge_kinds(paise / 100, side.sign * quantity, at(day, dt.time(10)), costs(instrument, True, 0.0))
    wanted = order_charges(instrument, side, to_paise(paise / 100) * quantity, day)
    assert kinds == (wanted.brokerage, wanted.stt, wanted.exchange, wanted.sebi, wanted.stamp, wanted.gst)


@given(
    sizing=SIZINGS,
    close=st.floats(0.05, 50_000.0),
    capital=st.floats(1_000.0, 1e8),
    lot=st.sampled_from([1, 65, 1_000]),
)
@settings(max_examples=300, deadline=None)
def test_compiled_sizes_are_the_sizings(sizing, close, capital, lot):
    """Units, lots or a fraction: the same whole number of lots."""
    assert quantity_at(close, size(sizing, capital, lot)) == sizing.quantity(close, capital, lot)


@given(data=candles(), instrument=st.sampled_from(KINDS), sizing=SIZINGS, fill=st.sampled_from(["next_open", "close"]))
@settings(max_examples=60, deadline=None)
def test_orders_are_the_requests_and_equity_is_the_portfolios(data, instrument, sizing, fill):
    """Every request but one after the last candle is an order; the domain's portfolio of these fills has our equity."""
    test = backtest(Everything(span=2, edge=0.05), data, instruments=instrument, sizing=sizing, fill=fill, interval=60)
    orders, requests = test.runs[0].orders, test.request_records
    if fill == "next_open":
        requests = [r for r in requests if r.start < data["start"][-1]]
    signed = [(r.side.sign * r.quantity, r.start) for r in requests]
    assert signed == [(int(o["quantity"]), int(data["start"][o["signal"]])) for o in orders]
    book = Portfolio({7: instrument})
    for n, o in enumerate(orders):
        side = Side.BUY if o["quantity"] > 0 else Side.SELL
        ts = int(data["start"][o["fill"]])
        book.apply(
            Fill(trade_id=str(n), tag="t", order_id=str(n), instrument_token=7, instrument=instrument.key, side=side,
                 quantity=abs(int(o["quantity"])), price=float(o["price"]), ts_event=ts)
        )  # fmt: skip
    book.mark(7, float(data["close"][-1]))
    assert test.final_equity - test.capital == pytest.approx(book.mtm / 100, abs=0.005, rel=1e-9)
    assert test.charges["total"] == pytest.approx(book.charges.total / 100)
    assert test.trades["pnl"].sum() == pytest.approx(book.mtm / 100, abs=0.01, rel=1e-9)


@given(data=candles())
@settings(max_examples=30, deadline=None)
def test_later_candles_change_nothing_earlier(data):
    """A run over a part of the candles says what the run over all said for that part."""
    whole = backtest(Everything(), data, interval=60).signal_records
    part = backtest(Everything(), data[: (len(data) + 1) // 2], interval=60).signal_records
    assert repr(whole[: len(part)]) == repr(part)
    assert np.isfinite(backtest(Everything(), data, interval=60).final_equity)
