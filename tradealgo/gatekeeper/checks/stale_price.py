"""There is a last price, and for an entry it is fresh."""

from __future__ import annotations

from functools import lru_cache

from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal

SECOND_NS = 1_000_000_000
#: At a fast replay the wall-clock limit shrinks with it, down to what a busy machine may lag.
SHORTEST_S = 1.0


@lru_cache(maxsize=8)
def longest_age(stale_price_s: float, speed: float) -> float:
    """Seconds that a price may be old at a speed."""
    return max(stale_price_s / max(speed, 1.0), min(SHORTEST_S, stale_price_s))


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """Age by the wall clock since the instrument last ticked. An exit goes on an old price, or on the broker's where no tick
    has come since a restart: it is chased afterwards.
    """
    price = book.prices.get(proposal.request.instrument_token)
    if proposal.exits and book.last_price(proposal.request.instrument_token) > 0:
        return None
    if price is None:
        return Denial("NO_PRICE", f"no tick of {proposal.request.instrument} has come yet")
    age = (now - price.ts_init) / SECOND_NS
    limit = longest_age(limits.stale_price_s, state.terms.speed)
    if age > limit:
        return Denial(
            "STALE_PRICE",
            f"the last price of {proposal.request.instrument} is {age:.1f} s old: the limit is {limit:g} s",
            {"age_s": round(age, 3), "limit_s": limit, "last_price": price.last},
        )
    return None
