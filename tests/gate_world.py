"""A world for the Gatekeeper's core: a broker that misbehaves in every known way, a journal, crashes, and the invariants.

No process, no clock, no socket: time moves when told. Whoever drives it (Hypothesis, a seeded soak, a plain test) calls
the rules; every command of the gate is checked as it comes.
"""

from __future__ import annotations

import datetime as dt
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import DONE_STATES, DUPLICATE, SUBMIT, Fill, Intent, OrderRequest, OrderState, Side
from tradealgo.domain.portfolio import Portfolio
from tradealgo.domain.state import Action, Control, KillState
from tradealgo.gatekeeper import messages as m
from tradealgo.gatekeeper.core import Gate
from tradealgo.gatekeeper.kite import BrokerOrder, BrokerPosition, BrokerTrade, Query
from tradealgo.gatekeeper.messages import CallKind, Outcome
from tradealgo.gatekeeper.messages import Kind as RecordKind
from tradealgo.gatekeeper.orders import AT_WORK
from tradealgo.gatekeeper.situation import Terms

MS = 1_000_000
SECOND = 1_000 * MS
DAY_START = at(dt.date(2026, 11, 20), dt.time(10, 0))

INFY = Instrument(instrument_token=257, exchange="NSE", tradingsymbol="INFY", kind=Kind.EQUITY, tick_size=0.05)
RELIANCE = Instrument(instrument_token=513, exchange="NSE", tradingsymbol="RELIANCE", kind=Kind.EQUITY, tick_size=0.1)
CALL = Instrument(
    instrument_token=770, exchange="NFO", tradingsymbol="NIFTY26NOV25000CE", kind=Kind.CALL, name="NIFTY",
    strike=25_000.0, tick_size=0.05, lot_size=65,
)  # fmt: skip
WING = Instrument(
    instrument_token=1026, exchange="NFO", tradingsymbol="NIFTY26NOV25500CE", kind=Kind.CALL, name="NIFTY",
    strike=25_500.0, tick_size=0.05, lot_size=65,
)  # fmt: skip
INSTRUMENTS = (INFY, RELIANCE, CALL, WING)
#: Rupees; small, so that the loss line of 2 % is within a day's moves.
CAPITAL = 250_000.0
START_PRICES = {257: 1_500.0, 513: 2_900.0, 770: 120.0, 1026: 30.0}

CALL_FAULTS = (
    "ok", "reject", "timeout_after_accept", "timeout_before", "late_show", "rate_limited", "not_sent", "token_dead",
    "slow", "reject_later", "cancel_crosses_fill",
)  # fmt: skip
MESSAGE_FAULTS = ("ok", "drop", "double", "late")
#: By which the broker's positions are behind its orders.
LAGS = (0, 0, 500 * MS, 2_500 * MS)
CRASHES = ("before_journal", "after_journal", "after_calls")


class BrokerSide:
    """One order at the broker. `shows_at`: when its book begins to show it."""

    def __init__(self, order: Any, order_id: str, shows_at: int) -> None:
        self.tag, self.order_id, self.shows_at = order.tag, order_id, shows_at
        self.token, self.instrument = order.instrument_token, order.instrument
        self.side, self.quantity, self.price = order.side, order.quantity, order.price
        self.intent, self.trigger = order.intent, order.trigger
        self.filled, self.value, self.status, self.text = 0, 0.0, "OPEN", ""

    @property
    def alive(self) -> bool:
        return self.status in ("OPEN", "TRIGGER PENDING")

    def meet(self, last: float) -> bool:
        """Whether the market at `last` lets it fill: a protective order only where its own prices are reached."""
        sign = self.side.sign
        if self.trigger and sign * (last - self.trigger) >= 0:
            self.trigger = 0.0  # an ordinary limit order from here on
            self.price = self.price or last * (1 + sign * 0.01)
        at_limit = self.intent is not Intent.PROTECT or sign * (self.price - last) >= 0
        return not self.trigger and at_limit

    def row(self) -> BrokerOrder:
        return BrokerOrder(
            order_id=self.order_id, tag=self.tag, status=self.status, instrument=self.instrument,
            instrument_token=self.token, side=self.side, quantity=self.quantity, filled_quantity=self.filled,
            average_price=round(self.value / self.filled, 4) if self.status == "COMPLETE" else 0.0, price=self.price,
            product="MIS", exchange_order_id=None, text=self.text,
        )  # fmt: skip


