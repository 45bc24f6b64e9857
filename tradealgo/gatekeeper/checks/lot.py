"""Whole lots."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """The exchange takes multiples of the lot only."""
    size = proposal.instrument.lot_size
    if proposal.quantity % size:
        return Denial(
            "BAD_LOT",
            f"{proposal.quantity} units of {proposal.instrument.key}: expected a multiple of its lot, {size}",
            {"quantity": proposal.quantity, "lot_size": size},
        )
    return None
