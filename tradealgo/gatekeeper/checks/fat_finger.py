"""The price that the request was sized on is near the market's."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """A gap means a wrong instrument, a unit mix-up or a market that has gone: size and idea are void."""
    if proposal.exits:
        return None
    last, reference = proposal.last, proposal.request.reference_price
    gap = abs(reference - last) / last
    limit = limits.option_fat_finger_fraction if proposal.instrument.is_option else limits.fat_finger_fraction
    if gap > limit:
        return Denial(
            "FAT_FINGER",
            f"the request is for a price of {reference:g}, the last is {last:g}: "
            f"{gap:.1%} apart, the limit is {limit:.1%}",
            {"reference": reference, "last_price": last, "gap": round(gap, 5)},
        )
    return None
