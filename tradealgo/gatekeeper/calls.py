"""Order calls: queued by priority (kill, exits, entries), let out by the rate budget, their outcomes taken back in."""

from __future__ import annotations

import bisect
from collections.abc import Callable

import msgspec

from tradealgo.domain.order_machine import OrderEvent
from tradealgo.domain.orders import Intent, Order, OrderState
from tradealgo.domain.state import Level
from tradealgo.gatekeeper.breaker import Breaker
from tradealgo.gatekeeper.context import Context
from tradealgo.gatekeeper.kite import Query
from tradealgo.gatekeeper.messages import AnswerRecord, Call, CallDone, CallKind, CallRecord, Kind, Outcome, Record
from tradealgo.gatekeeper.orders import AT_WORK, Orders
from tradealgo.gatekeeper.pricing import last_itself, marketable_limit
from tradealgo.gatekeeper.queries import Queries
from tradealgo.gatekeeper.rate import RateBudget

SECOND_NS = 1_000_000_000
RANK = {Intent.KILL: 0, Intent.EXIT: 1, Intent.PROTECT: 2, Intent.ENTRY: 3}
#: Between two tries of a call that doesn't get through.
LONGEST_WAIT_NS = 5 * SECOND_NS
#: What a call may wait for that takes longer than a second or two.
LONG_WAITS = ("DAY", "MINUTE")
#: What goes at the price that it was made with, however long it waited.
AT_ITS_PRICE = (Intent.ENTRY, Intent.PROTECT)
EXITS = (Intent.EXIT, Intent.KILL)
#: Read often (see `core`).
ENTRY, JOURNALED, SEND, ACCEPT = Intent.ENTRY, OrderState.JOURNALED, OrderEvent.SEND, OrderEvent.ACCEPT
PLACE, CANCEL, CALL, ANSWER = CallKind.PLACE, CallKind.CANCEL, Kind.CALL, Kind.ANSWER
ACCEPTED, NOT_SENT, UNKNOWN = Outcome.ACCEPTED, Outcome.NOT_SENT, Outcome.UNKNOWN
CANCELLABLE = AT_WORK | {OrderState.MODIFY_PENDING, OrderState.CANCEL_PENDING}


class Queued(msgspec.Struct, gc=False):
    """A call that waits. `intent` is its rank in the budget, which for cancels isn't the order's own."""

    kind: CallKind
    tag: str
    intent: Intent
    price: float
    number: int

    @property
    def rank(self) -> tuple[int, bool, int]:
        """What lowers a position before what only keeps one from growing."""
        return RANK[self.intent], self.kind is CallKind.CANCEL, self.number


