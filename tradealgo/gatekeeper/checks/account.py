"""The request is of this session, and this Gatekeeper may trade the account."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """Session id as in the manifest; the account's lease held."""
    theirs = proposal.request.session_id
    if theirs != (ours := state.terms.session_id):
        return Denial("WRONG_SESSION", f"the request is of session {theirs!r}, this is {ours!r}", {"session": theirs})
    if not state.lease_held:
        return Denial("NO_LEASE", f"this process does not hold the lease of account {state.terms.account}")
    return None
