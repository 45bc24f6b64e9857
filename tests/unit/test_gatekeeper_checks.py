"""Each check denies with its code and figures, lets through what is just within, and leaves exits their way out."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
from gate_world import CALL, INFY, INSTRUMENTS, RELIANCE

from tradealgo.domain.hours import at, ist_day
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Fill, Intent, Order, OrderRequest, OrderState, Side
from tradealgo.domain.state import KillState, TradingState
from tradealgo.gatekeeper.book import Book, Foreign
from tradealgo.gatekeeper.checks import CHECKS, decide
from tradealgo.gatekeeper.checks.freeze import largest_order, slice_up
from tradealgo.gatekeeper.situation import Deny, GateState, Submit, Terms

DAY = dt.date(2026, 11, 20)
TEN = at(DAY, dt.time(10, 0))
SECOND = 10**9
NIFTY = Instrument(instrument_token=9, exchange="NSE", tradingsymbol="NIFTY 50", kind=Kind.INDEX)


def book(ts: int = TEN, **prices: float) -> Book:
    """A book in which everything ticked at `ts`."""
    made = Book((*INSTRUMENTS, NIFTY), 1_000_000.0)
    for instrument, price in ((INFY, 1_500.0), (RELIANCE, 2_900.0), (CALL, 120.0), (NIFTY, 25_000.0)):
        made.take_prices([(instrument.instrument_token, price, ts)], ts)
    return made


def hold(made: Book, instrument: Instrument, quantity: int, price: float = 1_500.0) -> Book:
    """A position of ours."""
    side = Side.BUY if quantity > 0 else Side.SELL
    put(
        made,
        instrument,
        side,
        abs(quantity),
        OrderState.FILLED,
        filled=abs(quantity),
        tag=f"H{instrument.tradingsymbol}",
    )
    fill = Fill(
        trade_id=f"T{instrument.tradingsymbol}", tag=f"H{instrument.tradingsymbol}", order_id="1",
        instrument_token=instrument.instrument_token, instrument=instrument.key, side=side, quantity=abs(quantity),
        price=price, ts_event=TEN,
    )  # fmt: skip
    made.book(fill, TEN)
    return made


def put(
    made: Book, instrument: Instrument, side: Side, quantity: int, state: OrderState, *, filled: int = 0, tag: str = "W"
) -> Book:
    order = Order(
        tag=tag, request_id=tag, session_id="s1", instrument_token=instrument.instrument_token,
        instrument=instrument.key, side=side, quantity=quantity, price=1_500.0, intent=Intent.ENTRY, state=state,
        filled_quantity=filled, average_price=1_500.0 if filled else 0.0,
    )  # fmt: skip
    made.put(order, TEN)
    return made


def request(instrument: Instrument = INFY, /, **changes: Any) -> OrderRequest:
    base = OrderRequest(
        request_id="r1", session_id="s1", strategy="x", instrument_token=instrument.instrument_token,
        instrument=instrument.key, side=Side.BUY, quantity=instrument.lot_size, position_after=instrument.lot_size,
        reference_price={257: 1_500.0, 513: 2_900.0, 770: 120.0, 9: 25_000.0}[instrument.instrument_token],
        intent=Intent.ENTRY, start=TEN, ts_requested=TEN,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def state(**changes: Any) -> GateState:
    made = GateState(Terms("s1", "A1", 1_000_000.0), loss_line=-2_000_000, seen={})
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def code(
    asked: OrderRequest, made: Book | None = None, limits: Limits | None = None, now: int = TEN, **gate: Any
) -> str:
    """SUBMIT, or the denial's code."""
    answer = decide(asked, made or book(), limits or Limits(), state(**gate), now)
    return answer.denial.code if isinstance(answer, Deny) else "SUBMIT"


def leave(quantity: int = 10, after: int = 0, **changes: Any) -> OrderRequest:
    """An exit from a long position."""
    return request(side=Side.SELL, quantity=quantity, position_after=after, intent=Intent.EXIT, **changes)


