"""A request is for now: not of another day, nor, for an entry, of some seconds ago."""

from __future__ import annotations

from tradealgo.domain.hours import ist_date
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal

SECOND_NS = 1_000_000_000
ENTRY = Intent.ENTRY
#: Clocks of two hosts may differ by this much.
SKEW_NS = SECOND_NS


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """The candle's day by the exchange's clock; an entry's age by the wall clock."""
    request = proposal.request
    if book.ts_event and request.start and not book.day[0] <= request.start < book.day[1]:
        return Denial(
            "OLD_REQUEST",
            f"the request is for a candle of {ist_date(request.start)}, today is {ist_date(book.ts_event)}",
            {"start": request.start},
        )
    asked = request.ts_requested
    if request.intent is not ENTRY or not asked:
        return None
    age = (now - asked) / SECOND_NS
    if age > limits.entry_max_age_s:
        return Denial(
            "STALE_REQUEST",
            f"the entry is {age:.1f} s old: the limit is {limits.entry_max_age_s:g} s",
            {"age_s": round(age, 3), "limit_s": limits.entry_max_age_s},
        )
    if asked > now + SKEW_NS:
        return Denial("FUTURE_REQUEST", f"the entry was made {-age:.1f} s in the future", {"age_s": round(age, 3)})
    return None
