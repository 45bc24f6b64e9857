"""The checks at their very edges: what is just allowed, what only looks like an entry, what only looks like an exit."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
from gate_world import CALL, INFY, INSTRUMENTS, RELIANCE
from test_gatekeeper_checks import DAY, SECOND, TEN, book, code, hold, leave, put, request, state

from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, OrderRequest, OrderState, Side
from tradealgo.domain.state import TradingState
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.checks import decide
from tradealgo.gatekeeper.checks.margin import required
from tradealgo.gatekeeper.checks.schema import MAX_PRICE, MAX_QUANTITY
from tradealgo.gatekeeper.situation import Submit, Terms

TEN_UNITS = {"quantity": 10, "position_after": 10}
#: Ten units at the protected price of 1,507.50.
VALUE = 15_075.0


def reduce(after: int, quantity: int, **changes: Any) -> OrderRequest:
    """A sale that calls itself an entry."""
    return request(side=Side.SELL, quantity=quantity, position_after=after, **changes)


@pytest.mark.parametrize(
    ("changes", "limits"),
    [
        (TEN_UNITS, {"max_gross_exposure": VALUE}),
        (TEN_UNITS, {"max_order_value": VALUE}),
        ({}, {"max_open_orders": 1}),
        ({"reference_price": 1_545.0}, {}),
        ({"ts_requested": TEN - 5 * SECOND}, {}),
        ({"ts_requested": TEN + SECOND}, {}),
        ({"ts_requested": 0}, {}),
        ({"start": 0}, {}),
        ({"start": at(DAY, dt.time(0))}, {}),
        ({"request_id": "x" * 200}, {}),
        ({"stop": MAX_PRICE, "target": MAX_PRICE}, {}),
    ],
)
def test_what_is_at_the_limit_passes(changes: dict[str, Any], limits: dict[str, Any]) -> None:
    """A limit is what may be had, not the first that may not."""
    assert code(request(**changes), limits=Limits(**limits)) == "SUBMIT"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"request_id": "x" * 201}, "BAD_ID"),
        ({"start": at(DAY + dt.timedelta(days=1), dt.time(0))}, "OLD_REQUEST"),
        ({"quantity": MAX_QUANTITY, "position_after": MAX_QUANTITY}, "ORDER_VALUE"),  # a number like any other
        ({"reference_price": MAX_PRICE}, "FAT_FINGER"),
        ({"side": Side.SELL}, "NOTHING_TO_DO"),  # flat, and a sale is said to lead to a long position
    ],
)
def test_which_check_says_it(changes: dict[str, Any], expected: str) -> None:
    """The figures at the far end of what a request may say."""
    assert code(request(**changes)) == expected


def test_margin_to_the_rupee() -> None:
    """What is free may be used up; a sold option binds a tenth of its strike; closing a position binds nothing."""
    made = book()
    made.available = required(INFY, Side.BUY, 10, 1_507.5)
    assert code(request(**TEN_UNITS), made) == "SUBMIT"
    made.available = 100_000.0
    sold = request(CALL, side=Side.SELL, quantity=65, position_after=-65)
    assert code(sold, made) == "MARGIN"
    made.available = 162_500.0
    assert code(sold, made) == "SUBMIT"
    turned = hold(book(), INFY, 10)
    turned.available = 3_000.0  # for ten of the twenty
    assert code(reduce(-10, 20), turned) == "SUBMIT"
    turned.available = 2_900.0
    assert code(reduce(-10, 20), turned) == "MARGIN"


def test_an_entry_that_only_reduces_is_an_exit() -> None:
    """From 10 to 5 or to 0: no entry check stands in its way; a turn is no exit."""
    made = hold(book(), INFY, 10)
    assert code(reduce(5, 5), made, breaker_passes=False) == "SUBMIT"
    assert code(reduce(0, 10), made, breaker_passes=False) == "SUBMIT"
    assert code(reduce(-10, 20), made, breaker_passes=False) == "BREAKER"
    assert code(leave(), made, Limits(max_order_value=100.0)) == "SUBMIT"


def test_the_window_before_the_close_lets_out_and_nobody_in() -> None:
    """At 15:12: what leads nearer to flat passes, whatever it is called; a turn, and what goes the other way, don't."""
    ts = at(DAY, dt.time(15, 12))
    now = {"start": ts, "ts_requested": ts}
    made = hold(book(ts), INFY, 10)
    assert code(reduce(5, 5, **now), made, now=ts) == "SUBMIT"
    assert code(reduce(-20, 30, **now), made, now=ts) == "SQUARE_OFF"
    assert code(reduce(-10, 20, **now), made, now=ts) == "SQUARE_OFF"
    assert code(request(quantity=5, position_after=5, **now), made, now=ts) == "SQUARE_OFF"
    assert code(leave(start=ts), book(ts), now=ts) == "NOTHING_TO_DO"