class Calls:
    """The only way by which a call leaves the core.

    Args:
        refuses: says why an order may not be placed any more, or an empty string (kill, halt, age).
    """

    def __init__(
        self, context: Context, orders: Orders, queries: Queries, breaker: Breaker, refuses: Callable[[Order], str]
    ) -> None:
        self._context, self._orders, self._queries, self._breaker = context, orders, queries, breaker
        self._refuses = refuses
        self.budget = RateBudget(context.limits)
        self.next_id = 1
        self.waiting_for = ""  # why the first of the queue can't leave
        self.token_dead = False
        self.queued: list[Queued] = []  # the most urgent first
        self._under_way: dict[int, Queued] = {}
        self._number = 0
        self._failures: dict[str, int] = {}  # in a row, by order
        self.move_refused: set[str] = set()  # tags of orders whose last move the broker refused
        self._jumps: list[tuple[int, int]] = []  # when our clock was set forward, and by how much

    # ------------------------------------------------------------------ in

    def place(self, order: Order) -> None:
        """Queue an order's placement."""
        self._enqueue(PLACE, order.tag, order.intent)

    def modify(self, order: Order, price: float) -> None:
        """Queue a new price."""
        self._enqueue(CallKind.MODIFY, order.tag, order.intent, price)

    def cancel(self, order: Order, intent: Intent = Intent.EXIT) -> None:
        """Queue a cancel, which always ranks as an exit at least: it never raises risk."""
        self._enqueue(CallKind.CANCEL, order.tag, intent)

    def hasten(self) -> None:
        """The kill is on: cancels that wait already, for whatever reason, go by its share of the budget."""
        late = [q for q in self.queued if q.kind is CallKind.CANCEL and q.intent is not Intent.KILL]
        for queued in late:
            queued.intent = Intent.KILL
        if late:
            self.queued.sort(key=lambda q: q.rank)

    def _enqueue(self, kind: CallKind, tag: str, intent: Intent, price: float = 0.0) -> None:
        self._orders.track(tag).busy = kind
        self._number += 1
        queued = Queued(kind, tag, intent, price, self._number)
        if self.queued:
            bisect.insort(self.queued, queued, key=lambda q: q.rank)
        else:
            self.queued.append(queued)

    # ------------------------------------------------------------------ out

    def pump(self) -> None:
        """Let out what the budget allows, the most urgent first; drop what is no longer wanted."""
        self.waiting_for = ""
        if self.token_dead:
            self.waiting_for = "LOGIN"
            self.queued = [q for q in self.queued if self._still_wanted(q)]
            return
        kept: list[Queued] = []
        now = self._context.now
        for position, queued in enumerate(self.queued):
            if not self._still_wanted(queued):
                continue
            if self._orders.track(queued.tag).not_before > now:
                kept.append(queued)
                continue
            self.waiting_for = self.budget.denies(queued.intent, now)
            if self.waiting_for or self._context.raised:
                self._tell_wait(queued)
            if self.waiting_for:
                kept += [q for q in self.queued[position:] if self._still_wanted(q)]
                break
            self._send(queued)
        self.queued = kept

    def _tell_wait(self, queued: Queued) -> None:
        """People must hear of an exit that can't leave for longer than a second."""
        if not self.waiting_for:
            self._context.resolve("BUDGET", "order calls can leave again")
        elif self.waiting_for in LONG_WAITS and queued.intent is not ENTRY:
            self._context.alert(
                Level.CRITICAL, "BUDGET", f"an exit waits: this {self.waiting_for.lower()}'s order calls are used up"
            )

    def _still_wanted(self, queued: Queued) -> bool:
        order = self._context.book.orders[queued.tag]
        if queued.kind is PLACE:
            wanted = self._place_wanted(order)
        elif queued.kind is CANCEL:
            wanted = order.state in CANCELLABLE
        else:
            wanted = order.state in AT_WORK and not self._orders.track(queued.tag).cancel_wanted
        if not wanted and not order.is_done:
            self._orders.track(queued.tag).busy = None
        return wanted

    def _place_wanted(self, order: Order) -> bool:
        if order.state is not JOURNALED:
            return False
        why = "cancelled before it left" if self._orders.track(order.tag).cancel_wanted else self._refuses(order)
        if why:
            self._orders.move(order.tag, OrderEvent.DENY, text=why)
        return not why

    def _send(self, queued: Queued) -> None:
        order, now = self._context.book.orders[queued.tag], self._context.now
        call_id, kind, price = self.next_id, queued.kind, queued.price
        self.next_id += 1
        if kind is PLACE:
            order = self._orders.move(order.tag, SEND, price=self._fresh_price(order))
        elif kind is CANCEL:
            order = self._orders.move(order.tag, OrderEvent.ASK_CANCEL)
        else:
            order = self._orders.move(order.tag, OrderEvent.ASK_MODIFY, modifications=order.modifications + 1)
        self.budget.take(call_id, queued.intent, now)
        self._under_way[call_id] = queued
        self._context.commands += [
            Record(CALL, CallRecord(call_id=call_id, kind=kind, tag=order.tag, price=price, ts=now)),
            Call(call_id=call_id, kind=kind, order=order, price=price, admitted=now),
        ]

    def _fresh_price(self, order: Order) -> float:
        """An exit that waited goes at today's price, and after a refusal at the last price itself; an entry at the one that was
        checked, a protective order at its own.
        """
        if order.intent in AT_ITS_PRICE:
            return order.price
        last = self._context.book.last_price(order.instrument_token)
        if last <= 0:
            return order.price
        instrument = self._context.book.instruments[order.instrument_token]
        if self._was_refused(order):
            return last_itself(instrument, order.side, last)
        return marketable_limit(instrument, order.side, last, self._context.limits.slippage_fraction)

    def _was_refused(self, order: Order) -> bool:
        """Whether the last of the instrument's orders that is over was an exit, and refused."""
        token = order.instrument_token
        for other in reversed(self._context.book.orders.values()):
            if other.instrument_token == token and other.is_done and other.state is not OrderState.DENIED:
                return other.state is OrderState.REJECTED and other.intent in EXITS
        return False

    # ------------------------------------------------------------------ the clock

    def clock_set(self, by: int, now: int) -> None:
        """Our clock was set by so many nanoseconds since the last event, as is found at `now`."""
        self.budget.clock_set(by, now)
        if by > 0:
            self._jumps.append((now, by))
            self._context.note("CLOCK_SET", f"the machine's clock was set forward by {by / SECOND_NS:.3f} s", at=now)

    def by_present_clock(self, ts: int) -> int:
        """An instant as the clock would tell it now: one from before the clock was set forward is less long ago than it seems. One
        from before it was set back seems less long ago, which errs on the right side.
        """
        for at, by in self._jumps:
            ts += by if ts < at else 0
        return ts

    # ------------------------------------------------------------------ outcomes

    def done(self, event: CallDone) -> None:
        """Take a call's outcome."""
        queued = self._under_way.pop(event.call_id, None)
        if queued is None:
            return
        self._measure(event)
        answer = AnswerRecord(
            call_id=event.call_id, kind=queued.kind, tag=queued.tag, outcome=event.outcome,
            order_id=event.order_id, text=event.text, ts_sent=event.ts_sent, ts_done=event.ts_done,
        )  # fmt: skip
        self._context.commands.append(Record(ANSWER, answer))
        track = self._orders.track(queued.tag)
        track.busy, track.call_done = None, self._context.now
        if queued.kind is PLACE:
            self._placed(queued, event)
        elif queued.kind is CallKind.MODIFY:
            self._modified(queued, event)
        else:
            self._cancelled(queued, event)

    def _measure(self, event: CallDone) -> None:
        now, outcome = self._context.now, event.outcome
        if outcome is NOT_SENT or not event.ts_sent:
            self.budget.never_sent(event.call_id)
        elif outcome is not UNKNOWN:
            self.budget.landed(event.call_id, event.ts_sent, event.ts_done)
        if event.server_second is not None:
            self.budget.clock.observe(event.server_second, event.ts_sent, event.ts_done)
        if outcome is ACCEPTED:
            self.budget.warm()
            self.token_dead = False
        elif outcome is Outcome.RATE_LIMITED:
            self.budget.cool(now)
        elif outcome is Outcome.TOKEN_DEAD:
            self.token_dead = True
            self._queries.want(Query.ORDERS)  # an answer is the sign that the login works again

    def _placed(self, queued: Queued, event: CallDone) -> None:
        tag, sent, done = queued.tag, event.ts_sent, event.ts_done
        if event.outcome is ACCEPTED:
            self._breaker.succeed(self._context.now)
            self._orders.move(tag, ACCEPT, order_id=event.order_id, ts_sent=sent, ts_acknowledged=done)
        elif event.outcome is Outcome.UNKNOWN:
            self._breaker.fail(self._context.now)
            self._orders.move(tag, OrderEvent.LOSE, text=event.text, ts_sent=sent)
            self.lost(tag)
        elif self._context.book.orders[tag].state is not OrderState.SUBMITTING:
            # Its message came first and showed it at work: the book knows better than this answer
            self._queries.want(Query.ORDERS)
        elif event.outcome is Outcome.REJECTED:
            self._breaker.fail(self._context.now)
            self._orders.move(tag, OrderEvent.REJECT, text=event.text, ts_sent=sent, ts_acknowledged=done)
        else:
            order = self._orders.move(tag, OrderEvent.UNSENT)
            self._hold_back(tag, event)
            self.place(order)

    def lost(self, tag: str) -> None:
        """Begin to look for an order whose call wasn't answered."""
        if self._context.book.orders[tag].state is OrderState.UNKNOWN:
            track = self._orders.track(tag)
            track.unknown_since = track.next_look = self._context.now
            track.tries = track.absences = 0

    def _modified(self, queued: Queued, event: CallDone) -> None:
        tag = queued.tag
        if self._context.book.orders[tag].is_done:
            return
        if event.outcome is Outcome.ACCEPTED:
            self._orders.move(tag, OrderEvent.SEEN, price=queued.price)
        if event.outcome is Outcome.REJECTED:
            self.move_refused.add(tag)
        if event.outcome is Outcome.UNKNOWN:
            self._queries.want(Query.ORDERS)
        elif self._context.book.orders[tag].state is OrderState.MODIFY_PENDING:
            self._orders.settle(tag)
        self._hold_back(tag, event)

    def _cancelled(self, queued: Queued, event: CallDone) -> None:
        tag, order = queued.tag, self._context.book.orders[queued.tag]
        if order.is_done:
            return
        self._queries.want(Query.ORDERS, at=self._context.now + SECOND_NS // 4)
        if event.outcome in (Outcome.ACCEPTED, Outcome.UNKNOWN):
            return  # the book will tell
        if order.state is OrderState.CANCEL_PENDING:
            self._orders.settle(tag)
        self._hold_back(tag, event)

    def _hold_back(self, tag: str, event: CallDone) -> None:
        """What failed for a reason that lasts isn't tried again at once. A call that was merely late is."""
        lasting = event.outcome in (Outcome.REJECTED, Outcome.TOKEN_DEAD)
        unconnected = event.outcome is Outcome.NOT_SENT and event.ts_sent
        if not (lasting or unconnected):
            self._failures.pop(tag, None)
            return
        failures = self._failures[tag] = self._failures.get(tag, -1) + 1
        first = SECOND_NS // 2 if lasting else SECOND_NS // 5
        self._orders.track(tag).not_before = self._context.now + min(first << min(failures, 8), LONGEST_WAIT_NS)