def test_a_good_request_passes_at_a_protected_price() -> None:
    """LTP and half a per cent, on the tick."""
    answer = decide(request(), book(), Limits(), state(), TEN)
    assert answer == Submit(1, 1_507.5, (1,), 1_500.0, 0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"quantity": 0}, "BAD_QUANTITY"),
        ({"quantity": -5}, "BAD_QUANTITY"),
        ({"quantity": 10_000_001}, "BAD_QUANTITY"),
        ({"position_after": 10**9}, "BAD_QUANTITY"),
        ({"reference_price": float("nan")}, "BAD_PRICE"),
        ({"reference_price": float("inf")}, "BAD_PRICE"),
        ({"reference_price": -1.0}, "BAD_PRICE"),
        ({"reference_price": 0.0}, "BAD_PRICE"),
        ({"reference_price": 1e12}, "BAD_PRICE"),
        ({"stop": float("nan")}, "BAD_PRICE"),
        ({"stop": 0.0}, "BAD_PRICE"),
        ({"target": 0.0}, "BAD_PRICE"),
        ({"target": 1e12}, "BAD_PRICE"),
        ({"intent": Intent.KILL}, "BAD_INTENT"),
        ({"request_id": ""}, "BAD_ID"),
        ({"session_id": "yesterday"}, "WRONG_SESSION"),
        ({"instrument": "NSE:TCS"}, "UNKNOWN_INSTRUMENT"),
        ({"instrument_token": 1}, "UNKNOWN_INSTRUMENT"),
        ({"instrument_token": RELIANCE.instrument_token}, "UNKNOWN_INSTRUMENT"),
        ({"start": TEN - 86_400 * SECOND}, "OLD_REQUEST"),
        ({"ts_requested": TEN - 5_100_000_000}, "STALE_REQUEST"),
        ({"ts_requested": TEN + 2 * SECOND}, "FUTURE_REQUEST"),
        ({"reference_price": 1_546.0}, "FAT_FINGER"),
        ({"reference_price": 1_454.0}, "FAT_FINGER"),
        ({"reference_price": 1_544.0}, "SUBMIT"),
        ({"reference_price": 1_456.0}, "SUBMIT"),
        ({"ts_requested": TEN - 4_900_000_000}, "SUBMIT"),
        ({"quantity": 3_400, "position_after": 3_400}, "ORDER_VALUE"),
    ],
)
def test_one_request(changes: dict[str, Any], expected: str) -> None:
    """What a single request says of itself."""
    assert code(request(**changes)) == expected


@pytest.mark.parametrize(("reference", "expected"), [(143.0, "SUBMIT"), (97.0, "SUBMIT"), (145.0, "FAT_FINGER")])
def test_a_premium_may_move_further(reference: float, expected: str) -> None:
    """An option's line is a fifth, by a limit of its own."""
    assert code(request(CALL, reference_price=reference)) == expected
    assert (
        code(request(CALL, reference_price=reference), limits=Limits(option_fat_finger_fraction=0.01)) == "FAT_FINGER"
    )


def test_an_index_cannot_be_bought() -> None:
    """It has a price, and no orders."""
    assert code(request(NIFTY)) == "NOT_TRADABLE"


def test_a_used_id_is_a_duplicate() -> None:
    """The same object is the request under decision; another one under its id is not."""
    asked = request()
    assert code(asked, seen={"r1": asked}) == "SUBMIT"
    assert code(request(quantity=2), seen={"r1": asked}) == "DUPLICATE"


@pytest.mark.parametrize("kill", [k for k in KillState if k is not KillState.ARMED])
def test_after_a_trip_nothing_of_a_strategy_passes(kill: KillState) -> None:
    """Neither entries nor exits: the kill makes its own."""
    assert code(request(), kill=kill) == "KILLED"
    assert code(leave(), hold(book(), INFY, 10), kill=kill) == "KILLED"


def test_halted_lets_only_exits_through() -> None:
    """And no more than the position."""
    made = hold(book(), INFY, 10)
    assert code(request(), trading=TradingState.HALTED) == "HALTED"
    assert code(leave(), made, trading=TradingState.HALTED) == "SUBMIT"


def test_reducing_cuts_a_turn_down_to_the_exit() -> None:
    """Long 10, asked to go short 10: sells 10, not 20."""
    turn = request(side=Side.SELL, quantity=20, position_after=-10)
    answer = decide(turn, hold(book(), INFY, 10), Limits(), state(trading=TradingState.REDUCING), TEN)
    assert isinstance(answer, Submit)
    assert answer.quantity == 10
    assert code(request(), trading=TradingState.REDUCING) == "REDUCING"


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        (dt.time(9, 14, 59), "MARKET_CLOSED"),
        (dt.time(9, 15), "SUBMIT"),
        (dt.time(15, 9, 59), "SUBMIT"),
        (dt.time(15, 10), "SQUARE_OFF"),
        (dt.time(15, 15), "MARKET_CLOSED"),
    ],
)
def test_hours_by_the_exchange_clock(clock: dt.time, expected: str) -> None:
    """A share with derivatives: entries to 15:10, trading to the auction at 15:15."""
    ts = at(DAY, clock)
    assert code(request(start=ts, ts_requested=ts), book(ts), now=ts) == expected


