"""The day's loss line."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """MTM, charges and the worst case of unknown orders included. The kill trips on the same figure."""
    if proposal.exits or state.mtm > state.loss_line:
        return None
    return Denial(
        "MTM_LOSS",
        f"MTM is Rs {state.mtm / 100:,.2f}: at Rs {state.loss_line / 100:,.2f} no entry may go",
        {"mtm": state.mtm, "limit": state.loss_line},
    )
