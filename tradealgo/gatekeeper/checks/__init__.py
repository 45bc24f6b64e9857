"""The checks in their order, one a file, and `decide` over them.

Each is `check(proposal, book, limits, state, now) -> Denial | None`. The first denial wins. Those after `position` know
how much of the request is left and whether it only lowers risk.
"""

from __future__ import annotations

from collections.abc import Callable

from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import OrderRequest
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.checks import (
    account,
    breaker,
    budget,
    duplicate,
    exposure,
    fat_finger,
    freeze,
    hours,
    instrument,
    loss,
    lot,
    margin,
    open_orders,
    order_value,
    position,
    price,
    schema,
    stale_price,
    stale_request,
    trading,
)
from tradealgo.gatekeeper.situation import Denial, Deny, GateState, Proposal, Submit

Check = Callable[[Proposal, Book, Limits, GateState, int], Denial | None]

CHECKS: tuple[Check, ...] = (
    schema.check,
    account.check,
    instrument.check,
    duplicate.check,
    trading.check,
    stale_request.check,
    hours.check,
    position.check,
    stale_price.check,
    price.check,
    fat_finger.check,
    lot.check,
    freeze.check,
    order_value.check,
    exposure.check,
    open_orders.check,
    margin.check,
    loss.check,
    breaker.check,
    budget.check,
)


def decide(request: OrderRequest, book: Book, limits: Limits, state: GateState, now: int) -> Submit | Deny:
    """Whether, how much and at which price a request may go to the broker. Changes nothing."""
    proposal = Proposal(request, request.quantity)
    for check in CHECKS:
        denial = check(proposal, book, limits, state, now)
        if denial is not None:
            return Deny(denial)
    return Submit(proposal.quantity, proposal.price, proposal.slices, proposal.last, proposal.held)
