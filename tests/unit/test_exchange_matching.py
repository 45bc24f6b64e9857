"""Matching of one order against a shown market."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tradealgo.exchange import matching
from tradealgo.exchange.book import TABLE, Book, Event
from tradealgo.exchange.matching import Level, Piece, Quote
from tradealgo.exchange.orders import BookOrder, OrderForm
from tradealgo.exchange.protocol import Status


def order(side: str = "BUY", limit: int = 10_000, quantity: int = 100, **more: Any) -> BookOrder:
    form = OrderForm(
        variety="regular", exchange="NSE", tradingsymbol="X", side=side, quantity=quantity, product="MIS",
        order_type="LIMIT",
    )  # fmt: skip
    return BookOrder(
        order_id="1", form=form, instrument_token=1, quantity=quantity, limit=limit, trigger=0, order_type="LIMIT",
        validity="DAY", updated=0, status=Status.OPEN, **({"placed": 0} | more),
    )  # fmt: skip


def quote(**changes: Any) -> Quote:
    shown = {
        "last": 10_000, "volume": 0, "bids": [Level(9_995, 50), Level(9_990, 60)],
        "asks": [Level(10_005, 40), Level(10_010, 30)], "taken": {},
    }  # fmt: skip
    return Quote(**(shown | changes))


def test_takes_level_by_level_up_to_the_limit() -> None:
    """Each level at its own price; nothing beyond the limit."""
    assert matching.take(order(limit=10_007), quote()) == [Piece(10_005, 40)]
    assert matching.take(order(limit=10_050), quote()) == [Piece(10_005, 40), Piece(10_010, 30)]
    assert matching.take(order("SELL", limit=9_990, quantity=70), quote()) == [Piece(9_995, 50), Piece(9_990, 20)]


def test_what_was_taken_is_gone_until_the_next_tick() -> None:
    """Two orders against one quote share what it shows."""
    shown = quote()
    assert matching.take(order(limit=10_005, quantity=30), shown) == [Piece(10_005, 30)]
    assert matching.take(order(limit=10_005, quantity=30), shown) == [Piece(10_005, 10)]
    assert matching.take(order(limit=10_005, quantity=30), shown) == []


def test_resting_order_fills_at_its_own_limit_when_reached() -> None:
    """The offer comes down to our bid: we trade at our price, up to the size offered there."""
    resting = order(limit=10_000, queue_ahead=500)
    pieces, queue = matching.rest(resting, quote(asks=[Level(9_990, 25)], bids=[]))
    assert pieces == [Piece(10_000, 25)]
    assert queue == 0


def test_trade_through_fills_up_to_its_size() -> None:
    """The last trade printed below our bid: all ahead of us went first, so it was our turn."""
    resting = order(limit=10_000, queue_ahead=500)
    assert matching.rest(resting, quote(last=9_990, traded=30))[0] == [Piece(10_000, 30)]


def test_trade_at_our_price_eats_the_queue_first() -> None:
    """80 ahead: 50 traded leaves 30 ahead; 60 more give us 30."""
    resting = order(limit=10_000, queue_ahead=80)
    pieces, queue = matching.rest(resting, quote(traded=50))
    assert (pieces, queue) == ([], 30)
    resting = msgspec.structs.replace(resting, queue_ahead=queue)
    assert matching.rest(resting, quote(traded=60)) == ([Piece(10_000, 30)], 0)


def test_queue_is_what_is_displayed_when_the_price_is_best() -> None:
    """Behind the best bid the queue is unknown; at it, what is shown; above it, nobody is ahead."""
    assert matching.joined_queue(order(limit=9_990), quote()) == -1
    assert matching.joined_queue(order(limit=9_995), quote()) == 50
    assert matching.joined_queue(order(limit=10_000), quote()) == 0


def test_no_fill_of_the_past() -> None:
    """What traded before an order knew its place in the queue gives it nothing."""
    assert matching.rest(order(limit=9_995), quote(last=9_990, traded=1_000))[0] == []


def test_an_empty_other_side_is_waited_for() -> None:
    """A market order that finds no offers takes the first ones at their price, not at its own limit."""
    assert not matching.is_passive(order(limit=10_500), quote(asks=[]))
    assert matching.is_passive(order(limit=10_000), quote())
    assert not matching.is_passive(order(limit=10_005), quote())


def test_priority_is_price_then_time() -> None:
    """The dearer bid first, then the older one."""
    orders = [order(limit=100, placed=1), order(limit=101, placed=3), order(limit=101, placed=2)]
    assert [(o.limit, o.placed) for o in matching.in_priority(orders)] == [(101, 2), (101, 3), (100, 1)]


@pytest.mark.parametrize(
    ("side", "last", "fires"), [("BUY", 100, True), ("BUY", 99, False), ("SELL", 100, True), ("SELL", 101, False)]
)
def test_stop_triggers(side: str, last: int, fires: bool) -> None:
    """A buy stop at or above its trigger, a sell stop at or below."""
    assert matching.triggers(msgspec.structs.replace(order(side), trigger=100), last) is fires


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("event", list(Event))
def test_every_pair_of_the_order_table(status: Status, event: Event) -> None:
    """A pair moves as the table says; one that it doesn't hold raises and changes nothing."""
    from tradealgo.domain.errors import IllegalTransition

    book = Book()
    added = book.add(msgspec.structs.replace(order(), status=status))
    expected = TABLE.get((status, event))
    if expected is None:
        with pytest.raises(IllegalTransition):
            book.move(added, event, 5)
        assert book["1"] == added
    else:
        assert book.move(added, event, 5).status is expected
        assert book["1"].updated == 5
