"""What happens to orders as time passes: the unknown are looked up, the unfilled chased or cancelled, cancels pursued."""

from __future__ import annotations

import heapq

from tradealgo.domain.order_machine import OrderEvent
from tradealgo.domain.orders import Intent, Order, OrderState
from tradealgo.domain.state import Level
from tradealgo.gatekeeper.brackets import is_due
from tradealgo.gatekeeper.calls import Calls
from tradealgo.gatekeeper.context import Context
from tradealgo.gatekeeper.kite import BrokerOrder, Query
from tradealgo.gatekeeper.messages import OrdersSeen
from tradealgo.gatekeeper.orders import AT_WORK, Orders, Track
from tradealgo.gatekeeper.pricing import is_further, last_itself, pursuing_limit
from tradealgo.gatekeeper.queries import Queries

SECOND_NS = 1_000_000_000
UNKNOWN, ENTRY = OrderState.UNKNOWN, Intent.ENTRY
NEVER = 1 << 63
#: Waits between two looks at the book for an order without an answer; the last one repeats.
LOOKS_NS = tuple(int(s * SECOND_NS) for s in (0.25, 0.5, 1.0, 2.0))
#: Books in a row without it, each asked after the absence window, that confirm an order absent.
ABSENCES = 2
#: The same of an order that the broker once acknowledged.
MISSING = 3
#: A cancel or modify may show in the book this much after its answer.
SHOWN_NS = SECOND_NS * 3 // 10
#: Beyond `chase_limit` an exit is moved this many times more slowly.
SLOW_CHASE = 5
#: An order without an answer is somebody's business after this long.
ALERT_AFTER_NS = 20 * SECOND_NS