def test_exits_and_turns_to_flat_pass_in_the_square_off_window() -> None:
    """That is what it is for."""
    ts = at(DAY, dt.time(15, 12))
    made = hold(book(ts), INFY, 10)
    assert code(leave(start=ts), made, now=ts) == "SUBMIT"


def test_no_tick_no_order() -> None:
    """Without a tick there is neither a clock nor a price."""
    assert code(request(), Book(INSTRUMENTS, 1e6)) == "NO_PRICE"


def test_a_stale_price_stops_entries_not_exits() -> None:
    """Five seconds by the wall clock."""
    late = TEN + 5_100_000_000
    made = hold(book(), INFY, 10)
    assert code(request(RELIANCE, ts_requested=late), made, now=late) == "STALE_PRICE"
    assert code(leave(ts_requested=late), made, now=late) == "SUBMIT"
    assert code(request(RELIANCE, ts_requested=late), book(TEN + 200_000_000), now=late) == "SUBMIT"


@pytest.mark.parametrize(
    ("held", "side", "quantity", "after", "intent", "expected"),
    [
        (0, Side.BUY, 10, 10, Intent.ENTRY, 10),
        (10, Side.SELL, 10, 0, Intent.EXIT, 10),
        (6, Side.SELL, 10, 0, Intent.EXIT, 6),  # the entry had filled in part
        (0, Side.SELL, 10, 0, Intent.EXIT, 0),  # … or not at all
        (-4, Side.SELL, 10, 0, Intent.EXIT, 0),  # would raise risk
        (10, Side.SELL, 50, -40, Intent.EXIT, 10),  # would turn
        (0, Side.SELL, 20, -10, Intent.ENTRY, 10),  # a turn whose first leg never filled
        (10, Side.SELL, 20, -10, Intent.ENTRY, 20),
        (10, Side.BUY, 10, 10, Intent.ENTRY, 0),  # there already
    ],
)
def test_quantity_leads_to_the_target_and_no_further(held, side, quantity, after, intent, expected) -> None:
    """Cut down to what is left to do; an exit never beyond flat."""
    made = hold(book(), INFY, held) if held else book()
    asked = request(side=side, quantity=quantity, position_after=after, intent=intent)
    answer = decide(asked, made, Limits(), state(), TEN)
    assert (answer.quantity if isinstance(answer, Submit) else 0) == expected


def test_what_works_on_the_side_is_counted() -> None:
    """Also when its outcome is unknown: two exits can't be one too many."""
    made = put(hold(book(), INFY, 10), INFY, Side.SELL, 7, OrderState.UNKNOWN)
    answer = decide(leave(), made, Limits(), state(), TEN)
    assert isinstance(answer, Submit)
    assert answer.quantity == 3


def test_whole_lots() -> None:
    """65 units of NIFTY options."""
    assert code(request(CALL, quantity=66, position_after=66)) == "BAD_LOT"
    assert code(request(CALL, quantity=130, position_after=130)) == "SUBMIT"


def test_slices() -> None:
    """NIFTY's freeze quantity of 1,800 is 27 lots of 65; eleven slices are too many."""
    largest = largest_order(CALL)
    assert largest == 1_755
    assert slice_up(4_000, largest) == (1_755, 1_755, 490)
    limits = Limits(max_order_value=1e9, max_gross_exposure=1e9)
    rich = state(terms=Terms("s1", "A1", 1e9))
    asked = request(CALL, quantity=17_550, position_after=17_550)
    answer = decide(asked, book(), limits, rich, TEN)
    assert isinstance(answer, Submit)
    assert len(answer.slices) == 10
    more = decide(request(CALL, quantity=17_615, position_after=17_615), book(), limits, rich, TEN)
    assert isinstance(more, Deny)
    assert more.denial.code == "TOO_MANY_SLICES"


