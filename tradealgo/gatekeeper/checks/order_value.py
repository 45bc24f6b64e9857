"""One order's value."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """At the limit price, in rupees."""
    value = proposal.quantity * proposal.price
    if proposal.exits or value <= limits.max_order_value:
        return None
    return Denial(
        "ORDER_VALUE",
        f"the order is worth Rs {value:,.0f}: the limit is Rs {limits.max_order_value:,.0f}",
        {"value": round(value, 2), "limit": limits.max_order_value},
    )
