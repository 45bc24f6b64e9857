"""Every figure that the Gatekeeper keeps up instead of adding it up is, after every event of a random life, what adding up gives."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from gate_world import INSTRUMENTS, MS, SECOND, World

from tradealgo.domain.hours import ist_date, ist_day, market_hours
from tradealgo.domain.orders import WORKING_STATES, Fill, Intent, OrderState, Side
from tradealgo.domain.portfolio import Portfolio, to_paise
from tradealgo.domain.state import KillState, strictest
from tradealgo.gatekeeper.core import Gate
from tradealgo.gatekeeper.kite import BrokerOrder, Query
from tradealgo.gatekeeper.lifecycle import NEVER
from tradealgo.gatekeeper.messages import Kind, OrdersSeen, Outcome
from tradealgo.gatekeeper.queries import GAP_NS

LIVES = range(1_000 if os.environ.get("TRADEALGO_SOAK") else 4)
TOKENS = [i.instrument_token for i in INSTRUMENTS]
LIMITS: list[dict[str, Any]] = [{}, {"protect_fraction": 0.02, "brackets": True}, {"protect_fraction": 0.01}]


class AddedUp(World):
    """A world that adds everything up after each event."""

    def give(self, event: Any) -> None:
        if isinstance(event, OrdersSeen):
            check_old_news(self.gate, event.rows)
        super().give(event)
        fills = [r for k, r in self.journal if k is Kind.FILL]
        units = check_orders(self.gate, fills)
        check_money(self.gate, fills, units)
        check_states(self.gate)
        check_nothing_is_due(self.gate)
        self.check_budget()

    def check_budget(self) -> None:
        left: dict[int, int] = {}
        for kind, record in self.journal:
            if kind is Kind.CALL:
                left[record.call_id] = record.ts
            elif kind is Kind.ANSWER and (record.outcome is Outcome.NOT_SENT or not record.ts_sent):
                left.pop(record.call_id, None)
        budget = self.gate.calls.budget
        assert budget.day_count(self.now) == sum(ist_day(t) == ist_day(self.now) for t in left.values())
        assert budget.minute_count(self.now) == sum(t >= self.now - 61 * SECOND for t in left.values())


def check_old_news(gate: Gate, rows: list[BrokerOrder]) -> None:
    """A row that isn't looked at again would change nothing."""
    for row in rows:
        if gate.orders.is_old_news(row):
            tag = gate.book.by_order_id[row.order_id]
            before = gate.book.orders[tag]
            assert not gate.orders.take_row(tag, row)
            assert gate.book.orders[tag] is before


def check_orders(gate: Gate, fills: list[Fill]) -> Counter[int]:
    """What works, is unknown, is pending, is not booked yet, is held; returns units held by token."""
    book = gate.book
    working = {t: o for t, o in book.orders.items() if o.state in WORKING_STATES}
    assert book.working == working
    assert book.unknown == {t: o for t, o in working.items() if o.state is OrderState.UNKNOWN}
    booked, held, pending = Counter[str](), Counter[int](), Counter[tuple[int, Side]]()
    for fill in fills:
        booked[fill.tag] += fill.quantity
        held[fill.instrument_token] += fill.side.sign * fill.quantity
    for order in working.values():
        pending[order.instrument_token, order.side] += order.pending_quantity
    missing = {t: o.side.sign * (o.filled_quantity - booked[t]) for t, o in book.orders.items()}
    assert book._unbooked == {t: n for t, n in missing.items() if n * book.orders[t].side.sign > 0}
    for tag, signed in book._unbooked.items():
        held[book.orders[tag].instrument_token] += signed
    gross = sum(f.pending * f.price for f in book.foreign.values())
    for token in TOKENS:
        bought, sold = pending[token, Side.BUY], pending[token, Side.SELL]
        assert (book.pending(token, Side.BUY), book.pending(token, Side.SELL)) == (bought, sold)
        assert {o.tag for o in book.working_in(token)} == {t for t, o in working.items() if o.instrument_token == token}
        assert book.position(token) == held[token]
        gross += max(abs(held[token] + bought), abs(held[token] - sold)) * book.last_price(token)
    assert book.open_tokens() == sorted(t for t, n in held.items() if n)
    assert book.own_tokens() == {o.instrument_token for o in book.orders.values()}
    if gate.context.now // 1_000 % 3 == 0:  # not each time, so that changes pile up between two sums
        assert book.gross_exposure == pytest.approx(gross, abs=0.01)
    return held


