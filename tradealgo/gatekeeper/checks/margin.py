"""Money for the order: the broker's own figure, and a local bound."""

from __future__ import annotations

from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Side
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal

#: Fractions of value that an intraday position binds at least (SEBI's peak margin for shares; SPAN and exposure (?)).
SHARE_FRACTION = 0.20
FUTURE_FRACTION = 0.12
SHORT_OPTION_FRACTION = 0.10
BUY, FUTURE = Side.BUY, Kind.FUTURE


def required(instrument: Instrument, side: Side, quantity: int, price: float) -> float:
    """Rupees that opening this binds, by a rule of thumb: a bought option its premium, a sold one a part of its strike."""
    if instrument.is_option:
        return quantity * (price if side is BUY else SHORT_OPTION_FRACTION * instrument.strike)
    return quantity * price * (FUTURE_FRACTION if instrument.kind is FUTURE else SHARE_FRACTION)


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """The part that opens or adds must fit into the capital, and into what the broker says is free."""
    if proposal.exits:
        return None
    request = proposal.request
    opposite = max(0, -request.side.sign * proposal.held)
    need = required(proposal.instrument, request.side, max(0, proposal.quantity - opposite), proposal.price)
    free = state.terms.capital if book.available is None else min(book.available, state.terms.capital)
    if need <= free:
        return None
    return Denial(
        "MARGIN",
        f"the order needs about Rs {need:,.0f}: Rs {free:,.0f} are free",
        {"required": round(need, 2), "free": round(free, 2), "broker": book.available},
    )
