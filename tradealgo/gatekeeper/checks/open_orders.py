"""Orders at work at once."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """Unknown and foreign ones count; an exit always finds room."""
    count = len(book.working) + len(book.foreign)
    if proposal.exits or count + len(proposal.slices) <= limits.max_open_orders:
        return None
    return Denial(
        "OPEN_ORDERS",
        f"{count} orders work already: the limit is {limits.max_open_orders}",
        {"open": count, "foreign": len(book.foreign), "limit": limits.max_open_orders},
    )
