"""Drives a session's cores through candles, in one thread, under a simulated clock: no bus, no socket, no disk.

A tick that opens a candle closes the one before it, so what that candle gave rise to meets the market at this open: the
Consumer's maker asks, the Gatekeeper's core decides and calls, the venue matches, and the answers go back to the core
before the market moves on. On a day's last candle nothing follows to close it but the end of trading: what it asks for
goes at its close. The last candle of all never closes. Each Indian day is a session of its own, launched before the open
with the full loss limit; a position that lasts over night (data that ends before the square-off) goes over in the journal,
as it does when a Gatekeeper starts again.

**Why quiet candles may be skipped.** The core acts on four things: a request, an order at work, an armed kill's loss line,
and time. Without a request, and with nothing at work, waiting or being flattened, time alone changes no later answer:
rate budget and circuit breaker are functions of the instants of past calls and of now; the dead-man timer is off; the
broker's clock isn't measured again; routine reconciliation would compare the venue's book with itself. Prices alone could
only trip the loss line, and the MTM is linear in them, so no candle in which every position's worst price still keeps it
above the line can. Prices that a decision reads are shown right before it. `every_candle=True` shows the core everything;
both ways give the same verdicts, orders, fills and trips, which a test holds.
"""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tradealgo.consumer.requests import RequestMaker
from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Fill, Order, OrderRequest, Product, Verdict
from tradealgo.domain.portfolio import Portfolio, to_paise
from tradealgo.domain.state import Alert, KillState, SessionState
from tradealgo.gatekeeper import messages as m
from tradealgo.gatekeeper.core import Gate
from tradealgo.gatekeeper.kite import BrokerTrade, Query
from tradealgo.gatekeeper.messages import Ask, Call, CallDone, PricesSeen, Record, RequestReceived, TradesSeen
from tradealgo.gatekeeper.situation import Terms
from tradealgo.research import records
from tradealgo.research.event_timeline import CLOSE, OPEN, PATH, Timeline
from tradealgo.research.event_venue import Venue

if TYPE_CHECKING:
    from tradealgo.research.backtest import InstrumentRun

#: While something is at work the core hears of time this often.
STEP_NS = SECOND_NS // 4
#: Between two events at one instant of the market.
TINY_NS = 1_000
PRODUCT = Product.INTRADAY.value
#: Read often: before Python 3.12 to look up an enum's member takes as long as a call.
PLACE, ACCEPTED = m.CallKind.PLACE, m.Outcome.ACCEPTED
NEVER = 86_400.0


