"""Orders at work at once."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """Unknown and foreign ones count; an exit always finds room."""
    count = book.open_orders + len(proposal.slices)
    if proposal.exits or count <= limits.max_open_orders:
        return None
    return Denial(
        "OPEN_ORDERS",
        f"{book.open_orders} orders work already: the limit is {limits.max_open_orders}",
        {"open": book.open_orders, "foreign": len(book.foreign), "limit": limits.max_open_orders},
    )
