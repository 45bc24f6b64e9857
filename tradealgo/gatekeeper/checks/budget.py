"""The day's calls: at the cap one can't even exit, so entries end before it."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """Seconds and minutes are waited for in the queue; a day is not."""
    room = limits.orders_per_day - limits.exit_reserve_per_day
    if proposal.exits or state.calls_today < room:
        return None
    return Denial(
        "DAY_BUDGET",
        f"{state.calls_today} order calls today: the last {limits.exit_reserve_per_day} of {limits.orders_per_day} "
        f"are kept for exits",
        {"calls": state.calls_today, "limit": room},
    )
