"""The limit price that protects the order."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.pricing import marketable_limit, on_tick
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """Last price and slippage, outward to a tick: never a bare market order."""
    last = book.last_price(proposal.request.instrument_token)
    instrument = proposal.instrument
    proposal.price = marketable_limit(instrument, proposal.request.side, last, limits.slippage_fraction)
    if not on_tick(proposal.price, instrument.tick_size):
        return Denial(
            "OFF_TICK",
            f"{proposal.price} is no multiple of {instrument.key}'s tick {instrument.tick_size}",
            {"price": proposal.price, "tick": instrument.tick_size},
        )
    return None
