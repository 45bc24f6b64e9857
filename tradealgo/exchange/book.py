"""The order book's record: the life of each order as a literal table, its history, and what the world must hear.

        ┌─ REJECTED
RECEIVED ─ VALIDATION PENDING ─ OPEN PENDING ─┬─ OPEN ──┬─ COMPLETE
   ▲                                          │   ▲     └─ CANCEL PENDING ─ CANCELLED
AMO REQ RECEIVED                              └─ TRIGGER PENDING
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from tradealgo.domain.errors import IllegalTransition
from tradealgo.exchange.orders import BookOrder, Conversion, Execution
from tradealgo.exchange.protocol import DONE, UPDATE, WORKING, Status


class Event(StrEnum):
    """What happens to an order."""

    VALIDATE = "VALIDATE"
    PASS = "PASS"
    REJECT = "REJECT"
    OPEN = "OPEN"
    STOP = "STOP"
    TRIGGER = "TRIGGER"
    FILL_PART = "FILL_PART"
    FILL_ALL = "FILL_ALL"
    MODIFY = "MODIFY"
    MODIFY_PASS = "MODIFY_PASS"
    MODIFIED = "MODIFIED"
    CANCEL = "CANCEL"
    CANCELLED = "CANCELLED"
    RELEASE = "RELEASE"
    REOPEN = "REOPEN"
    REARM = "REARM"


TABLE: dict[tuple[Status, Event], Status] = {
    (Status.RECEIVED, Event.VALIDATE): Status.VALIDATION_PENDING,
    (Status.VALIDATION_PENDING, Event.PASS): Status.OPEN_PENDING,
    (Status.VALIDATION_PENDING, Event.REJECT): Status.REJECTED,  # by the broker's risk management
    (Status.OPEN_PENDING, Event.REJECT): Status.REJECTED,  # by the exchange
    (Status.OPEN_PENDING, Event.OPEN): Status.OPEN,
    (Status.OPEN_PENDING, Event.STOP): Status.TRIGGER_PENDING,
    (Status.TRIGGER_PENDING, Event.TRIGGER): Status.OPEN,
    (Status.OPEN, Event.FILL_PART): Status.OPEN,
    (Status.OPEN, Event.FILL_ALL): Status.COMPLETE,
    (Status.CANCELLED, Event.FILL_ALL): Status.COMPLETE,  # a fill crossed the cancel (only by a fault)
    (Status.CANCELLED, Event.FILL_PART): Status.CANCELLED,
    (Status.OPEN, Event.MODIFY): Status.MODIFY_VALIDATION_PENDING,
    (Status.TRIGGER_PENDING, Event.MODIFY): Status.MODIFY_VALIDATION_PENDING,
    (Status.MODIFY_VALIDATION_PENDING, Event.MODIFY_PASS): Status.MODIFY_PENDING,
    (Status.MODIFY_PENDING, Event.MODIFIED): Status.MODIFIED,
    (Status.MODIFIED, Event.REOPEN): Status.OPEN,
    (Status.MODIFIED, Event.REARM): Status.TRIGGER_PENDING,
    (Status.OPEN, Event.CANCEL): Status.CANCEL_PENDING,
    (Status.TRIGGER_PENDING, Event.CANCEL): Status.CANCEL_PENDING,
    (Status.CANCEL_PENDING, Event.CANCELLED): Status.CANCELLED,
    (Status.AMO_RECEIVED, Event.CANCELLED): Status.CANCELLED,
    (Status.AMO_RECEIVED, Event.RELEASE): Status.RECEIVED,
}

#: What a socket hears of a change: the status, or Kite's word UPDATE. Changes not listed are in the history only.
SAID: dict[Event, str | None] = {
    Event.OPEN: None,
    Event.STOP: None,
    Event.TRIGGER: None,
    Event.FILL_ALL: None,
    Event.CANCELLED: None,
    Event.REJECT: None,
    Event.FILL_PART: UPDATE,
    Event.MODIFIED: UPDATE,
}


class Change(msgspec.Struct, frozen=True):
    """What the log must keep: an order as it now is, an execution, or a conversion. `said`: what sockets hear."""

    order: BookOrder | None = None
    execution: Execution | None = None
    conversion: Conversion | None = None
    said: str | None = None


class Book:
    """All orders of the day, by id and in order of arrival."""

    def __init__(self) -> None:
        self.history: dict[str, list[BookOrder]] = {}
        self.executions: list[Execution] = []
        self.working: dict[int, dict[str, BookOrder]] = {}
        self.changes: list[Change] = []

    def __contains__(self, order_id: str) -> bool:
        return order_id in self.history

    def __getitem__(self, order_id: str) -> BookOrder:
        return self.history[order_id][-1]

    def all(self) -> list[BookOrder]:
        """The latest record of each order."""
        return [records[-1] for records in self.history.values()]

    def add(self, order: BookOrder) -> BookOrder:
        """A new order."""
        self._record(order, None)
        return order

    def move(self, order: BookOrder, event: Event, ts: int, **changes: Any) -> BookOrder:
        """The order after `event`. Raises IllegalTransition, having changed nothing."""
        status = TABLE.get((order.status, event))
        if status is None:
            raise IllegalTransition(f"order {order.order_id} is {order.status}: it can't {event}")
        new = msgspec.structs.replace(order, status=status, updated=ts, **changes)
        said = (SAID[event] or status.value) if event in SAID else None
        self._record(new, said)
        return new

    def note_queue(self, order: BookOrder, queue: int, *, force: bool = False) -> BookOrder:
        """Remember a resting order's place in the queue: no event, nothing to log or say."""
        if queue == order.queue_ahead and not force:
            return order
        new = msgspec.structs.replace(order, queue_ahead=queue)
        self.history[order.order_id][-1] = new
        self._index(new)
        return new

    def execute(self, order: BookOrder, execution: Execution) -> BookOrder:
        """Book one execution of an order: COMPLETE if nothing is left."""
        filled, value = order.filled + execution.quantity, order.value + execution.quantity * execution.price
        event = Event.FILL_ALL if filled == order.quantity else Event.FILL_PART
        self.executions.append(execution)
        self.changes.append(Change(execution=execution))
        return self.move(
            order, event, execution.ts, filled=filled, value=value, exchanged=execution.ts, cancelled=0
        )  # fmt: skip

    def executions_of(self, order_id: str) -> list[Execution]:
        return [e for e in self.executions if e.order_id == order_id]

    def restore(self, order: BookOrder | None, execution: Execution | None) -> None:
        """Take back what was logged, saying nothing."""
        if execution is not None:
            self.executions.append(execution)
        if order is not None:
            self.history.setdefault(order.order_id, []).append(order)
            self._index(order)

    def drain(self) -> list[Change]:
        """What has changed since the last call, in order."""
        changes, self.changes = self.changes, []
        return changes

    def _record(self, order: BookOrder, said: str | None) -> None:
        self.history.setdefault(order.order_id, []).append(order)
        self._index(order)
        self.changes.append(Change(order=order, said=said))

    def _index(self, order: BookOrder) -> None:
        if order.status in DONE:
            orders = self.working.get(order.instrument_token, {})
            orders.pop(order.order_id, None)
            if not orders:
                self.working.pop(order.instrument_token, None)
        elif order.status in WORKING or order.status is Status.AMO_RECEIVED:
            self.working.setdefault(order.instrument_token, {})[order.order_id] = order
