"""The kill switch and the trading state."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent
from tradealgo.domain.state import KillState, TradingState
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal

ARMED, HALTED = KillState.ARMED, TradingState.HALTED


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """After a trip only the kill's own exits; halted, only exits. In REDUCING `position` cuts an entry to its exit part."""
    if state.kill is not ARMED:
        return Denial("KILLED", f"the kill switch is {state.kill}: {state.reason}", {"kill": state.kill.value})
    if state.trading is HALTED and proposal.request.intent is Intent.ENTRY:
        return Denial("HALTED", f"trading is halted: {state.reason}", {"trading": state.trading.value})
    return None
