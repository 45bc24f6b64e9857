"""What the market shown does to an order. Pure: a quote and an order in, fills out. Prices in paise.

Rules, chosen to be never kinder than the market shown:

- An order that crosses the quote takes what is displayed, level by level, each at its own price, up to its limit.
  What it took is gone until the next tick of that instrument.
- An order that rests fills at its own limit: when the opposite quote reaches it, up to the size displayed there; when
  the last trade prints through it, up to that trade's size; when the last trade prints at it, after the quantity that
  was displayed at its price when it joined (or when its price first became the best) has traded.
- An order that crossed when it came and was not filled whole goes on taking the quote at the quote's price; so does one
  that came while the other side showed nothing.
- A stop order is triggered by the last price, and then is a limit order that has just arrived.
- Open orders of one instrument are served by price, then by time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from tradealgo.exchange.orders import BookOrder


class Level(NamedTuple):
    """Displayed quantity in units at a price in paise."""

    price: int
    quantity: int


class Quote(msgspec.Struct, kw_only=True):
    """The market of one instrument as last shown. Sides are best first; `volume` is cumulative for the day."""

    last: int
    volume: int
    bids: list[Level]
    asks: list[Level]
    traded: int = 0  # since the tick before
    taken: dict[int, int] = {}  # by price, what our own orders took since the last tick


class Piece(NamedTuple):
    """One execution to book: paise and units."""

    price: int
    quantity: int


def crosses(order: BookOrder, quote: Quote) -> bool:
    """Whether the order could trade at once."""
    levels = quote.asks if order.is_buy else quote.bids
    return bool(levels) and order.sign * (order.limit - levels[0].price) >= 0


def is_passive(order: BookOrder, quote: Quote) -> bool:
    """Whether the order comes to rest behind its limit. Where the other side shows nothing it waits for a quote to take."""
    levels = quote.asks if order.is_buy else quote.bids
    return bool(levels) and not crosses(order, quote)


def take(order: BookOrder, quote: Quote) -> list[Piece]:
    """Fills of an order that takes the displayed quantity up to its limit; marks it as taken."""
    pieces, wanted, sign, taken = [], order.pending, order.sign, quote.taken
    for price, displayed in quote.asks if sign > 0 else quote.bids:
        if not wanted or sign * (order.limit - price) < 0:
            break
        gone = taken.get(price, 0)
        quantity = min(wanted, displayed - gone)
        if quantity > 0:
            taken[price] = gone + quantity
            pieces.append(Piece(price, quantity))
            wanted -= quantity
    return pieces


def rest(order: BookOrder, quote: Quote) -> tuple[list[Piece], int]:
    """Fills of a resting order on a new tick, and its queue afterwards; what is traded with is used up in `quote`."""
    if crosses(order, quote):
        available = sum(piece.quantity for piece in take(order, quote))
        return _at_limit(order, available), 0
    if order.queue_ahead < 0:
        return [], joined_queue(order, quote)
    beyond = order.sign * (order.limit - quote.last)
    if beyond > 0:  # the last trade went through our price
        return _printed(order, quote, 0), 0
    if beyond == 0:
        return _printed(order, quote, order.queue_ahead), max(0, order.queue_ahead - quote.traded)
    return [], order.queue_ahead


def _printed(order: BookOrder, quote: Quote, queue: int) -> list[Piece]:
    pieces = _at_limit(order, quote.traded - queue)
    quote.traded -= sum(piece.quantity for piece in pieces)
    return pieces


def _at_limit(order: BookOrder, available: int) -> list[Piece]:
    quantity = min(order.pending, available)
    return [Piece(order.limit, quantity)] if quantity > 0 else []


def joined_queue(order: BookOrder, quote: Quote) -> int:
    """Units ahead of a resting order: known once its price is the best or better than it, -1 before."""
    if order.queue_ahead >= 0:
        return order.queue_ahead
    own_side = quote.bids if order.is_buy else quote.asks
    if not own_side or order.sign * (order.limit - own_side[0].price) > 0:
        return 0
    return own_side[0].quantity if own_side[0].price == order.limit else -1


def triggers(order: BookOrder, last: int) -> bool:
    """Whether a stop order's trigger has been reached."""
    return order.sign * (last - order.trigger) >= 0


def in_priority(orders: Iterable[BookOrder]) -> list[BookOrder]:
    """Price, then time: the dearest bid and the cheapest offer first."""
    return sorted(orders, key=lambda o: (-o.sign * o.limit, o.placed, o.order_id))
