"""The circuit breaker."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """No entries while it is open; half-open, one."""
    if proposal.exits or state.breaker_passes:
        return None
    return Denial(
        "BREAKER",
        f"{state.breaker_failures} failures within {limits.breaker_window_s:g} s: entries pause for "
        f"{limits.breaker_cooldown_s:g} s",
        {"failures": state.breaker_failures, "limit": limits.breaker_failures},
    )
