"""Continuous trading by the exchange's clock; no entries once positions should be squared off, nor on another day."""

from __future__ import annotations

from tradealgo.domain.hours import ist_day, ist_text
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """`ts_event` of the last tick is the clock, so that a replay behaves as its day did."""
    ts = book.ts_event
    if not ts:
        return Denial("NO_PRICE", "no tick has come yet: the exchange's time is not known")
    hours = book.hours(proposal.instrument)
    if not hours.open <= ts < hours.close:
        return Denial(
            "MARKET_CLOSED",
            f"it is {ist_text(ts)} IST: {proposal.instrument.key} trades {ist_text(hours.open)} to {ist_text(hours.close)}",
            {"ts_event": ts, "open": hours.open, "close": hours.close},
        )
    day = state.terms.day
    is_other_day = day != 0 and day != ist_day(ts)
    if (ts < hours.square_off and not is_other_day) or proposal.request.intent is not Intent.ENTRY:
        return None
    if _reduces(proposal, book):
        return None
    if is_other_day:
        return Denial(
            "OTHER_DAY",
            f"it is {ist_text(ts, '%d %b %H:%M')} IST: the session is of another day, which its loss limit and its instruments "
            "are of; stop it, and launch the day's",
            {"ts_event": ts, "day": day},
        )
    return Denial(
        "SQUARE_OFF",
        f"it is {ist_text(ts)} IST: no entries in {proposal.instrument.key} after {ist_text(hours.square_off)}",
        {"ts_event": ts, "square_off": hours.square_off},
    )


def _reduces(proposal: Proposal, book: Book) -> bool:
    request = proposal.request
    held = book.position(request.instrument_token)
    return held * request.side.sign < 0 and abs(request.position_after) < abs(held)
