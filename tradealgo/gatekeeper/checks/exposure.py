"""The whole book's gross value, worst case."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """As if everything that works, is unknown or is foreign filled, and this too. Rupees."""
    if proposal.exits:
        return None
    request = proposal.request
    added = book.worst_added(request.instrument_token, request.side.sign * proposal.quantity) * proposal.price
    total = book.gross_exposure + added
    if total <= limits.max_gross_exposure:
        return None
    return Denial(
        "EXPOSURE",
        f"gross exposure would be Rs {total:,.0f} at worst: the limit is Rs {limits.max_gross_exposure:,.0f}",
        {"exposure": round(total, 2), "added": round(added, 2), "limit": limits.max_gross_exposure},
    )