class Driver:
    """One run. What came of it: `requests`, `verdicts`, `orders`, `fills`, `states`, `alerts`, and the venue's ledger.

    Args:
        runs: candles and signals by instrument. A signal depends on candles alone, so that all may be made beforehand.
        maker: the Consumer's.
        terms: of every day's session.
        every_candle: show the Gatekeeper's core every price of every candle.
    """

    def __init__(
        self, runs: Sequence[InstrumentRun], maker: RequestMaker, terms: Terms, limits: Limits, slippage: float,
        *, every_candle: bool = False,
    ) -> None:  # fmt: skip
        self.runs, self.every_candle, self.terms = runs, every_candle, terms
        self.limits = msgspec.structs.replace(limits, dead_man_s=0.0, reconcile_s=NEVER)
        self.instruments = [r.instrument for r in runs]
        self.timeline = Timeline([r.data for r in runs])
        self.venue = Venue({i.instrument_token: i for i in self.instruments}, to_paise(terms.capital), slippage)
        self.requests: list[OrderRequest] = []
        self.verdicts: list[Verdict] = []
        self.orders: list[Order] = []
        self.fills: list[Fill] = []
        self.states: list[SessionState] = []
        self.alerts: list[Alert] = []
        self._keep: dict[m.Kind, Callable[[Any], None]] = {
            m.Kind.VERDICT: self.verdicts.append, m.Kind.FILL: self.fills.append, m.Kind.STATE: self.states.append,
            m.Kind.ALERT: self.alerts.append,
        }  # fmt: skip
        self._maker = maker
        self._tokens = [i.instrument_token for i in self.instruments]
        self._column = {token: k for k, token in enumerate(self._tokens)}
        self._asked_at: dict[int, dict[int, list[tuple[int, Any]]]] = {}  # by row and point: see `_ask_at`
        self._plan()
        self._busy_rows = sorted(self._asked_at)
        self.gate: Gate
        self.now = 0
        self._busy = False  # as of the last look: anything at work?
        self._calls: deque[m.Call] = deque()
        self._questions: dict[Query, int] = {}
        self._carried: list[tuple[m.Kind, Any]] = []
        self._day_fills = 0

    def _plan(self) -> None:
        """Where each change of a target meets the market."""
        for k, run in enumerate(self.runs):
            at = np.array(run.signals.changes, np.int64)
            at = at[at + 1 < run.data.size]
            ends_day = np.isin(at + 1, run.data.days)
            rows = self.timeline.rows_of(run.data.start[np.where(ends_day, at, at + 1)])
            for row, at_close, change in zip(rows, ends_day.tolist(), records.changes(run), strict=False):
                self._ask_at(row, CLOSE if at_close else OPEN, k, change)

    def _ask_at(self, row: int, point: int, k: int, what: Any) -> None:
        """Instrument `k` is to be asked for at a point of a row: what comes of it, `_made` says."""
        self._asked_at.setdefault(row, {}).setdefault(point, []).append((k, what))

    # ------------------------------------------------------------------ days and rows

    def run(self) -> Driver:
        """Play all days."""
        collects = gc.isenabled()
        gc.disable()  # almost all that is made is kept: looking for garbage in it, again and again, would find none
        try:
            for begin, end in self.timeline.days():
                if self.every_candle or self._carried or self._next_asked(begin, end) < end:
                    self._open(begin)
                    self._trade(begin, end)
                    self._close(end - 1)
        finally:
            if collects:
                gc.enable()
        return self

    def _trade(self, row: int, end: int) -> None:
        row = self._risky_from(row, self._next_asked(row, end))
        while row < end:
            row = self._play(row, end)

    def _next_asked(self, row: int, end: int) -> int:
        """The next row with a request; `end` if there is none before it."""
        rows = self._busy_rows
        n = bisect_left(rows, row)
        return rows[n] if n < len(rows) and rows[n] < end else end

    def _risky_from(self, row: int, until: int) -> int:
        """The first row from `row` on that the core must see, request or not."""
        self._busy = busy = self._is_busy
        if row >= until or self.every_candle or busy:
            return row
        held, gate = self.venue.held, self.gate
        if not held or not gate.killer.is_armed:
            return until
        columns, rest = map(self._column.__getitem__, held), gate.book.mtm - gate.book.portfolio.worth
        return self.timeline.risky_from(row, until, [*columns], [*held.values()], rest, gate.loss_line)

    @property
    def _is_busy(self) -> bool:
        gate = self.gate
        at_work = gate.book.working or gate.pending or gate.calls.queued
        return bool(at_work) or (not gate.killer.is_armed and gate.killer.is_active)

    def _play(self, row: int, end: int) -> int:
        """Show a row's prices as far as need be; returns the next row to see."""
        points = self._asked_at.get(row, {})
        until = self._meet(row, OPEN, points.get(OPEN, ()), end)
        if until > row and CLOSE not in points:
            return until
        for point in range(OPEN + 1, len(PATH)):
            if until <= row or point in points:
                until = self._meet(row, point, points.get(point, ()), end)
        if until > row:
            return until
        if self._busy and row + 1 < end:
            self._wait(self.timeline.starts.item(row + 1))
        return self._risky_from(row + 1, self._next_asked(row + 1, end))

    # ------------------------------------------------------------------ the market and the Consumer

    def _meet(self, row: int, point: int, asked: Sequence[tuple[int, Any]], end: int) -> int:
        """A point of the path: its prices, what is asked for at them and what comes of it. Returns the next row to see; this
        one where its next point is.
        """
        self._wait(self.timeline.time(row, point))
        self._show(row, point, asked)
        for k, what in asked:
            made = self._made(k, what)
            self.requests += made
            for request in made:
                self._give(RequestReceived(request))
                self._settle()
        if self._calls:
            self._settle()
        return self._risky_from(row, self._next_asked(row + 1, end))

    def _show(self, row: int, point: int, asked: Sequence[tuple[int, Any]]) -> None:
        """The prices of an instant, of all that a decision may read: what is held, at work or asked for."""
        column, now = self._column, self.now
        shown = {k for k, _ in asked} | set(map(column.__getitem__, self.venue.held))
        if self.every_candle:
            shown = set(range(len(self.runs)))
        elif self._busy:
            shown.update([column[o.instrument_token] for o in self.gate.book.working.values()])
            shown.update([column[r.instrument_token] for r in self.gate.pending.values()])
        order = sorted(shown)
        tokens, prices = [*map(self._tokens.__getitem__, order)], self.timeline.prices(row, order, point)
        trades = self.venue.show(tokens, prices, now)
        self._give(PricesSeen([*zip(tokens, prices, repeat(now))], now))
        for k, _ in asked:  # what has no candle here is priced as of its last one: no entry leaves on a stale price
            if (made := self.timeline.made_at(row, k, now)) < now:
                self._give(PricesSeen([(self._tokens[k], self.timeline.prices(row, [k], point)[0], made)], made))
        if trades:
            self._give(TradesSeen(rows=trades, asked=self.now))

    def _made(self, k: int, what: Any) -> list[OrderRequest]:
        """What the Consumer asks for, of a change of an instrument's target."""
        return records.asked(self._maker, self.instruments[k], what, self.now)

    # ------------------------------------------------------------------ the Gatekeeper and the broker

    def _give(self, event: m.Event) -> None:
        self.now += TINY_NS
        commands = self.gate.handle(event, self.now)
        if commands:
            self._take(commands)

    def _take(self, commands: list[m.Command]) -> None:
        keep = self._keep
        for command in commands:
            if isinstance(command, Record):
                if command.kind in keep:
                    keep[command.kind](command.message)
            elif isinstance(command, Call):
                self._calls.append(command)
            elif isinstance(command, Ask):
                self._questions[command.query] = self.now

    def _settle(self) -> None:
        """Make the calls that have left, until none is left."""
        while self._calls:
            self._perform(self._calls.popleft())

    def _perform(self, call: m.Call) -> None:
        order_id, outcome = call.order.order_id or "", ACCEPTED
        trades: list[BrokerTrade] = []
        cancelled = None
        try:
            if call.kind is PLACE:
                order_id, trades = self.venue.place(call.order, self.now)
            elif call.kind is m.CallKind.MODIFY:
                trades = self.venue.modify(order_id, call.price, self.now)
            else:
                cancelled = self.venue.cancel(order_id, self.now)
        except KeyError:
            outcome = m.Outcome.REJECTED
        now = self.now
        self._give(CallDone(call_id=call.call_id, outcome=outcome, order_id=order_id, ts_sent=now, ts_done=now))
        if trades:
            self._give(TradesSeen(rows=trades, asked=self.now))
        if cancelled is not None:
            self._give(m.OrderSeen(self.venue.row(cancelled)))

    def _answer(self) -> None:
        """The broker answers its questions while something is at work; otherwise nobody waits for an answer.

        In no time, so that how many questions were open leaves no trace in anybody's stamps.
        """
        questions, self._questions = self._questions, {}
        for query, asked in questions.items():
            if query is Query.ORDERS:
                answer: m.Event = m.OrdersSeen(rows=self.venue.rows(), asked=asked, ts_done=self.now)
            elif query is Query.TRADES:
                answer = m.TradesSeen(rows=[], asked=asked)  # each was told as it happened
            elif query is Query.POSITIONS:
                answer = m.PositionsSeen(rows=self.venue.positions(PRODUCT), asked=asked)
            else:
                continue  # free cash: the Gatekeeper counts with the session's capital
            self._take(self.gate.handle(answer, self.now))

    def _wait(self, until: int) -> None:
        """Let time pass, which matters while something is at work."""
        while self._busy and self.now + STEP_NS < until:
            self.now += STEP_NS
            self._answer()
            self._give(m.Timer())
            self._settle()
            self._busy = self._is_busy
        if until > self.now:
            self.now = until

    # ------------------------------------------------------------------ a day's beginning and end

    def _open(self, row: int) -> None:
        """Launch the day's Gatekeeper and let it reconcile; two answers' dates tell it the broker's clock."""
        second = int(self.timeline.starts[row]) // SECOND_NS - 2
        self.now = second * SECOND_NS
        self.venue.begin_day()
        self.gate = Gate(self.terms, self.limits, self.instruments)
        self.gate.restore(self._carried)
        self._questions.clear()
        self._take(self.gate.recover(self.now))
        for moment in (self.now, self.now + SECOND_NS - 1):
            self._take(
                self.gate.handle(
                    m.OrdersSeen(rows=[], asked=moment, ts_done=moment, server_second=second), moment
                )
            )  # fmt: skip
            self.now = moment
        self._give(m.TradesSeen(rows=[], asked=self.now))
        self._give(m.PositionsSeen(rows=self.venue.positions(PRODUCT), asked=self.now))
        self._settle()

    def _close(self, row: int) -> None:
        """The exchange cancels what still works; what is held goes over to the next day's session."""
        for order in list(self.venue.working.values()):
            self._give(m.OrderSeen(self.venue.row(self.venue.cancel(order.order_id, self.now))))
        known = {message.tag for kind, message in self._carried if kind is m.Kind.ORDER}
        today = self.gate.book.orders.values()
        self.orders += [o for o in today if o.tag not in known]
        held = list(self.venue.held)
        closes = self.timeline.prices(row, [self._column[token] for token in held], CLOSE)
        self.venue.show(held, closes, self.now)
        self._carried = self._carry(dict(zip(held, closes, strict=True))) if held else []
        self._day_fills = len(self.fills)

    def _carry(self, held: dict[int, float]) -> list[tuple[m.Kind, Any]]:
        """The journal of what is held (by token, with the day's last price), from which the next day counts its loss."""
        before = [msg for kind, msg in self._carried if kind is m.Kind.FILL]
        fills = [f for f in (*before, *self.fills[self._day_fills :]) if f.instrument_token in held]
        orders = [o for o in self.gate.book.orders.values() if o.instrument_token in held]
        book = Portfolio.replay({i.instrument_token: i for i in self.instruments}, fills)
        for token, price in held.items():
            book.mark(token, price)
        base = m.RearmRecord(reason="a new day", source="backtest", base=book.mtm, ts=self.now)
        return [
            *((m.Kind.ORDER, o) for o in orders), *((m.Kind.FILL, f) for f in fills), (m.Kind.REARM, base)
        ]  # fmt: skip

    # ------------------------------------------------------------------ what came of it

    @property
    def trips(self) -> list[SessionState]:
        """Each trip of the kill switch as last told that day: LOCKED, with cause, reason and times."""
        last: dict[int, SessionState] = {}
        for state in self.states:
            if state.kill is not KillState.ARMED:
                last[state.ts_tripped] = state
        return list(last.values())
