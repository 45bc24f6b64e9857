"""The limit price that protects the order."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.pricing import marketable_limit, on_tick
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """Last price and slippage, outward to a tick: never a bare market order."""
    request, instrument = proposal.request, proposal.instrument
    last = proposal.last = book.last_price(request.instrument_token)
    price = proposal.price = marketable_limit(instrument, request.side, last, limits.slippage_fraction)
    if not on_tick(price, instrument.tick_size):
        return Denial(
            "OFF_TICK",
            f"{price} is no multiple of {instrument.key}'s tick {instrument.tick_size}",
            {"price": price, "tick": instrument.tick_size},
        )
    return None
