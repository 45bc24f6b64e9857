"""How much of the request still leads to the position it is for; an exit never raises risk."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent
from tradealgo.domain.state import TradingState
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal

EXIT, ACTIVE = Intent.EXIT, TradingState.ACTIVE


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """Cut the quantity down; deny what is left of nothing.

    Every request is cut to what leads to `position_after` from the position and what works on its side: an entry that
    never filled must not turn the next exit into a new position. An exit, or any request while trading is REDUCING,
    is cut to the position itself, and to what the whole account holds: others may have closed ours.
    """
    request = proposal.request
    token, side, sign = request.instrument_token, request.side, request.side.sign
    proposal.held = book.position(token)
    held = proposal.held * sign + book.pending(token, side)
    wanted = min(request.quantity, sign * request.position_after - held)
    exits = request.intent is EXIT or state.trading is not ACTIVE
    if not exits and held < 0 and sign * request.position_after <= 0:
        exits = True  # named an entry, but it only leads nearer to flat
    if exits:
        outside = book.outside.get(token, 0)
        wanted = min(wanted, -held, -held - sign * outside)
    proposal.exits, proposal.quantity = exits, wanted
    if wanted > 0:
        return None
    figures = {"position": sign * held, "position_after": request.position_after, "quantity": request.quantity}
    if state.trading is not TradingState.ACTIVE and request.intent is Intent.ENTRY:
        return Denial("REDUCING", f"trading is {state.trading}: {state.reason}; only what lowers risk may go", figures)
    return Denial(
        "NOTHING_TO_DO",
        f"{request.instrument} is at {sign * held} with what works: {request.side} {request.quantity} "
        f"would not lead nearer to {request.position_after}",
        figures,
    )