def test_which_denial_when_trading_is_reducing() -> None:
    """An entry hears REDUCING; an exit of nothing, that there is nothing to do."""
    assert code(leave(), trading=TradingState.REDUCING) == "NOTHING_TO_DO"
    assert code(request(side=Side.SELL), trading=TradingState.REDUCING) == "REDUCING"
    assert code(request(**TEN_UNITS), hold(book(), INFY, 10)) == "NOTHING_TO_DO"


def test_an_exit_is_cut_to_what_the_account_still_holds() -> None:
    """Ten are ours, four of them somebody has sold."""
    made = hold(book(), INFY, 10)
    made.outside[INFY.instrument_token] = -4
    answer = decide(leave(), made, Limits(), state(), TEN)
    assert isinstance(answer, Submit)
    assert answer.quantity == 6


def test_no_price_is_said_first() -> None:
    """No tick at all, or none of this instrument: neither entries nor exits have a price to go at."""
    assert code(leave(), Book(INSTRUMENTS, 1e6)) == "NO_PRICE"
    made = Book(INSTRUMENTS, 1e6)
    made.take_prices([(RELIANCE.instrument_token, 2_900.0, TEN)], TEN)
    assert code(request(), made) == "NO_PRICE"


def test_an_exit_needs_a_price_but_no_tick() -> None:
    """After a restart the broker's own price, or that of the last fill, will do; where there is none it can't go."""
    made = Book(INSTRUMENTS, 1e6)
    made.take_prices([(RELIANCE.instrument_token, 2_900.0, TEN)], TEN)
    put(made, INFY, Side.BUY, 10, OrderState.FILLED, filled=10)
    assert code(leave(), made) == "NO_PRICE"
    made.take_quote(INFY.instrument_token, 1_500.0, TEN)
    assert code(leave(), made) == "SUBMIT"
    made.quotes.clear()
    assert code(leave(), hold(made, INFY, 10)) == "SUBMIT"


@pytest.mark.parametrize(
    ("speed", "age_s", "stale_price_s", "expected"),
    [
        (1.0, 5.0, 5.0, "SUBMIT"),
        (60.0, 0.9, 5.0, "SUBMIT"),  # never under a second: a busy machine lags
        (60.0, 1.1, 5.0, "STALE_PRICE"),
        (2.0, 2.4, 5.0, "SUBMIT"),
        (2.0, 2.6, 5.0, "STALE_PRICE"),
        (60.0, 0.6, 0.5, "STALE_PRICE"),  # unless one asks for less
    ],
)
def test_the_age_of_a_price_at_a_fast_replay(speed: float, age_s: float, stale_price_s: float, expected: str) -> None:
    """The wall-clock limit shrinks with the speed."""
    now = TEN + round(age_s * SECOND)
    terms = Terms("s1", "A1", 1_000_000.0, speed)
    limits = Limits(stale_price_s=stale_price_s)
    assert code(request(ts_requested=now), limits=limits, now=now, terms=terms) == expected


def one_instrument(instrument: Instrument, last: float) -> Book:
    """A book of this instrument alone, ticked."""
    made = Book((instrument,), 1e9)
    made.take_prices([(instrument.instrument_token, last, TEN)], TEN)
    return made


def test_a_limit_off_the_tick_does_not_leave() -> None:
    """Prices have four decimals: a finer tick can't be met."""
    fine = msgspec.structs.replace(INFY, tick_size=0.00025)
    asked = request(reference_price=1_500.0)
    assert code(asked, one_instrument(fine, 1_500.0001)) == "OFF_TICK"


@pytest.mark.parametrize(
    ("instrument", "name"),
    [
        (msgspec.structs.replace(CALL, tradingsymbol="XYZ26NOV100CE", name="XYZ"), "no freeze quantity is known"),
        (msgspec.structs.replace(INFY, kind=Kind.EQUITY, name="NIFTY"), "a share has none"),
    ],
)
def test_what_has_no_freeze_quantity_goes_whole(instrument: Instrument, name: str) -> None:
    """One slice, however large."""
    asked = OrderRequest(
        request_id="r1", session_id="s1", strategy="x", instrument_token=instrument.instrument_token,
        instrument=instrument.key, side=Side.BUY, quantity=6_500, position_after=6_500, reference_price=100.0,
        intent=Intent.ENTRY, start=TEN, ts_requested=TEN,
    )  # fmt: skip
    terms = Terms("s1", "A1", 1e9)
    answer = decide(asked, one_instrument(instrument, 100.0), Limits(), state(terms=terms), TEN)
    assert isinstance(answer, Submit), name
    assert answer.slices == (6_500,)
