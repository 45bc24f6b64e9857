"""The Gatekeeper's core: events in, commands out. It has no clock, no I/O and no randomness; the same events at the same
times give the same commands.

    for command in gate.handle(event, now): ...

Who performs the commands must have every Record on disk before it performs a Call of the same answer. After a crash,
`restore` the records, `recover`, and go on: start-up and recovery are the same path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tradealgo.domain.instruments import Instrument
from tradealgo.domain.limits import Limits
from tradealgo.domain.order_machine import OrderEvent
from tradealgo.domain.orders import Intent, Order, OrderState
from tradealgo.domain.state import (
    KillCause,
    KillState,
    Level,
    SessionState,
    TradingState,
)
from tradealgo.gatekeeper import messages as m
from tradealgo.gatekeeper.book import Book, Foreign
from tradealgo.gatekeeper.breaker import Breaker, BreakerState
from tradealgo.gatekeeper.calls import Calls
from tradealgo.gatekeeper.comparison import Comparison
from tradealgo.gatekeeper.context import Context
from tradealgo.gatekeeper.intake import Intake
from tradealgo.gatekeeper.killer import Killer
from tradealgo.gatekeeper.kite import KNOWN, BrokerOrder, BrokerTrade, Query
from tradealgo.gatekeeper.lifecycle import Lifecycle
from tradealgo.gatekeeper.messages import Call, Command, Event, Kind
from tradealgo.gatekeeper.meter import Meter
from tradealgo.gatekeeper.orders import Orders
from tradealgo.gatekeeper.overrides import Overrides
from tradealgo.gatekeeper.people import People
from tradealgo.gatekeeper.protection import Protection
from tradealgo.gatekeeper.pursuit import Pursuit
from tradealgo.gatekeeper.queries import Queries
from tradealgo.gatekeeper.reconcile import own_net, unproven
from tradealgo.gatekeeper.settling import Settling
from tradealgo.gatekeeper.situation import GateState, Terms

SECOND_NS = 1_000_000_000
#: After these people are told the MTM.
METERED = (m.PricesSeen, m.Timer)
#: Read at every event: before Python 3.12 to look up an enum's member takes as long as a call.
ACTIVE, HALTED, CLOSED, VERIFIED_FLAT = (
    TradingState.ACTIVE, TradingState.HALTED, BreakerState.CLOSED, KillState.VERIFIED_FLAT
)  # fmt: skip
KILL, EXIT, ENTRY, TRADES = Intent.KILL, Intent.EXIT, Intent.ENTRY, Query.TRADES


class Gate:
    """Decides on every request and every order of one session.

    Args:
        terms: what the manifest fixes.
        limits: the session's.
        instruments: all that it may trade.
    """

    def __init__(self, terms: Terms, limits: Limits, instruments: Iterable[Instrument]) -> None:
        self.terms, self.limits = terms, limits
        self.book = Book(instruments, terms.capital)
        self._allowed_loss = round(limits.max_loss_fraction * terms.capital * 100)  # paise
        self.context = Context(terms, limits, self.book)
        self.orders = Orders(self.context)
        self.queries = Queries(self.context)
        self.breaker = Breaker(limits)
        self.calls = Calls(self.context, self.orders, self.queries, self.breaker, self._refuses)
        self.lifecycle = Lifecycle(self.context, self.orders, self.calls, self.queries)
        self.meter = Meter(self.context)
        self.killer = Killer(
            self.context, self.orders, self.calls, self.queries, self.lifecycle, self.own_net, self._unproven
        )
        self.state = GateState(terms)
        self.intake = Intake(self.context, self.orders, self.calls, self.lifecycle, self.breaker, self.state, self.look)
        self.pending = self.intake.pending
        self.overrides = Overrides(self.context)
        self.pursuit = Pursuit(self.context, self.intake, self.killer, self.queries, self.overrides)
        self.protection = Protection(
            self.context, self.orders, self.calls, self.lifecycle, self.intake, self.pursuit, self.killer, self.overrides
        )  # fmt: skip
        self.settling = Settling(self.context, self.orders, self.killer, self.overrides)
        self.comparison = Comparison(self)
        self.people = People(self)
        self.started = 0
        self._is_ready = False
        self._trades: list[BrokerTrade] = []
        self.trades_asked = 0
        self.loss_base = 0
        self._next_probe = 0
        self._told: SessionState | None = None  # without its time
        self._statuses = set(KNOWN)
        self._take: dict[type, Callable[[Any], None]] = {
            m.RequestReceived: lambda e: self.intake.take(e.request),
            m.BadRequest: self.intake.take_bad,
            m.PricesSeen: self._take_prices,
            m.OrderSeen: lambda e: self._take_row(e.row),
            m.CallDone: self.calls.done,
            m.OrdersSeen: self._take_orders,
            m.TradesSeen: self._take_trades,
            m.PositionsSeen: self._take_positions,
            m.MarginsSeen: self._take_margins,
            m.QueryFailed: self._take_failure,
            m.ControlReceived: self.people.take,
            m.BusChanged: self._take_bus,
            m.Faulted: lambda e: self._fault(e.text),
            m.Timer: lambda e: None,
        }

    # ------------------------------------------------------------------ the two ways in

    def handle(self, event: Event, now: int) -> list[Command]:
        """Take one event at wall time `now` (UTC ns); returns what to do, in order.

        An error inside counts as a failure of the circuit breaker and raises an alert; the gate goes on.
        """
        context = self.context
        context.now = now
        try:
            self._take[type(event)](event)
        except Exception as error:  # one bad event must not stop the guard of all that is open
            self._fault_in(event, error)
        try:
            self._advance(now)
        except Exception as error:  # nor one step of the guard the next event's
            self._fault_in(event, error)
        if isinstance(event, METERED):
            self.meter.tell(self.loss_line)
        if self.orders.changed:
            self.orders.flush()
        if not context.is_state_told:
            self._tell_state()
        commands, context.commands = context.commands, []
        return commands

    def recover(self, now: int) -> list[Command]:
        """Begin, after `restore` if there was a journal: what was under way is unknown until the broker's book is read."""
        self.context.now = self.started = self.people.last_heard = now
        for order in list(self.book.working.values()):
            track = self.orders.track(order.tag)
            track.placed_at = track.chased_at = track.call_done = now
            if order.state is OrderState.SUBMITTING:
                self.orders.move(order.tag, OrderEvent.LOSE, text="the process ended before the answer came")
            if self.book.orders[order.tag].state is OrderState.UNKNOWN:
                self.calls.lost(order.tag)
            elif order.state is OrderState.JOURNALED:
                self.calls.place(order)
        self.protection.recover()
        self.overrides.put("start", TradingState.REDUCING, "positions have not been compared with the broker's yet")
        self.queries.want(*Query)
        return self.handle(m.Timer(), now)

    def restore(self, records: Iterable[tuple[Kind, Any]]) -> None:
        """Take the journal's records, in order, into an empty gate."""
        for kind, message in records:
            self._restore_one(kind, message)

    def _restore_one(self, kind: Kind, message: Any) -> None:
        match kind:
            case Kind.ORDER:
                self.book.put(message, message.ts_updated)
            case Kind.FILL:
                self.book.book(message, message.ts_init)
            case Kind.REQUEST:
                self.intake.restore_request(message)
            case Kind.VERDICT:
                self.intake.restore(message)
            case Kind.STATE:
                self.killer.restore(message)
            case Kind.CONTROL:
                self.people.cursor = message.entry_id or self.people.cursor
            case Kind.OVERRIDE:
                self.overrides.restore(message)
            case Kind.REARM:
                self.loss_base = message.base
            case Kind.CALL:
                self.calls.next_id = message.call_id + 1
                self.calls.budget.remember(message.call_id, message.ts)
            case Kind.ANSWER if message.outcome is m.Outcome.NOT_SENT or not message.ts_sent:
                self.calls.budget.never_sent(message.call_id)

    # ------------------------------------------------------------------ figures

    @property
    def ready(self) -> bool:
        """Whether the broker's orders, trades and positions have been read since the start."""
        if not self._is_ready:
            asked = (self.killer.orders_asked, self.trades_asked, self.killer.positions_asked)
            self._is_ready = min(asked) >= self.started > 0
            if self._is_ready:
                self.killer.all_read()
        return self._is_ready

    @property
    def trading(self) -> TradingState:
        """The strictest of all overrides."""
        return self.overrides.trading if self.killer.is_armed else HALTED

    @property
    def loss_line(self) -> int:
        """Paise: the MTM at which the kill trips."""
        return self.loss_base - self._allowed_loss

    def figures(self) -> dict[str, float | int | str]:
        """For the heartbeat."""
        budget, now = self.calls.budget, self.context.now
        return {
            "calls_second": budget.second_count(now),
            "calls_minute": budget.minute_count(now),
            "calls_day": budget.day_count(now),
            "open_orders": len(self.book.working),
            "foreign_orders": len(self.book.foreign),
            "queued_calls": len(self.calls.queued),
            "unknown_orders": sum(o.state is OrderState.UNKNOWN for o in self.book.working.values()),
            "orders_to_settle": len(self.settling.asked),
            "protective_orders": sum(o.intent is Intent.PROTECT for o in self.book.working.values()),
            "held_requests": len(self.pending),
            "mtm": self.book.mtm,
            "trading": self.trading.value,
            "kill": self.killer.status.state.value,
            "breaker": self.breaker.state.value,
            "clock_uncertainty_ms": round(budget.clock.uncertainty / 1e6, 1),
        }

    # ------------------------------------------------------------------ requests

    def look(self) -> GateState:
        """What checks may know of this moment."""
        state, status, breaker = self.state, self.killer.status, self.breaker
        state.trading, state.kill = self.overrides.trading if self.killer.is_armed else HALTED, status.state
        state.reason = status.reason or self.overrides.reasons
        state.mtm, state.loss_line = self.book.worst_mtm, self.loss_base - self._allowed_loss
        state.breaker_passes, state.breaker_failures = breaker.passes, breaker.failures
        state.calls_today = self.calls.budget.day_count(self.context.now)
        return state

    def refuses(self, call: Call) -> str:
        """Why an admitted call mustn't leave any more, or an empty string. Asked right before its bytes are written: a kill or a
        halt may have come since, in the same batch or while a connection was made.
        """
        if call.kind is m.CallKind.PLACE:
            return self._refuses(call.order)
        if call.kind is m.CallKind.CANCEL or self.killer.is_armed or call.order.intent in (KILL, EXIT):
            return ""
        return f"the kill switch is {self.killer.status.state}"

    def _refuses(self, order: Order) -> str:
        """Why a queued order may not leave any more. Asked right before it would."""
        intent, armed = order.intent, self.killer.is_armed
        if intent is KILL:
            return "" if not armed else "the kill switch was re-armed"
        if not armed:
            return f"the kill switch is {self.killer.status.state}"
        if intent is not ENTRY:
            return "" if intent is EXIT else self.protection.refuses(order)
        if self.overrides.trading is not ACTIVE:
            lowers_risk = -self.book.position(order.instrument_token) * order.side.sign >= order.quantity
            if not lowers_risk:
                return f"trading is {self.trading}"
        age = (self.context.now - order.ts_checked) / SECOND_NS
        if age > self.limits.entry_max_age_s:
            return f"grew stale in the queue: {age:.1f} s old, waiting for {self.calls.waiting_for or 'its turn'}"
        return ""

    # ------------------------------------------------------------------ prices and MTM

    def _take_prices(self, event: m.PricesSeen) -> None:
        self.book.take_prices(event.prices, event.ts_init)
        self.meter.is_stale = True

    def _trip_on_loss(self, worst: int) -> None:
        self.trip(
            KillCause.MTM, f"MTM Rs {worst / 100:,.2f} is at or below the limit of Rs {self.loss_line / 100:,.2f}"
        )

    # ------------------------------------------------------------------ what the broker tells

    def _take_row(self, row: BrokerOrder) -> None:
        if row.status not in self._statuses:
            self._statuses.add(row.status)
            self.context.note(
                "UNKNOWN_STATUS", f"the broker says {row.status!r}: taken as alive", order_id=row.order_id
            )
        tag = self.orders.tag_of(row)
        if tag is None:
            self._take_foreign(row)
            return
        if self.orders.take_row(tag, row):
            self.overrides.put("doubled", TradingState.REDUCING, f"the broker has two orders under tag {row.tag}")
        if not self.book.all_booked:
            self.queries.want(TRADES)

    def _take_foreign(self, row: BrokerOrder) -> None:
        if row.instrument in self.book.by_key and row.filled_quantity:
            self.queries.want(Query.POSITIONS)  # it may have closed what we hold
        if row.is_done:
            self.book.foreign.pop(row.order_id, None)
            return
        if row.order_id not in self.book.foreign:
            self.context.note(
                "FOREIGN_ORDER", f"{row.side} {row.quantity} {row.instrument} by another platform or session",
                order_id=row.order_id,
            )  # fmt: skip
        pending = row.quantity - row.filled_quantity
        last = self.book.last_price(row.instrument_token) if row.instrument_token in self.book.instruments else 0.0
        self.book.foreign[row.order_id] = Foreign(row.order_id, row.instrument, row.side, pending, row.price or last)

    def _take_orders(self, event: m.OrdersSeen) -> None:
        self.queries.answered(Query.ORDERS)
        self.calls.token_dead = False
        if event.server_second is not None:
            self.calls.budget.clock.observe(event.server_second, event.asked, event.ts_done)
        present, alive = set[str](), set[str]()
        for row in event.rows:
            if self.orders.is_old_news(row):
                continue
            self._take_row(row)
            if not row.is_done:
                alive.add(row.order_id)
            tag = self.orders.tag_of(row)
            if tag is not None:
                present.add(tag)
                self.lifecycle.take_alive(self.book.orders[tag], row, event.asked)
        if not self.book.all_booked:
            self.queries.want(TRADES)
        self.book.foreign = {k: f for k, f in self.book.foreign.items() if k in alive}
        self.lifecycle.take_absence(event, present | self.settling.look(event.rows))
        if self.lifecycle.take_missing(event, present, self.started):
            self.overrides.put("reconciliation", TradingState.REDUCING, "an order vanished from the broker's book")
        self.killer.orders_asked = event.asked
        self.comparison.judge_again()

    def _take_trades(self, event: m.TradesSeen) -> None:
        self.queries.answered(TRADES)
        self._trades, self.trades_asked = event.rows, event.asked
        for row in event.rows:
            self.orders.take_trade(row)
        if not self.book.all_booked:
            self.queries.want(Query.TRADES, at=self.context.now + SECOND_NS // 4)

    def own_net(self) -> dict[str, int]:
        return own_net(self.killer.positions, self._trades, self.book)

    def _unproven(self) -> dict[str, int]:
        return unproven(self.killer.positions, self._trades, self.book)

    def _take_positions(self, event: m.PositionsSeen) -> None:
        self.queries.answered(Query.POSITIONS)
        self.killer.positions, self.killer.positions_asked = event.rows, event.asked
        for row in event.rows:
            if row.instrument in self.book.by_key:
                self.book.take_quote(self.book.by_key[row.instrument].instrument_token, row.last_price, event.asked)
        self.comparison.judge(event)

    def _take_margins(self, event: m.MarginsSeen) -> None:
        self.queries.answered(Query.MARGINS)
        self.book.available = event.available

    def _take_failure(self, event: m.QueryFailed) -> None:
        self.queries.failed(event.query)
        if event.token_dead:
            self.calls.token_dead = True
        if self.queries.failures(event.query) >= 5 and event.query is not Query.MARGINS:
            self.context.alert(Level.CRITICAL, f"QUERY:{event.query}", f"{event.query} fails: {event.text}")

    # ------------------------------------------------------------------ people, the bus, faults

    def _take_bus(self, event: m.BusChanged) -> None:
        if event.up:
            self.overrides.lift("bus")
            self.context.resolve("BUS", "the bus is back")
            return
        self.overrides.put("bus", TradingState.REDUCING, "the bus is lost")
        self.context.alert(Level.CRITICAL, "BUS", "the bus is lost: no entries; open positions are guarded")
        for order in list(self.book.working.values()):
            if order.intent is Intent.ENTRY:
                self.lifecycle.want_cancelled(order)

    def _fault_in(self, event: Event, error: Exception) -> None:
        self._fault(f"{type(event).__name__}: {type(error).__name__}: {error}")

    def _fault(self, text: str) -> None:
        self.breaker.fail(self.context.now)
        self.context.note("FAULT", text)
        self.context.alert(Level.CRITICAL, "FAULT", f"an error inside the Gatekeeper: {text}")

    def trip(self, cause: KillCause, reason: str) -> None:
        """Trip the kill switch, and tell."""
        if self.killer.trip(cause, reason):
            self._tell_state()

    # ------------------------------------------------------------------ each moment

    def _advance(self, now: int) -> None:
        """Do what is due. What stands beside a part is a sign that it may have something to do: without it the part would
        find nothing, and isn't asked.
        """
        book = self.book
        if self.breaker.state is not CLOSED:
            self.breaker.tick(now)
        if self.calls.token_dead or self.overrides.trading is not ACTIVE:
            self._watch_login()
        if self.limits.dead_man_s:
            self.people.watch()
        worst, ready = book.worst_mtm, self._is_ready or self.ready
        if worst <= self.loss_base - self._allowed_loss and self.killer.is_armed and (ready or book.is_priced):
            self._trip_on_loss(worst)
        try:
            if ready:
                if now >= self.pursuit.next_look:
                    self.pursuit.work()
                if self.pending or self.intake.baskets.open:
                    self.intake.decide_pending()
                if self.protection.is_on:
                    self.protection.work()
                if book.unknown or self.settling.asked:
                    self.settling.work()
        finally:  # an error in there is told, but holds up neither the kill nor what is at work, queued or asked
            self._act(ready, now)

    def _act(self, ready: bool, now: int) -> None:
        killer = self.killer
        try:
            if self.book.awake or now > self.lifecycle.next_due:
                self.lifecycle.tend()
        finally:
            if ready or (not killer.is_armed and killer.goes_on(self.started)):
                if not killer.is_armed:
                    killer.work()
                if self.calls.queued:
                    self.calls.pump()
            if now >= self._next_probe:
                self._measure_clock()
            self.queries.pump()
            if not killer.is_armed and killer.status.state is VERIFIED_FLAT:
                self._tell_state()
                killer.lock()

    def _measure_clock(self) -> None:
        """The calendar second is the broker's: find out where its seconds turn before a burst depends on it."""
        clock = self.calls.budget.clock
        if clock.is_coarse and self.ready:
            self._next_probe = clock.next_probe(self.context.now)
            self.queries.want(Query.ORDERS, at=self._next_probe)

    def _watch_login(self) -> None:
        if self.calls.token_dead:
            self.overrides.put("login", TradingState.REDUCING, "the broker's login is dead")
            self.context.alert(Level.CRITICAL, "LOGIN", "the broker refuses the access token: log in again")
        elif "login" in self.overrides:
            self.overrides.lift("login")
            self.context.resolve("LOGIN", "the broker takes the access token again")

    def _tell_state(self) -> None:
        status = self.killer.status
        state = SessionState(
            trading=self.trading, kill=status.state, cause=status.cause, reason=status.reason or self.overrides.reasons,
            ts_tripped=status.ts_tripped, ts_flat=status.ts_flat,
        )  # fmt: skip
        self.context.is_state_told = True
        if state != self._told:
            self._told = state
            self.context.record(Kind.STATE, msgspec.structs.replace(state, ts=self.context.now))
