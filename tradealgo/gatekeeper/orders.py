"""Own orders: every change goes through the table, and each changed order is recorded once an event."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from tradealgo.domain.order_machine import OrderEvent, next_state
from tradealgo.domain.orders import DONE_STATES, Fill, Intent, Order, OrderRequest, OrderState, Side, tag_for
from tradealgo.domain.state import Level
from tradealgo.gatekeeper.context import Context
from tradealgo.gatekeeper.kite import BrokerOrder, BrokerTrade
from tradealgo.gatekeeper.messages import CallKind, Kind, Record

#: At the broker, known by an order id, and nothing of ours pending.
AT_WORK = frozenset({OrderState.OPEN, OrderState.PARTIALLY_FILLED})
#: Read often (see `core`).
ORDER, FILL, UNKNOWN, FILLED = Kind.ORDER, Kind.FILL, OrderState.UNKNOWN, OrderState.FILLED
SEEN, PARTIAL = OrderEvent.SEEN, OrderEvent.PARTIAL
#: How an order comes into the book: its record is on its way to the disk.
JOURNALED = next_state(OrderState.NEW, OrderEvent.JOURNAL)


class Track(msgspec.Struct, gc=False):
    """What the core remembers of a working order beyond its record; lost at a restart, and then taken anew."""

    busy: CallKind | None = None  # a call is queued or under way
    call_done: int = 0  # when the last one ended
    cancel_wanted: bool = False
    not_before: int = 0
    placed_at: int = 0
    rests_until: int = 0  # nothing is due before it, unless a cancel is wanted
    chased_at: int = 0
    chases: int = 0  # times that it was looked at and had not filled
    unknown_since: int = 0
    next_look: int = 0
    tries: int = 0
    absences: int = 0


class Orders:
    """The one place that changes an order."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._book = context.book
        self.tracks: dict[str, Track] = {}
        self.changed: dict[str, None] = {}  # since the last flush
        self._ended: dict[str, BrokerOrder] = {}  # the last word on orders that are over, by order id

    def track(self, tag: str) -> Track:
        """The order's track, made at first use."""
        found = self.tracks.get(tag)
        if found is None:
            found = self.tracks[tag] = Track()
        return found

    def move(self, tag: str, event: OrderEvent, **changes: Any) -> Order:
        """Take an event to an order. Raises IllegalTransition, having changed nothing."""
        old = self._book.orders[tag]
        state = next_state(old.state, event)
        if state is old.state and all(getattr(old, name) == value for name, value in changes.items()):
            return old
        new = replace(old, state=state, ts_updated=self._context.now, **changes)
        self._book.put(new, new.ts_updated)
        self.changed[tag] = None
        if old.state is UNKNOWN and state is not UNKNOWN:
            self._context.resolve(f"UNKNOWN:{tag}", f"order {tag} is {state}")
        if state in DONE_STATES:
            self.tracks.pop(tag, None)
        return new

    def add(self, order: Order) -> Order:
        """Take a new order, recorded from here on."""
        tag, now = order.tag, self._context.now
        self._book.put(order, now)
        self.changed[tag], self.tracks[tag] = None, Track(placed_at=now)
        return order

    def settle(self, tag: str) -> Order:
        """The cancel or modify that was pending is over, and the order works on."""
        order = self.move(tag, OrderEvent.SETTLE)
        if order.state is OrderState.OPEN and order.filled_quantity:
            order = self.move(tag, OrderEvent.PARTIAL)
        return order

    def flush(self) -> None:
        """Record every order that changed since the last flush, in its latest shape."""
        orders, context = self._book.orders, self._context
        for tag in self.changed:
            context.commands.append(Record(ORDER, orders[tag]))
        self.changed = {}

    # ------------------------------------------------------------------ what the broker tells

    def tag_of(self, row: BrokerOrder) -> str | None:
        """The tag of our order that a row is about; None for somebody else's."""
        known = self._book.by_order_id.get(row.order_id)
        return row.tag if known is None and row.tag in self._book.orders else known

    def take_row(self, tag: str, row: BrokerOrder) -> bool:
        """Fold in what the broker says of an own order. Older than what is known: only facts count. True if it is a second
        order under one tag.
        """
        order = self._book.orders[tag]
        doubled = order.order_id is not None and row.order_id != order.order_id
        if doubled:
            order = self._adopt_double(order, row)
            tag = order.tag
        filled = max(order.filled_quantity, row.filled_quantity)
        event = row.event
        if event is SEEN and filled:
            event = PARTIAL
        changes: dict[str, Any] = {"order_id": row.order_id, "filled_quantity": filled}
        known = order.filled_quantity if order.average_price else order.filled_quantity - 1
        if row.filled_quantity > known and row.average_price > 0:  # Kite names none before an order is COMPLETE
            changes["average_price"] = row.average_price
        if row.exchange_order_id:
            changes["exchange_order_id"] = row.exchange_order_id
        if row.text:
            changes["text"] = row.text
        if self.move(tag, event, **changes).is_done:
            self._ended[row.order_id] = row
        return doubled

    def is_old_news(self, row: BrokerOrder) -> bool:
        """Whether an own order is over, and the broker has said so before, word for word. Every book shows all orders of the
        day, and thousands of them must not hold up one that works.
        """
        return self._ended.get(row.order_id) == row and self._book.by_order_id[row.order_id] not in self._book.working

    def _adopt_double(self, order: Order, row: BrokerOrder) -> Order:
        """Two broker orders under one tag: must never be. The second is ours as well: it gets a record of its own, so that
        its fills are booked, and is cancelled.
        """
        self._context.alert(
            Level.CRITICAL,
            f"DOUBLED:{order.tag}",
            f"the broker has two orders tagged {order.tag}: {order.order_id} and {row.order_id} ({row.status}); "
            f"the second one is cancelled, and what it fills is booked",
        )
        double = replace(
            order, tag=tag_for(f"{order.tag}/{row.order_id}"), state=OrderState.UNKNOWN, order_id=row.order_id,
            quantity=row.quantity, price=row.price or order.price, filled_quantity=0, average_price=0.0,
            modifications=0, exchange_order_id=None, text=f"second order under tag {order.tag}", ts_sent=0,
            ts_checked=self._context.now,
        )  # fmt: skip
        track = self.tracks[self.add(double).tag]
        track.cancel_wanted, track.unknown_since = True, self._context.now
        return double

    def take_trade(self, row: BrokerTrade) -> Fill | None:
        """Book an execution of an own order; None if it is somebody else's or booked already."""
        tag = self._book.by_order_id.get(row.order_id)
        if tag is None:
            return None
        order = self._book.orders[tag]
        fill = Fill(
            trade_id=row.trade_id,
            tag=tag,
            order_id=row.order_id,
            instrument_token=order.instrument_token,
            instrument=order.instrument,
            side=row.side,
            quantity=row.quantity,
            price=row.price,
            ts_event=row.ts or self._book.ts_event,
            ts_init=self._context.now,
        )
        if not self._book.book(fill, self._context.now):
            return None
        self._context.commands.append(Record(FILL, fill))
        booked = self._book.booked(tag)
        order = self._book.orders[tag]
        if booked > order.filled_quantity:  # a trade may come before the order's own row
            event = OrderEvent.FILL if booked >= order.quantity else PARTIAL
            self.move(
                tag, event, filled_quantity=booked, average_price=self._book.portfolio.average(row.order_id, booked)
            )
        elif (
            booked == order.filled_quantity and not (order.average_price and order.state is FILLED)
            and next_state(order.state, PARTIAL) is order.state  # one that was given up is revived by its row alone
        ):  # fmt: skip
            self.move(tag, PARTIAL, average_price=self._book.portfolio.average(row.order_id, booked))
        return fill

    # ------------------------------------------------------------------ making

    def from_request(self, request: OrderRequest, quantity: int, price: float, number: int) -> Order:
        """The order of one slice of a request."""
        now = self._context.now
        return Order(
            tag=tag_for(request.request_id, number),
            request_id=request.request_id,
            session_id=request.session_id,
            instrument_token=request.instrument_token,
            instrument=request.instrument,
            side=request.side,
            quantity=quantity,
            price=price,
            intent=request.intent,
            state=JOURNALED,
            reason=request.reason,
            start=request.start,
            ts_event=request.ts_event,
            ts_init=request.ts_init,
            ts_closed=request.ts_closed,
            ts_signalled=request.ts_signalled,
            ts_requested=request.ts_requested,
            ts_checked=now,
            ts_updated=now,
        )

    def killing(self, request_id: str, token: int, side: Side, quantity: int, price: float) -> Order:
        """One of the kill's own exits."""
        session = self._context.terms.session_id
        return Order(
            tag=tag_for(f"{session}/{request_id}"),
            request_id=request_id,
            session_id=session,
            instrument_token=token,
            instrument=self._book.instruments[token].key,
            side=side,
            quantity=quantity,
            price=price,
            intent=Intent.KILL,
            state=JOURNALED,
            reason="kill",
            ts_event=self._book.ts_event,
            ts_checked=self._context.now,
            ts_updated=self._context.now,
        )
