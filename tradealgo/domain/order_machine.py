"""The life of an order, as a literal table: (state, event) gives the next state; a pair that isn't here is illegal.

An order is journaled before it is sent. The outcome of sending is definitive (ACCEPT, REJECT, UNSENT) or lost (LOSE),
and lost is a state of its own, UNKNOWN, which only the broker's book can end. What the broker's book and its order
messages say comes late, twice and out of order, so a report that is older than what is known leaves the state alone,
and a fill, being a fact, always counts.
"""

from __future__ import annotations

from enum import StrEnum

from tradealgo.domain.errors import IllegalTransition
from tradealgo.domain.orders import OrderState


class OrderEvent(StrEnum):
    __hash__ = str.__hash__  # Enum's own is a call into Python

    JOURNAL = "JOURNAL"  # its record is on its way to the disk
    DENY = "DENY"  # we won't send it
    SEND = "SEND"  # the call leaves
    UNSENT = "UNSENT"  # definitive: the call took no effect (429, no connection)
    ACCEPT = "ACCEPT"  # the call was answered with an order id
    REJECT = "REJECT"  # the broker or the exchange said no
    LOSE = "LOSE"  # no definitive answer to the call
    SEEN = "SEEN"  # the broker's book or a message shows it alive, nothing filled
    PARTIAL = "PARTIAL"  # … partly filled
    FILL = "FILL"  # … wholly filled
    ASK_CANCEL = "ASK_CANCEL"  # a cancel call leaves
    ASK_MODIFY = "ASK_MODIFY"  # a modify call leaves
    SETTLE = "SETTLE"  # the cancel or modify is over and the order works on
    CANCEL = "CANCEL"  # the broker's book shows it cancelled
    EXPIRE = "EXPIRE"  # confirmed absent from the broker's book, and given up


_S, _E = OrderState, OrderEvent

