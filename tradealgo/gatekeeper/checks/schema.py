"""Numbers that are numbers, in the ranges that make sense."""

from __future__ import annotations

from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal

#: No order of one person is larger; far below what a broker's 32 bits hold.
MAX_QUANTITY = 10_000_000
MAX_PRICE = 10_000_000.0
OWN_INTENTS = (Intent.KILL, Intent.PROTECT)


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """Finite prices, a positive quantity, an id, and no kill order from outside."""
    request = proposal.request
    if not request.request_id or len(request.request_id) > 200:
        length = len(request.request_id)
        return Denial("BAD_ID", f"a request id of {length} characters: expected 1 to 200", {"length": length})
    if not 0 < request.quantity <= MAX_QUANTITY:
        return Denial(
            "BAD_QUANTITY",
            f"quantity {request.quantity}: expected 1 to {MAX_QUANTITY}",
            {"quantity": request.quantity, "limit": MAX_QUANTITY},
        )
    if abs(request.position_after) > MAX_QUANTITY:
        after = request.position_after
        return Denial("BAD_QUANTITY", f"position_after {after} is beyond {MAX_QUANTITY}", {"position_after": after})
    if not 0 < request.reference_price <= MAX_PRICE:  # nor is a NaN
        return _bad_price("reference_price", request.reference_price)
    if request.stop is not None and not 0 < request.stop <= MAX_PRICE:
        return _bad_price("stop", request.stop)
    if request.target is not None and not 0 < request.target <= MAX_PRICE:
        return _bad_price("target", request.target)
    if request.intent in OWN_INTENTS:
        text = f"only the Gatekeeper itself makes {request.intent} orders: expected ENTRY or EXIT"
        return Denial("BAD_INTENT", text, {"intent": request.intent.value})
    return None


def _bad_price(name: str, value: float) -> Denial:
    return Denial("BAD_PRICE", f"{name} {value!r}: expected a positive number of rupees", {name: repr(value)})