def check_money(gate: Gate, fills: list[Fill], held: Counter[int]) -> None:
    """MTM, realised and unrealised, charges, and the worst case."""
    book, portfolio = gate.book, gate.book.portfolio
    anew = Portfolio.replay(book.instruments, fills)
    for token in held:
        anew.mark(token, book.last_price(token))
    assert (portfolio.mtm, portfolio.realised, portfolio.charges) == (anew.mtm, anew.realised, anew.charges)
    assert portfolio.gross_pnl == sum(p.pnl for p in portfolio.positions())
    assert portfolio.realised == sum(p.realised for p in portfolio.positions())
    mtm = portfolio.mtm
    for tag, signed in book._unbooked.items():
        order = book.orders[tag]
        mtm += signed * to_paise(book.last_price(order.instrument_token) - book.fill_price(order))
    assert book.mtm == mtm
    for order in book.working.values():
        last = book.last_price(order.instrument_token)
        if order.state is OrderState.UNKNOWN and order.intent is not Intent.PROTECT and last > 0:
            mtm += min(0, order.pending_quantity * to_paise(order.side.sign * (last - order.price)))
    assert book.worst_mtm == mtm


def check_states(gate: Gate) -> None:
    """States that are remembered, and what may be left alone because nothing about it has changed."""
    book, killer = gate.book, gate.killer
    assert killer.is_armed == (killer.status.state is KillState.ARMED)
    assert gate.overrides.trading is strictest(*(o.state for o in gate.overrides._found.values()))
    asked = killer.orders_asked, gate.trades_asked, killer.positions_asked
    assert gate.ready == (min(asked) >= gate.started > 0)
    for token, hours in book._hours.items():
        assert hours == market_hours(book.instruments[token], ist_date(book.ts_event))
    for order in book.working.values():
        track = gate.orders.tracks.get(order.tag)
        if track is not None and gate.context.now <= track.rests_until and not track.cancel_wanted:
            until = (track.placed_at or order.ts_checked) + gate.limits.entry_max_age_s * SECOND
            assert order.intent is Intent.ENTRY
            assert order.state is not OrderState.UNKNOWN
            assert gate.context.now <= until
    waiting = {r.instrument_token for r in gate.pending.values()}
    for token in TOKENS:
        busy = any(o.intent is not Intent.PROTECT for o in book.working_in(token))
        if gate.ready and killer.is_armed and gate.intake.left(token) and not busy and token not in waiting:
            assert token in book.unsettled or token in gate.pursuit._undone, f"nobody looks at {token}"


def check_nothing_is_due(gate: Gate) -> None:
    """The parts that were not asked, for want of a sign that they have something to do, have nothing to do."""
    book, queries, lifecycle, now = gate.book, gate.queries, gate.lifecycle, gate.context.now
    for query in Query:
        waits = query in queries._under_way or now - queries._last < GAP_NS
        assert waits or not queries._is_due(query, now), f"{query} is due"
    assert book.awake <= book.working.keys()
    for tag in book.working.keys() - book.awake:
        order, track = book.working[tag], gate.orders.tracks[tag]
        assert order.intent is Intent.ENTRY
        assert not track.cancel_wanted
        if order.state not in (OrderState.JOURNALED, OrderState.SUBMITTING):
            assert now <= track.rests_until
            assert (track.rests_until, tag) in lifecycle._asleep
    assert lifecycle.next_due == min((until for until, _ in lifecycle._asleep), default=NEVER)
    assert ("login" in gate.overrides) == gate.calls.token_dead
    assert book.unknown.keys() >= gate.settling.asked.keys()
    assert gate.context.is_state_told
    status, told = gate.killer.status, gate._told
    assert told is not None
    assert (told.trading, told.kill, told.cause) == (gate.trading, status.state, status.cause)
    assert told.reason == (status.reason or gate.overrides.reasons)
    assert (told.ts_tripped, told.ts_flat) == (status.ts_tripped, status.ts_flat)
    assert status.state is not KillState.VERIFIED_FLAT


@pytest.mark.parametrize("seed", LIVES)
@pytest.mark.parametrize("limits", LIMITS)
def test_running_sums_are_what_adding_up_gives(limits: dict[str, Any], seed: int) -> None:
    """Also after crashes, late fills, fills after a cancel, doubled and lost messages, kills and re-arms."""
    world = AddedUp(seed, clock_offset=(seed % 7 - 3) * 170_000_000, **limits)
    world.baskets = seed % 2 == 1
    world.advance(500 * MS)
    for _ in range(100):
        world.random_step()
    assert world.steps > 200