class Lifecycle:
    """Looks after working orders, one by one."""

    def __init__(self, context: Context, orders: Orders, calls: Calls, queries: Queries) -> None:
        self._context, self._orders, self._calls, self._queries = context, orders, calls, queries
        self._book = context.book
        self._patience = int(context.limits.entry_max_age_s * SECOND_NS)  # with an entry that doesn't fill
        self._asleep: list[tuple[int, str]] = []  # a heap of the entries that rest, by until when
        self.next_due = NEVER  # after this one of them is awake again

    def tend(self) -> None:
        """Do what is due for every working order: those that are awake, in the order in which they came."""
        now, working, awake = self._context.now, self._book.working, self._book.awake
        if now > self.next_due:
            self._wake(now)
        for tag in [t for t in working if t in awake] if len(awake) > 1 else list(awake):
            track = self._orders.track(tag)
            if now > track.rests_until or track.cancel_wanted:
                self._tend_one(working[tag], track)
            if now <= track.rests_until and not track.cancel_wanted:
                awake.discard(tag)
                heapq.heappush(self._asleep, (track.rests_until, tag))
                self.next_due = self._asleep[0][0]

    def _wake(self, now: int) -> None:
        """Whoever has rested for long enough."""
        while self._asleep and self._asleep[0][0] < now:
            tag = heapq.heappop(self._asleep)[1]
            if tag in self._book.working:
                self._book.awake.add(tag)
        self.next_due = self._asleep[0][0] if self._asleep else NEVER

    def _tend_one(self, order: Order, track: Track) -> None:
        state, intent = order.state, order.intent
        if state is UNKNOWN:
            self._look_up(order, track)
        elif intent is not ENTRY and self._is_too_much(order):
            self.want_cancelled(order, intent)
        elif state not in AT_WORK or track.busy is not None or self._context.now < track.not_before:
            return
        elif track.cancel_wanted:
            self._calls.cancel(order, intent if intent is Intent.KILL else Intent.EXIT)
        elif intent is ENTRY:
            self._let_go(order, track)
        elif intent is not Intent.PROTECT or self._is_due(order, track):
            self._chase(order, track)

    # ------------------------------------------------------------------ unknown outcomes

    def _look_up(self, order: Order, track: Track) -> None:
        now = self._context.now
        if now >= track.next_look:
            track.next_look = now + LOOKS_NS[min(track.tries, len(LOOKS_NS) - 1)]
            track.tries += 1
            settles = self._absence_counts(order)
            if now < settles < track.next_look:  # from then on a look can settle it: closely again
                track.next_look, track.tries = settles, 0
            self._queries.want(Query.ORDERS)
        if now - track.unknown_since > ALERT_AFTER_NS:
            self._context.alert(
                Level.CRITICAL,
                f"UNKNOWN:{order.tag}",
                f"{order.side} {order.quantity} {order.instrument} (tag {order.tag}) has no known outcome for "
                f"{(now - track.unknown_since) / SECOND_NS:.0f} s: the order book can't be read",
            )

    def _absence_counts(self, order: Order) -> int:
        """From when on a book without the order says that it isn't there."""
        left = order.ts_sent or self._orders.track(order.tag).unknown_since
        return self._calls.by_present_clock(left) + int(self._context.limits.absence_s * SECOND_NS)

    def take_absence(self, event: OrdersSeen, present: set[str]) -> None:
        """Settle unknown orders that a whole order book, asked late enough, doesn't hold."""
        for order in list(self._book.working.values()):
            if order.state is not OrderState.UNKNOWN or order.tag in present:
                continue
            track = self._orders.track(order.tag)
            if event.asked < self._absence_counts(order):
                continue
            track.absences += 1
            if track.absences >= ABSENCES:
                self._absent(order)

    def take_missing(self, event: OrdersSeen, present: set[str], started: int) -> bool:
        """An order that the broker acknowledged can't vanish from its book, but from yesterday's: after some whole books it
        works no more, so that it can't hold up the kill. Should it turn up again, its row or its trade revives it.
        """
        grace, found = int(self._context.limits.absence_s * SECOND_NS), False
        for order in list(self._book.working.values()):
            track = self._orders.track(order.tag)
            if order.order_id is None or order.tag in present:
                track.absences = 0 if order.order_id else track.absences
            elif event.asked > self._calls.by_present_clock(max(order.ts_acknowledged, started)) + grace:
                found, track.absences = True, track.absences + 1
                self._tell_missing(order)
                if track.absences >= MISSING:
                    self._orders.move(order.tag, OrderEvent.EXPIRE, text="vanished from the broker's book")
        return found

    def _tell_missing(self, order: Order) -> None:
        self._context.alert(
            Level.CRITICAL,
            f"MISSING:{order.tag}",
            f"order {order.order_id} ({order.side} {order.quantity} {order.instrument}) is not in the broker's book any "
            f"more",
        )

    def _absent(self, order: Order) -> None:
        """It never reached the broker, as far as one can see: never sent again, for a tag may only ever be one order. An exit
        is asked for anew, under a tag of its own; an entry's moment has passed; the kill makes its own.
        """
        self._orders.move(order.tag, OrderEvent.EXPIRE, text="confirmed absent from the broker's book: given up")

    # ------------------------------------------------------------------ cancels and modifies

    def take_alive(self, order: Order, row: BrokerOrder, asked: int) -> None:
        """A whole book shows an order at work for which a cancel or modify is pending: that one is over."""
        if order.state not in (OrderState.CANCEL_PENDING, OrderState.MODIFY_PENDING) or row.is_done:
            return
        track = self._orders.track(order.tag)
        if track.busy is None and asked > track.call_done + SHOWN_NS:
            if order.state is OrderState.MODIFY_PENDING and row.price > 0:
                self._orders.move(order.tag, OrderEvent.SEEN, price=row.price)
            self._orders.settle(order.tag)

    def want_cancelled(self, order: Order, intent: Intent = Intent.EXIT) -> None:
        """Cancel an order, now or as soon as it is known where it is."""
        track = self._orders.track(order.tag)
        track.cancel_wanted = True
        if order.tag in self._book.working:
            self._book.awake.add(order.tag)
        if order.state in AT_WORK and track.busy is None and self._context.now >= track.not_before:
            self._calls.cancel(order, intent)

    def _is_too_much(self, order: Order) -> bool:
        """Whether an exit would fill beyond what the account still holds: somebody else has closed it, or an order of ours
        that was given up came back.
        """
        token, side = order.instrument_token, order.side
        held = max(self._book.in_account(token) * -side.sign, 0)
        return self._book.pending(token, side) > held

    def _is_due(self, order: Order, track: Track) -> bool:
        """Whether a protective order should be filling; it has as long for that as any exit."""
        if not is_due(order, self._book.last_price(order.instrument_token)):
            track.chased_at = 0
            return False
        track.chased_at = track.chased_at or self._context.now
        return True

    def _let_go(self, order: Order, track: Track) -> None:
        """An entry that didn't fill at its price has missed its moment. Until then nothing but a cancel concerns it."""
        until = (track.placed_at or order.ts_checked) + self._patience
        if self._context.now > until:
            self.want_cancelled(order)
        else:
            track.rests_until = until

    def _chase(self, order: Order, track: Track) -> None:
        """Move an exit that didn't fill to where the market is now."""
        limits = self._context.limits
        fast = max(track.chases, order.modifications) < limits.chase_limit
        wait = limits.chase_after_s * (1 if fast else SLOW_CHASE)
        since = max(track.chased_at, order.ts_acknowledged, order.ts_checked)
        if self._context.now - since < wait * SECOND_NS:
            return
        track.chased_at = self._context.now
        track.chases = max(track.chases, order.modifications) + 1
        if track.chases > min(limits.chase_limit, limits.modifications_per_order):
            self._escalate(order)
        last = self._book.last_price(order.instrument_token)
        if last <= 0:
            return
        instrument = self._book.instruments[order.instrument_token]
        at_last, kill = last_itself(instrument, order.side, last), order.intent is Intent.KILL
        if order.modifications >= limits.modifications_per_order:
            # Replaced only for a better price: else it would lose its place in the queue for nothing
            if kill and is_further(order.side, at_last, order.price):
                self.want_cancelled(order, Intent.KILL)
            return
        price = pursuing_limit(instrument, order.side, last, limits.slippage_fraction, track.chases, beyond=kill)
        if order.tag in self._calls.move_refused:  # too far for the broker, maybe: then at least to the last price
            self._calls.move_refused.discard(order.tag)
            price = at_last
        if not order.price or is_further(order.side, price, order.price):
            self._calls.modify(order, price)

    def _escalate(self, order: Order) -> None:
        """A person is told."""
        self._context.alert(
            Level.CRITICAL,
            f"CHASE:{order.tag}",
            f"{order.side} {order.pending_quantity} {order.instrument} is not filled after "
            f"{self._orders.track(order.tag).chases} looks, now at {order.price:g}, the last price is "
            f"{self._book.last_price(order.instrument_token):g}: look at it, or "
            f"{'close it yourself' if order.intent is Intent.KILL else 'kill'}",
        )