class BrokenInvariantError(AssertionError):
    """An invariant doesn't hold."""


def insist(holds: bool, text: str) -> None:
    if not holds:
        raise BrokenInvariantError(text)


class World:
    """The gate, the broker, and the time between them."""

    baskets = False  # whether the random driving asks for some
    alone = False  # whether nobody else trades on the account

    def __init__(self, seed: int = 0, limits: Limits | None = None, clock_offset: int = 0, **other: Any) -> None:
        self.rng = random.Random(seed)
        self.limits = limits or Limits(
            stale_price_s=10.0, breaker_failures=4 + seed % 4, breaker_cooldown_s=10.0, **other
        )
        self.clock_offset = clock_offset
        self.now = DAY_START
        self.journal: list[tuple[RecordKind, Any]] = []
        self.gate: Gate
        self.epoch = 0
        self.agenda: list[tuple[int, int, int | None, Callable[[], None]]] = []
        self.ticket = itertools.count()
        self.orders: dict[str, BrokerSide] = {}
        self.trades: list[BrokerTrade] = []
        self.prices = dict(START_PRICES)
        self.position: Counter[int] = Counter()
        self.call_fault = "ok"
        self.message_fault = "ok"
        self.query_fails = False
        self.unread: Query | None = None  # a book that can't be read
        self.lag = 0
        self.crash_next = ""
        self.arrivals: Counter[int] = Counter()
        self.arrivals_log: list[int] = []
        self.requests: list[OrderRequest] = []
        self.controls: list[Control] = []
        self.steps = 0
        self.tripped = self.rearmed = False
        self.flat_proofs = 0
        self.number = itertools.count(1)
        self.start_gate()

    # ------------------------------------------------------------------ gate

    def start_gate(self) -> None:
        self.epoch += 1
        gate = self.gate = Gate(Terms("s1", "A1", CAPITAL), self.limits, INSTRUMENTS)
        gate.restore(self.journal)
        self.now += 1_000
        self.perform(gate.recover(self.now))
        journaled = {r.request_id for k, r in self.journal if k is RecordKind.REQUEST}
        self.tick_all()
        for request in self.requests:
            if request.request_id not in journaled or self.rng.random() < 0.2:
                self.give(m.RequestReceived(request))
        heard = sum(k is RecordKind.CONTROL for k, _ in self.journal)
        for number, control in enumerate(self.controls[heard:], heard):
            self.give(m.ControlReceived(control=control, entry_id=f"{number + 1}-0"))

    def give(self, event: Any) -> None:
        """One event, now."""
        self.steps += 1
        self.now += 1_000
        self.perform(self.gate.handle(event, self.now))
        others = self.gate.book.outside
        insist(not (self.alone and others), f"own fills are taken for others' trades: {others}")

    def perform(self, commands: list[Any]) -> None:
        """What the shell does, with a crash in between if one is due."""
        records = [c for c in commands if isinstance(c, m.Record)]
        calls = [c for c in commands if isinstance(c, m.Call)]
        crash = self.crash_next if records or calls else ""
        if crash == "before_journal":
            return self.crash()
        for record in records:
            self.check_record(record)
            # Through the wire format, as the real journal keeps it
            encoded = msgspec.msgpack.encode(record.message)
            self.journal.append((record.kind, msgspec.msgpack.decode(encoded, type=type(record.message))))
        if crash == "after_journal":
            return self.crash()
        for command in commands:
            if isinstance(command, m.Call):
                self.check_call(command)
                self.launch(command)
            elif isinstance(command, m.Ask):
                self.launch_query(command.query)
        if crash:
            return self.crash()
        return None

    def crash(self) -> None:
        """The process is gone: answers on their way to it are lost, calls on their way to the broker are not."""
        self.crash_next = ""
        self.agenda = [item for item in self.agenda if item[2] is None]
        heapq.heapify(self.agenda)
        self.start_gate()

    # ------------------------------------------------------------------ time

    def later(self, delay: int, act: Callable[[], None], *, to_gate: bool) -> None:
        epoch = self.epoch if to_gate else None
        heapq.heappush(self.agenda, (self.now + delay, next(self.ticket), epoch, act))

    def advance(self, ns: int, step: int = 50 * MS) -> None:
        """Let time pass; what is due happens, and the gate's timer ticks."""
        end = self.now + ns
        while self.now < end:
            due = min(self.now + step, end)
            if self.agenda and self.agenda[0][0] <= due:
                when, _, epoch, act = heapq.heappop(self.agenda)
                self.now = max(self.now, when)
                if epoch is None or epoch == self.epoch:
                    act()
            else:
                self.now = due
                self.give(m.Timer())

    # ------------------------------------------------------------------ calls at the broker

    def launch(self, call: m.Call) -> None:
        fault, self.call_fault = self.call_fault, "ok"
        sent = self.now
        if fault == "not_sent":
            return self.answer(call, Outcome.NOT_SENT, 1 * MS, sent=0)
        delay = self.rng.randint(1, 30) * MS
        return self.later(delay, lambda: self.arrive(call, fault, sent), to_gate=False)

    def arrive(self, call: m.Call, fault: str, sent: int) -> None:
        second = (self.now + self.clock_offset) // SECOND
        self.arrivals[second] += 1
        insist(self.arrivals[second] <= self.limits.orders_per_second, f"{self.arrivals[second]} calls in a second")
        back = self.rng.randint(1, 30) * MS
        timeout = int(self.limits.call_timeout_s * SECOND)
        if fault == "rate_limited":
            return self.answer(call, Outcome.RATE_LIMITED, back, sent)
        if fault == "token_dead":
            return self.answer(call, Outcome.TOKEN_DEAD, back, sent)
        if fault == "reject":
            return self.answer(call, Outcome.REJECTED, back, sent, text="no")
        if fault == "timeout_before":
            return self.answer(call, Outcome.UNKNOWN, timeout, sent)
        accepted = self.execute(call, fault)
        if fault in ("timeout_after_accept", "late_show"):
            return self.answer(call, Outcome.UNKNOWN, timeout, sent)
        if fault == "slow":
            back = 2 * SECOND
        outcome = Outcome.ACCEPTED if accepted else Outcome.REJECTED
        order_id = self.order_id_of(call)
        return self.answer(call, outcome, back, sent, order_id=order_id if accepted else None)

    def order_id_of(self, call: m.Call) -> str:
        return next((o.order_id for o in self.orders.values() if o.tag == call.order.tag), "")

    def execute(self, call: m.Call, fault: str) -> bool:
        """Carry a call out; whether the broker says yes."""
        if call.kind is CallKind.PLACE:
            same = [o for o in self.orders.values() if o.tag == call.order.tag]
            insist(not same, f"a second broker order under tag {call.order.tag}")
            shows = self.now + (self.rng.randint(1, 8) * SECOND if fault == "late_show" else 0)
            order = BrokerSide(call.order, f"B{len(self.orders) + 1}", shows)
            self.orders[order.order_id] = order
            self.check_protective(order)
            if fault == "reject_later":
                self.later(100 * MS, lambda: self.change(order, "REJECTED"), to_gate=False)
            self.tell(order)
            return True
        order = self.orders[call.order.order_id or ""]
        if not order.alive:
            return False
        if call.kind is CallKind.MODIFY:
            order.price, order.trigger = call.price, 0.0
        elif fault == "cancel_crosses_fill":
            self.fill(order, order.quantity - order.filled)
        else:
            self.change(order, "CANCELLED")
        self.tell(order)
        return True

    def answer(
        self, call: m.Call, outcome: Outcome, delay: int, sent: int, *, order_id: str | None = None, text: str = ""
    ) -> None:
        server = (self.now + self.clock_offset) // SECOND if outcome in (Outcome.ACCEPTED, Outcome.REJECTED) else None

        def deliver() -> None:
            self.give(
                m.CallDone(
                    call_id=call.call_id,
                    outcome=outcome,
                    order_id=order_id,
                    text=text,
                    ts_sent=sent,
                    ts_done=self.now,
                    server_second=server,
                )
            )

        self.later(delay, deliver, to_gate=True)

    # ------------------------------------------------------------------ the broker's own life

    def change(self, order: BrokerSide, status: str) -> None:
        if order.alive:
            order.status = status
            self.tell(order)

    def fill(self, order: BrokerSide, quantity: int) -> None:
        """Fill some of an order at its limit or better."""
        quantity = min(quantity, order.quantity - order.filled)
        if not order.alive or quantity <= 0:
            return
        before = self.position[order.token]
        last = self.prices[order.token]
        price = min(order.price, last) if order.side is Side.BUY else max(order.price, last)
        price = round(price, 2)
        order.filled += quantity
        order.value += price * quantity
        if order.filled == order.quantity:
            order.status = "COMPLETE"
        self.position[order.token] += order.side.sign * quantity
        after = self.position[order.token]
        if order.intent is not Intent.ENTRY:
            insist(abs(after) <= abs(before), f"an exit raised risk: {before} to {after} by {order.tag}")
        self.trades.append(
            BrokerTrade(
                trade_id=f"T{sum(t.instrument_token == order.token for t in self.trades) + 1}", order_id=order.order_id, instrument=order.instrument,
                instrument_token=order.token, side=order.side, quantity=quantity, price=price, product="MIS",
                ts=self.now,
            )
        )  # fmt: skip
        self.tell(order)

    def tell(self, order: BrokerSide) -> None:
        """An order message, unless it is lost, doubled or held up."""
        fault = self.message_fault
        if fault == "drop":
            return
        row = order.row()
        delay = self.rng.randint(1, 20) * MS + max(0, order.shows_at - self.now)
        if fault == "late":
            delay += self.rng.randint(0, 2_000) * MS
        for _ in range(2 if fault == "double" else 1):
            self.later(delay, lambda: self.give(m.OrderSeen(row)), to_gate=True)

    def launch_query(self, query: Query) -> None:
        asked = self.now
        self.later(self.rng.randint(2, 20) * MS, lambda: self.look(query, asked), to_gate=False)

    def look(self, query: Query, asked: int) -> None:
        """The book as it is when the question arrives."""
        epoch = self.epoch
        if self.query_fails or query is self.unread:
            event: Any = m.QueryFailed(query=query, text="down")
        elif query is Query.ORDERS:
            rows = [o.row() for o in self.orders.values() if o.shows_at <= self.now]
            event = m.OrdersSeen(
                rows=rows, asked=asked, ts_done=self.now, server_second=(self.now + self.clock_offset) // SECOND
            )
        elif query is Query.TRADES:
            event = m.TradesSeen(rows=list(self.trades), asked=asked)
        elif query is Query.POSITIONS:
            names = {i.instrument_token: i.key for i in INSTRUMENTS}
            event = m.PositionsSeen(
                rows=[
                    BrokerPosition(
                        instrument=names[t], instrument_token=t, product="MIS", quantity=self.shown(t),
                        last_price=self.prices[t],
                    )
                    for t in self.position
                ],
                asked=asked,
            )  # fmt: skip
        else:
            event = m.MarginsSeen(available=CAPITAL, asked=asked)

        def deliver() -> None:
            if epoch == self.epoch:
                self.give(event)

        self.later(self.rng.randint(2, 20) * MS, deliver, to_gate=True)

    def shown(self, token: int) -> int:
        """The position as the broker's positions have it by now."""
        late = (t for t in self.trades if t.instrument_token == token and t.ts > self.now - self.lag)
        return self.position[token] - sum(t.side.sign * t.quantity for t in late)

    # ------------------------------------------------------------------ rules

    def tick_all(self) -> None:
        self.give(m.PricesSeen([(t, p, self.now) for t, p in self.prices.items()], self.now))

    def move_price(self, token: int, fraction: float) -> None:
        tick = next(i.tick_size for i in INSTRUMENTS if i.instrument_token == token)
        self.prices[token] = max(tick, round(round(self.prices[token] * (1 + fraction) / tick) * tick, 2))
        for order in [o for o in self.orders.values() if o.alive and o.token == token]:
            order.meet(self.prices[token])
        self.tick_all()

    def ask(
        self, instrument: Instrument, target: int, /, intent: Intent = Intent.ENTRY, **more: Any
    ) -> OrderRequest | None:
        """Ask for what leads from the last target to this one, as a Consumer does."""
        before = next(
            (r.position_after for r in reversed(self.requests) if r.instrument_token == instrument.instrument_token), 0
        )
        if target == before:
            return None
        values: dict[str, Any] = {
            "request_id": f"s1:{instrument.instrument_token}:{next(self.number)}", "session_id": "s1", "strategy": "x",
            "instrument_token": instrument.instrument_token, "instrument": instrument.key,
            "side": Side.BUY if target > before else Side.SELL, "quantity": abs(target - before),
            "position_after": target, "reference_price": self.prices[instrument.instrument_token], "intent": intent,
            "start": self.now, "ts_requested": self.now,
        }  # fmt: skip
        request = OrderRequest(**(values | self.bracket(instrument, target, intent) | more))
        self.requests.append(request)
        self.give(m.RequestReceived(request))
        return request

    def ask_basket(self, legs: dict[int, int], missing: bool = False) -> str:
        """Ask for several positions, by token, as one group; `missing`: the last leg never comes."""
        name = f"s1:g{next(self.number)}"
        asked = [i for i in INSTRUMENTS if i.instrument_token in legs and self.target(i) != legs[i.instrument_token]]
        for instrument in asked[: len(asked) - missing]:
            self.ask(instrument, legs[instrument.instrument_token], group=name, group_size=len(asked))
        return name

    def target(self, instrument: Instrument) -> int:
        """Where the strategy believes to be."""
        mine = (r for r in reversed(self.requests) if r.instrument_token == instrument.instrument_token)
        return next((r.position_after for r in mine), 0)

    def check_baskets(self) -> None:
        """A group is whole, or what it brought is gone again, or a person has been told why not."""
        codes = {r.request_id: r.code for k, r in self.journal if k is RecordKind.VERDICT}
        for leg in [r for r in self.requests if r.group and codes.get(r.group) == "ROLLED_BACK"]:
            latest = [r for r in self.requests if r.instrument_token == leg.instrument_token][-1]
            before, held = leg.position_after - leg.side.sign * leg.quantity, self.position[leg.instrument_token]
            fine = held * leg.side.sign <= max(before * leg.side.sign, 0) or self.is_told() or latest is not leg
            insist(fine, f"{leg.request_id} of a broken basket is still held: {held}, before {before}")
        for leg in [
            r for r in self.requests if r.group and r.group not in codes and codes.get(r.request_id) == "SUBMIT"
        ]:
            orders = [o for o in self.gate.book.orders.values() if o.request_id == leg.request_id]
            short = [o for o in orders if o.filled_quantity < o.quantity]
            insist(not short or self.tripped, f"basket {leg.group} is not whole and nobody says so")

    def bracket(self, instrument: Instrument, target: int, intent: Intent) -> dict[str, float]:
        """A stop and a target, now and then, where they count."""
        if not self.limits.brackets or intent is not Intent.ENTRY:
            return {}
        last, sign = self.prices[instrument.instrument_token], 1 if target > 0 else -1
        far = {
            "stop": last * (1 - sign * self.rng.uniform(0.0, 0.02)),
            "target": last * (1 + sign * self.rng.uniform(0.0, 0.02)),
        }
        return {name: round(price, 3) for name, price in far.items() if self.rng.random() < 0.7}

    def say(self, action: Action, *, force: bool = False) -> None:
        self.controls.append(Control(action=action, source="cli", reason="because", force=force))
        self.give(m.ControlReceived(control=self.controls[-1], entry_id=f"{len(self.controls)}-0"))

    def fill_some(self, fraction: float) -> None:
        for order in [o for o in self.orders.values() if o.alive and o.meet(self.prices[o.token])]:
            self.fill(order, max(1, int((order.quantity - order.filled) * fraction)))

    # ------------------------------------------------------------------ invariants

    def check_record(self, record: m.Record) -> None:
        if record.kind is RecordKind.REARM:
            self.rearmed = True
        if record.kind is RecordKind.VERDICT and record.message.code == SUBMIT:
            request = self.gate.state.seen[record.message.request_id]
            held = self.gate.book.position(request.instrument_token) * -request.side.sign
            fits = record.message.figures["quantity"] <= held or request.intent is not Intent.EXIT
            insist(fits, f"exit {request.request_id} is let out for more than the {held} held")
        if record.kind is not RecordKind.STATE:
            return
        armed = record.message.kill is KillState.ARMED
        insist(not (self.tripped and armed and not self.rearmed), "the kill was forgotten without a re-arm")
        self.tripped, self.rearmed = not armed, False
        if record.message.kill is KillState.VERIFIED_FLAT:
            self.flat_proofs += 1
            held = {t: q for t, q in self.position.items() if q}
            insist(not held, f"VERIFIED_FLAT while the broker holds {held}")
            alive = [o.tag for o in self.orders.values() if o.alive]
            insist(not alive, f"VERIFIED_FLAT while {alive} work")

    def check_call(self, call: m.Call) -> None:
        """Journaled before it leaves; nothing that raises risk after a trip."""
        journaled = any(k is RecordKind.CALL and r.call_id == call.call_id for k, r in reversed(self.journal))
        insist(journaled, f"call {call.call_id} left without a record")
        order = next((r for k, r in reversed(self.journal) if k is RecordKind.ORDER and r.tag == call.order.tag), None)
        insist(order is not None and order.state == call.order.state, f"order {call.order.tag} left unrecorded")
        if self.tripped and call.kind is CallKind.PLACE:
            insist(call.order.intent is Intent.KILL, f"{call.order.intent} {call.order.tag} left after the trip")
        if call.kind is CallKind.PLACE:
            opposite = [
                o for o in self.gate.book.working_in(call.order.instrument_token)
                if o.side is not call.order.side and o.state is not OrderState.UNKNOWN
            ]  # fmt: skip
            insist(not opposite, f"{call.order.tag} could trade with {[o.tag for o in opposite]}")
        if self.tripped and call.kind is CallKind.MODIFY:
            insist(call.order.intent is not Intent.ENTRY, "an entry was moved after the trip")

    def check_protective(self, order: BrokerSide) -> None:
        """Whatever closes a position is never for more than the account holds when a protective order comes to it."""
        if order.intent is not Intent.PROTECT:
            return
        closing = [
            o for o in self.orders.values()
            if o.alive and o.token == order.token and o.side is order.side and o.intent is not Intent.ENTRY
        ]  # fmt: skip
        at_work = sum(o.quantity - o.filled for o in closing)
        held = max(self.position[order.token] * -order.side.sign, 0)
        insist(at_work <= held, f"{at_work} of protective quantity for {held} held in {order.instrument}")

    def rest(self) -> None:
        """No more faults: everything works out, and the books agree to the paisa."""
        self.call_fault = self.message_fault = "ok"
        self.query_fails, self.unread, self.lag, self.crash_next = False, None, 0, ""
        for _ in range(120):
            self.advance(SECOND, step=100 * MS)
            self.tick_all()
            self.fill_some(1.0)
            if self.is_quiet():
                self.advance(200 * MS)  # exits are looked at ten times a second, and what just filled is told
                if self.is_quiet():
                    break
        insist(self.is_quiet(), f"no rest: {self.gate.figures()} {self.gate.book.working} {self.gate.pending}")
        self.check_books()

    def is_quiet(self) -> bool:
        gate = self.gate
        return (
            all(self.may_rest(o) for o in gate.book.working.values()) and self.may_wait()
            and gate.book.all_booked and gate.ready and not gate.killer.is_active
            and all(self.may_rest(o) for o in self.orders.values() if o.alive) and self.is_protected()
            and (self.is_told() or not any(self.beyond(i.instrument_token) for i in INSTRUMENTS))
        )  # fmt: skip

    def may_wait(self) -> bool:
        """Whether no request waits, but those of a cover whose sold options can't be got rid of, as a person knows."""
        first = {r.instrument_token: r for r in reversed(self.gate.pending.values())}
        return not first or (self.is_told() and all(map(self.gate.intake.covers, first.values())))

    @staticmethod
    def may_rest(order: Any) -> bool:
        """Whether an order, ours or the broker's record of it, may be at work when all is quiet."""
        return order.intent is Intent.PROTECT and getattr(order, "state", OrderState.OPEN) in AT_WORK

    def is_protected(self) -> bool:
        """Whether every position that the strategy wants has its order at the broker, if that is on."""
        gate = self.gate
        if not gate.protection.is_on or gate.protection.refusal():
            return True
        for token, held in self.position.items():
            resting = sum(o.quantity - o.filled for o in self.orders.values() if o.alive and o.token == token)
            if resting != (abs(held) if not self.beyond(token) else 0):
                return False
        return True

    def beyond(self, token: int) -> int:
        """Units that the broker holds although the strategy's last word, or request that waits, wants them gone."""
        waiting = [r.position_after for r in self.gate.pending.values() if r.instrument_token == token]
        wanted, held = waiting[-1] if waiting else self.word(token), self.position[token]
        return abs(held) if held * wanted <= 0 else max(0, abs(held) - abs(wanted))

    def word(self, token: int) -> int:
        """What was last wanted of an instrument, by the journal: a leg that was not had counts where it asks for less, a leg
        that is rolled back stands where it began, unless something else has been said since."""
        asked = {r.request_id: r for k, r in self.journal if k is RecordKind.REQUEST and r.instrument_token == token}
        wanted, said = 0, ""
        for verdict in (r for k, r in self.journal if k is RecordKind.VERDICT and r.code != DUPLICATE):
            request = asked.get(verdict.request_id)
            if request is None or ("^" in request.request_id and request.request_id.partition("^")[0] != said):
                continue
            after, is_lost_leg = request.position_after, request.group and verdict.code != SUBMIT
            if is_lost_leg and request.intent is Intent.ENTRY and after * wanted >= 0 and abs(after) > abs(wanted):
                continue
            wanted, said = after, request.request_id.partition("^")[0]
        return wanted

    def is_told(self) -> bool:
        """Whether a person knows that exits don't come off, or has said that positions stay."""
        return any(source in self.gate.overrides for source in ("person", "exits"))

    def check_books(self) -> None:
        gate = self.gate
        insist(self.may_wait(), f"requests wait: {gate.pending}")
        for request in self.requests:
            insist(request.request_id in gate.state.seen, f"request {request.request_id} was lost")
        for instrument in INSTRUMENTS:
            token = instrument.instrument_token
            insist(
                gate.book.position(token) == self.position[token],
                f"position of {instrument}: {gate.book.position(token)} {self.position[token]}",
            )
        reference = Portfolio.replay(
            {i.instrument_token: i for i in INSTRUMENTS},
            [
                Fill(
                    trade_id=t.trade_id, tag="", order_id=t.order_id, instrument_token=t.instrument_token,
                    instrument=t.instrument, side=t.side, quantity=t.quantity, price=t.price, ts_event=t.ts,
                )
                for t in self.trades
            ],
        )  # fmt: skip
        for token, price in self.prices.items():
            reference.mark(token, price)
        insist(gate.book.mtm == reference.mtm, f"running MTM {gate.book.mtm}, the broker's {reference.mtm}")
        insist(gate.book.portfolio.mtm == reference.mtm, f"MTM {gate.book.portfolio.mtm}, the broker's {reference.mtm}")
        for order in self.orders.values():
            ours = gate.book.orders.get(order.tag)
            insist(ours is not None, f"the broker has {order.tag}, we don't")
            insist(
                ours is not None
                and (ours.state in DONE_STATES or (order.alive and self.may_rest(ours)))
                and ours.filled_quantity == order.filled
                and (ours.state is OrderState.FILLED) == (order.status == "COMPLETE"),
                f"order {order.tag}: ours {ours}, the broker's {order.status} {order.filled}",
            )
        for token in self.position:
            told = {f"EXIT:{token}", f"COVER:{token}"} & gate.context.raised
            insist(not self.beyond(token) or bool(told), f"{token} is held and nothing is said")
        self.check_baskets()
        if self.tripped:
            insist(gate.killer.status.state is KillState.LOCKED, f"kill at {gate.killer.status}")
            insist(not any(self.position.values()), "killed but not flat")
        faults = [r.text for k, r in self.journal if k is RecordKind.NOTE and r.code == "FAULT"]
        insist(not faults, f"errors inside the gate: {faults[:3]}")

    # ------------------------------------------------------------------ random driving

    def random_step(self) -> None:
        """One rule, chosen by the seed."""
        rng = self.rng
        if self.baskets and rng.random() < 0.15:
            sizes = {i.instrument_token: i.lot_size * rng.choice((-2, -1, 1, 2)) for i in rng.sample(INSTRUMENTS, 2)}
            self.ask_basket(sizes, missing=rng.random() < 0.1)
            return
        roll = rng.random()
        if roll < 0.22:
            instrument = rng.choice(INSTRUMENTS)
            size = instrument.lot_size * rng.choice((1, 2, 5, 30))
            target = rng.choice((-1, 0, 0, 1)) * size
            self.ask(instrument, target, Intent.EXIT if target == 0 else Intent.ENTRY)
        elif roll < 0.40:
            self.fill_some(rng.choice((0.3, 1.0, 1.0)))
        elif roll < 0.50:
            far = 0.06 if rng.random() < 0.1 else 0.01
            self.move_price(rng.choice(INSTRUMENTS).instrument_token, rng.uniform(-far, far))
        elif roll < 0.60:
            self.call_fault = rng.choice(CALL_FAULTS)
        elif roll < 0.66:
            self.message_fault, self.lag = rng.choice(MESSAGE_FAULTS), rng.choice(LAGS)
        elif roll < 0.69:
            self.crash_next = rng.choice(CRASHES)
        elif roll < 0.71:
            self.query_fails, self.unread = not self.query_fails, rng.choice((None, *Query))
        elif roll < 0.72:
            self.say(rng.choice((Action.KILL, Action.HALT, Action.RESUME, Action.RESUME)))
        elif roll < 0.74:
            self.give(m.BusChanged(rng.random() < 0.7))
        elif roll < 0.75 and self.gate.killer.status.state is KillState.LOCKED:
            self.say(Action.REARM)
            self.say(Action.RESUME)
            self.say(Action.REARM, force=True)
        else:
            self.tick_all()
            self.advance(rng.choice((10, 100, 300, 1_000, 3_000)) * MS)


TOKEN = INFY.instrument_token
#: Of quiet worlds in which one thing happens: time may pass, and failures don't pause trading.
LIMITS = Limits(stale_price_s=600.0, breaker_failures=50, entry_max_age_s=60.0)


def holding(quantity: int = 10) -> World:
    """Long INFY."""
    world = World(limits=LIMITS)
    world.advance(SECOND)
    world.ask(INFY, quantity)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.advance(SECOND)
    assert world.position[TOKEN] == quantity
    return world