def test_exposure_counts_the_worst_case() -> None:
    """An UNKNOWN order as filled, and foreign orders too; figures say how much."""
    limits = Limits(max_gross_exposure=40_000.0)
    assert code(request(quantity=10, position_after=10), limits=limits) == "SUBMIT"
    made = put(book(), RELIANCE, Side.BUY, 10, OrderState.UNKNOWN)
    assert code(request(quantity=10, position_after=10), made, limits) == "EXPOSURE"
    made = book()
    made.foreign["F"] = Foreign("F", "NSE:TCS", Side.BUY, 10, 3_000.0)
    answer = decide(request(quantity=10, position_after=10), made, limits, state(), TEN)
    assert isinstance(answer, Deny)
    assert answer.denial.figures["exposure"] == pytest.approx(30_000 + 15_075)


def test_a_turn_adds_only_what_it_adds() -> None:
    """From long 10 to short 10 the gross value stays."""
    made = hold(book(), INFY, 10)
    turn = request(side=Side.SELL, quantity=20, position_after=-10)
    assert code(turn, made, Limits(max_gross_exposure=16_000.0)) == "SUBMIT"


def test_open_orders() -> None:
    """Own and foreign; exits always find room."""
    limits = Limits(max_open_orders=1)
    made = put(hold(book(), INFY, 10), RELIANCE, Side.BUY, 1, OrderState.OPEN)
    assert code(request(position_after=11), made, limits) == "OPEN_ORDERS"
    assert code(leave(), made, limits) == "SUBMIT"
    foreign = book()
    foreign.foreign["F"] = Foreign("F", "NSE:TCS", Side.BUY, 1, 3_000.0)
    assert code(request(), foreign, limits) == "OPEN_ORDERS"
    assert code(request(), foreign, Limits(max_open_orders=2)) == "SUBMIT"


def test_margin_is_the_smaller_of_the_brokers_and_ours() -> None:
    """A fifth of a share's value; an option's whole premium."""
    made = book()
    made.available = 3_000.0
    assert code(request(quantity=10, position_after=10), made) == "MARGIN"
    assert code(request(quantity=9, position_after=9), made) == "SUBMIT"
    made.available = 7_900.0
    assert code(request(CALL), made) == "MARGIN"
    assert code(request(quantity=3_000, position_after=3_000), terms=Terms("s1", "A1", 800_000.0)) == "MARGIN"
    assert code(leave(), hold(made, INFY, 10)) == "SUBMIT"


def test_loss_line() -> None:
    """At the line no entry goes; exits do."""
    assert code(request(), mtm=-2_000_000) == "MTM_LOSS"
    assert code(request(), mtm=-1_999_999) == "SUBMIT"
    assert code(leave(), hold(book(), INFY, 10), mtm=-3_000_000) == "SUBMIT"


def test_breaker_and_day_budget_stop_entries_only() -> None:
    """The last 500 calls of the day are for exits."""
    made = hold(book(), INFY, 10)
    assert code(request(RELIANCE), breaker_passes=False) == "BREAKER"
    assert code(leave(), made, breaker_passes=False) == "SUBMIT"
    assert code(request(), calls_today=4_500) == "DAY_BUDGET"
    assert code(request(), calls_today=4_499) == "SUBMIT"
    assert code(leave(), made, calls_today=4_999) == "SUBMIT"


def test_no_lease_no_order() -> None:
    """A process that lost the account says so."""
    assert code(request(), lease_held=False) == "NO_LEASE"


def test_every_check_is_in_the_list_once() -> None:
    """A check that nobody calls guards nothing."""
    import pkgutil

    from tradealgo.gatekeeper import checks

    names = {m.name for m in pkgutil.iter_modules(checks.__path__)}
    assert {c.__module__.rsplit(".", 1)[1] for c in CHECKS} == names
    assert len(CHECKS) == len(names)


@pytest.mark.parametrize(("days", "expected"), [(-1, "OTHER_DAY"), (0, "SUBMIT"), (1, "OTHER_DAY")])
def test_a_session_enters_on_its_own_day_only(days: int, expected: str) -> None:
    """Its loss limit and its instruments are of one day; what it holds it may leave on any."""
    terms = Terms("s1", "A1", 1_000_000.0, day=ist_day(TEN) + days)
    assert code(request(), terms=terms) == expected
    held = hold(book(), INFY, 10)
    assert code(leave(), held, terms=terms) == "SUBMIT"
    assert code(request(side=Side.SELL, quantity=5, position_after=5), held, terms=terms) == "SUBMIT"