TABLE: dict[tuple[OrderState, OrderEvent], OrderState] = {
    (_S.NEW, _E.JOURNAL): _S.JOURNALED,
    (_S.NEW, _E.DENY): _S.DENIED,
    #
    (_S.JOURNALED, _E.SEND): _S.SUBMITTING,
    (_S.JOURNALED, _E.DENY): _S.DENIED,  # grew stale in the queue, or the kill came first
    # Queued again after it was confirmed absent, and it shows up after all: adopt it, the queued call is void
    (_S.JOURNALED, _E.ACCEPT): _S.OPEN,
    (_S.JOURNALED, _E.SEEN): _S.OPEN,
    (_S.JOURNALED, _E.PARTIAL): _S.PARTIALLY_FILLED,
    (_S.JOURNALED, _E.FILL): _S.FILLED,
    (_S.JOURNALED, _E.CANCEL): _S.CANCELLED,
    (_S.JOURNALED, _E.REJECT): _S.REJECTED,
    #
    (_S.SUBMITTING, _E.ACCEPT): _S.OPEN,
    (_S.SUBMITTING, _E.REJECT): _S.REJECTED,
    (_S.SUBMITTING, _E.LOSE): _S.UNKNOWN,
    (_S.SUBMITTING, _E.UNSENT): _S.JOURNALED,
    (_S.SUBMITTING, _E.SEEN): _S.OPEN,  # its message overtook the answer to the call
    (_S.SUBMITTING, _E.PARTIAL): _S.PARTIALLY_FILLED,
    (_S.SUBMITTING, _E.FILL): _S.FILLED,
    (_S.SUBMITTING, _E.CANCEL): _S.CANCELLED,
    #
    (_S.UNKNOWN, _E.ACCEPT): _S.OPEN,
    (_S.UNKNOWN, _E.SEEN): _S.OPEN,
    (_S.UNKNOWN, _E.PARTIAL): _S.PARTIALLY_FILLED,
    (_S.UNKNOWN, _E.FILL): _S.FILLED,
    (_S.UNKNOWN, _E.CANCEL): _S.CANCELLED,
    (_S.UNKNOWN, _E.REJECT): _S.REJECTED,
    (_S.UNKNOWN, _E.LOSE): _S.UNKNOWN,
    (_S.UNKNOWN, _E.EXPIRE): _S.EXPIRED,  # confirmed absent: a new try is a new order
    #
    (_S.OPEN, _E.ACCEPT): _S.OPEN,
    (_S.OPEN, _E.SEEN): _S.OPEN,
    (_S.OPEN, _E.PARTIAL): _S.PARTIALLY_FILLED,
    (_S.OPEN, _E.FILL): _S.FILLED,
    (_S.OPEN, _E.LOSE): _S.OPEN,  # its message came, the answer to the call did not
    (_S.OPEN, _E.REJECT): _S.REJECTED,  # the broker took it, the exchange did not
    (_S.OPEN, _E.ASK_CANCEL): _S.CANCEL_PENDING,
    (_S.OPEN, _E.ASK_MODIFY): _S.MODIFY_PENDING,
    (_S.OPEN, _E.SETTLE): _S.OPEN,
    (_S.OPEN, _E.CANCEL): _S.CANCELLED,
    (_S.OPEN, _E.EXPIRE): _S.EXPIRED,  # vanished from the broker's book
    #
    (_S.PARTIALLY_FILLED, _E.ACCEPT): _S.PARTIALLY_FILLED,
    (_S.PARTIALLY_FILLED, _E.SEEN): _S.PARTIALLY_FILLED,  # a message older than the fill
    (_S.PARTIALLY_FILLED, _E.PARTIAL): _S.PARTIALLY_FILLED,
    (_S.PARTIALLY_FILLED, _E.FILL): _S.FILLED,
    (_S.PARTIALLY_FILLED, _E.LOSE): _S.PARTIALLY_FILLED,
    (_S.PARTIALLY_FILLED, _E.REJECT): _S.CANCELLED,  # the rest is void, what filled stays
    (_S.PARTIALLY_FILLED, _E.ASK_CANCEL): _S.CANCEL_PENDING,
    (_S.PARTIALLY_FILLED, _E.ASK_MODIFY): _S.MODIFY_PENDING,
    (_S.PARTIALLY_FILLED, _E.SETTLE): _S.PARTIALLY_FILLED,
    (_S.PARTIALLY_FILLED, _E.CANCEL): _S.CANCELLED,
    (_S.PARTIALLY_FILLED, _E.EXPIRE): _S.EXPIRED,
    #
    (_S.CANCEL_PENDING, _E.ACCEPT): _S.CANCEL_PENDING,
    (_S.CANCEL_PENDING, _E.SEEN): _S.CANCEL_PENDING,  # said before the cancel arrived
    (_S.CANCEL_PENDING, _E.PARTIAL): _S.CANCEL_PENDING,
    (_S.CANCEL_PENDING, _E.LOSE): _S.CANCEL_PENDING,
    (_S.CANCEL_PENDING, _E.FILL): _S.FILLED,  # the fill won the race
    (_S.CANCEL_PENDING, _E.REJECT): _S.REJECTED,
    (_S.CANCEL_PENDING, _E.ASK_CANCEL): _S.CANCEL_PENDING,
    (_S.CANCEL_PENDING, _E.SETTLE): _S.OPEN,  # the cancel was refused or had no effect
    (_S.CANCEL_PENDING, _E.CANCEL): _S.CANCELLED,
    (_S.CANCEL_PENDING, _E.EXPIRE): _S.EXPIRED,
    #
    (_S.MODIFY_PENDING, _E.ACCEPT): _S.MODIFY_PENDING,
    (_S.MODIFY_PENDING, _E.SEEN): _S.MODIFY_PENDING,
    (_S.MODIFY_PENDING, _E.PARTIAL): _S.MODIFY_PENDING,
    (_S.MODIFY_PENDING, _E.LOSE): _S.MODIFY_PENDING,
    (_S.MODIFY_PENDING, _E.FILL): _S.FILLED,
    (_S.MODIFY_PENDING, _E.REJECT): _S.REJECTED,
    (_S.MODIFY_PENDING, _E.ASK_CANCEL): _S.CANCEL_PENDING,
    (_S.MODIFY_PENDING, _E.SETTLE): _S.OPEN,
    (_S.MODIFY_PENDING, _E.CANCEL): _S.CANCELLED,
    (_S.MODIFY_PENDING, _E.EXPIRE): _S.EXPIRED,
    #
    (_S.FILLED, _E.ACCEPT): _S.FILLED,  # late, doubled or overtaken reports from here on
    (_S.FILLED, _E.SEEN): _S.FILLED,
    (_S.FILLED, _E.PARTIAL): _S.FILLED,
    (_S.FILLED, _E.FILL): _S.FILLED,
    (_S.FILLED, _E.LOSE): _S.FILLED,
    (_S.FILLED, _E.SETTLE): _S.FILLED,  # a cancel refused because there was nothing left to cancel
    (_S.FILLED, _E.CANCEL): _S.FILLED,
    #
    (_S.CANCELLED, _E.ACCEPT): _S.CANCELLED,
    (_S.CANCELLED, _E.SEEN): _S.CANCELLED,
    (_S.CANCELLED, _E.PARTIAL): _S.CANCELLED,  # a fill that crossed the cancel: the quantity counts, the order is done
    (_S.CANCELLED, _E.FILL): _S.FILLED,  # … and so for a whole one
    (_S.CANCELLED, _E.LOSE): _S.CANCELLED,
    (_S.CANCELLED, _E.SETTLE): _S.CANCELLED,
    (_S.CANCELLED, _E.CANCEL): _S.CANCELLED,
    (_S.CANCELLED, _E.REJECT): _S.CANCELLED,
    #
    (_S.REJECTED, _E.ACCEPT): _S.REJECTED,  # the exchange's no overtook the broker's yes
    (_S.REJECTED, _E.SEEN): _S.REJECTED,
    (_S.REJECTED, _E.LOSE): _S.REJECTED,
    (_S.REJECTED, _E.REJECT): _S.REJECTED,
    (_S.REJECTED, _E.SETTLE): _S.REJECTED,
    (_S.REJECTED, _E.CANCEL): _S.REJECTED,
    (_S.REJECTED, _E.PARTIAL): _S.PARTIALLY_FILLED,  # whatever was said before, a fill is a fact
    (_S.REJECTED, _E.FILL): _S.FILLED,
    #
    # Denied or given up while queued for a second sending, and the first one shows up after all: adopt it
    (_S.DENIED, _E.ACCEPT): _S.OPEN,
    (_S.DENIED, _E.SEEN): _S.OPEN,
    (_S.DENIED, _E.PARTIAL): _S.PARTIALLY_FILLED,
    (_S.DENIED, _E.FILL): _S.FILLED,
    (_S.DENIED, _E.CANCEL): _S.DENIED,
    (_S.DENIED, _E.REJECT): _S.DENIED,
    #
    (_S.EXPIRED, _E.ACCEPT): _S.OPEN,
    (_S.EXPIRED, _E.SEEN): _S.OPEN,
    (_S.EXPIRED, _E.PARTIAL): _S.PARTIALLY_FILLED,
    (_S.EXPIRED, _E.FILL): _S.FILLED,
    (_S.EXPIRED, _E.CANCEL): _S.EXPIRED,
    (_S.EXPIRED, _E.REJECT): _S.EXPIRED,
}


def next_state(state: OrderState, event: OrderEvent) -> OrderState:
    """The state after `event`. Raises IllegalTransition for a pair that the table doesn't hold."""
    found = TABLE.get((state, event))
    if found is None:
        raise IllegalTransition(f"an order that is {state} can't take {event}")
    return found
