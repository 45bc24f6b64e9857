"""The instrument is of this session, tradable, and the token and the name agree."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """Known by name and token alike: tokens are reused from day to day."""
    request = proposal.request
    found = book.by_key.get(request.instrument)
    if found is None or found.instrument_token != request.instrument_token:
        return Denial(
            "UNKNOWN_INSTRUMENT",
            f"no instrument {request.instrument!r} with token {request.instrument_token} in this session",
            {"instrument": request.instrument, "token": request.instrument_token},
        )
    if not found.tradable:
        return Denial("NOT_TRADABLE", f"{found.key} is an index: it has a price, but can't be bought")
    proposal.instrument = found
    return None
