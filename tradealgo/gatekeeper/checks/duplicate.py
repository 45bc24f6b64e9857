"""One request id, one request."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import DUPLICATE
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """An id that was used before, for the same thing or another, is never sent again."""
    before = state.seen.get(proposal.request.request_id)
    if before is None or before is proposal.request:
        return None
    return Denial(
        DUPLICATE,
        f"request {proposal.request.request_id} was here before: {before.side} {before.quantity} {before.instrument}",
        {"request_id": proposal.request.request_id},
    )
