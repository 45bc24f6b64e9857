"""A broker that can't be reached, or refuses the login, for long: the kill waits, keeps its budget, and goes on."""

from __future__ import annotations

from typing import Any

import pytest
from gate_world import INFY, MS, SECOND, World

from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, Side
from tradealgo.domain.state import Action, Beat, KillState, Module
from tradealgo.gatekeeper import messages as m
from tradealgo.gatekeeper.kite import Query
from tradealgo.gatekeeper.messages import Outcome
from tradealgo.gatekeeper.shell import beat_state
from tradealgo.sentinel.core import is_denied


class Outage(World):
    """While `outcome` is set every call ends with it, and no question is answered."""

    outcome: Outcome | None = None
    sent = True
    calls = 0

    def launch(self, call: m.Call) -> None:
        self.calls += 1
        if self.outcome is None:
            return super().launch(call)
        return self.answer(call, self.outcome, 1 * MS, self.now if self.sent else 0)

    def look(self, query: Any, asked: int) -> None:
        self.query_fails = self.outcome is not None
        super().look(query, asked)

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.advance(SECOND, step=200 * MS)
            self.tick_all()
            self.fill_some(1.0)

    def alerts(self) -> list[str]:
        return [r.code for k, r in self.journal if k is m.Kind.ALERT and not r.resolved]


def holding(limits: Limits | None = None) -> Outage:
    """A world that holds 10 of INFY."""
    world = Outage(3, limits)
    world.pass_time(2)
    world.ask(INFY, 10)
    world.pass_time(3)
    assert world.position[INFY.instrument_token] == 10
    return world


@pytest.mark.parametrize(
    ("outcome", "sent"), [(Outcome.NOT_SENT, True), (Outcome.TOKEN_DEAD, True), (Outcome.TOKEN_DEAD, False)]
)
def test_an_outage_leaves_the_kill_its_budget(outcome: Outcome, sent: bool) -> None:
    """Ten minutes without a connection or a login: few calls, none of them counted that never left; then flat."""
    world = holding()
    before, counted = world.calls, world.gate.calls.budget.day_count(world.now)
    world.outcome, world.sent = outcome, sent
    world.say(Action.KILL)
    world.pass_time(600)
    assert 0 < world.calls - before <= 130
    reached = world.calls - before if outcome is Outcome.TOKEN_DEAD and sent else 0
    assert world.gate.calls.budget.day_count(world.now) == counted + reached
    if outcome is Outcome.TOKEN_DEAD:
        assert world.calls == before + 1
        assert world.gate.calls.waiting_for == "LOGIN"
    world.start_gate()
    assert world.gate.calls.budget.day_count(world.now) == counted + reached
    world.outcome = None
    world.pass_time(15)
    assert world.gate.killer.status.state is KillState.LOCKED
    assert not world.position[INFY.instrument_token]


def test_the_day_s_budget_never_holds_up_the_kill() -> None:
    """Every call of the day is used up: an exit waits, and a person hears of it; the kill goes to the broker."""
    world = holding(Limits(orders_per_day=1, exit_reserve_per_day=0))
    world.ask(INFY, 0, Intent.EXIT)
    world.pass_time(5)
    assert world.position[INFY.instrument_token] == 10
    assert "BUDGET" in world.alerts()
    world.say(Action.KILL)
    world.pass_time(5)
    assert world.gate.killer.status.state is KillState.LOCKED
    assert not world.position[INFY.instrument_token]


def test_a_refused_token_is_said_in_the_beat() -> None:
    """So that the Sentinel, which takes notice of DENIED, logs in again; a good answer ends it."""
    world = holding()
    assert beat_state(world.gate) == "READY"
    world.outcome = Outcome.TOKEN_DEAD
    world.ask(INFY, 0, Intent.EXIT)
    world.pass_time(2)
    beat = Beat(module=Module.GATEKEEPER, pid=1, ts=2, state=beat_state(world.gate))
    assert is_denied(beat, since=1)
    world.outcome = None
    world.pass_time(8)
    assert beat_state(world.gate) == "READY"
    assert not world.position[INFY.instrument_token]


@pytest.mark.parametrize("unread", [Query.ORDERS, Query.TRADES, Query.POSITIONS])
def test_after_a_restart_the_kill_needs_positions_alone(unread: Query) -> None:
    """One of the broker's books can't be read: after five seconds the exits leave, and a person is told. Unseen nothing is
    sold. Flat is said once the book is back.
    """
    world = holding()
    world.unread = unread
    world.crash()
    world.pass_time(1)
    world.say(Action.KILL)
    world.pass_time(3)
    assert world.position[INFY.instrument_token] == 10
    world.pass_time(7)
    assert world.position[INFY.instrument_token] == (10 if unread is Query.POSITIONS else 0)
    assert ("KILL_BLIND" if unread is Query.POSITIONS else "KILL_UNREAD") in world.alerts()
    assert (world.gate.killer.status.state is KillState.LOCKED) == (unread is Query.TRADES)
    world.unread = None
    world.pass_time(15)
    assert world.gate.killer.status.state is KillState.LOCKED
    assert world.position[INFY.instrument_token] == 0


@pytest.mark.parametrize("unread", [Query.ORDERS, Query.TRADES])
def test_a_kill_without_a_book_sells_no_more_than_the_account_holds(unread: Query) -> None:
    """Four of ten were closed by hand while the process was dead; positions lag, exits fill in parts."""
    world = holding()
    world.unread, world.lag = unread, 1 * SECOND
    world.position[INFY.instrument_token] -= 4
    world.crash()
    world.say(Action.KILL)
    for _ in range(60):
        world.advance(SECOND // 2, step=50 * MS)
        world.tick_all()
        world.fill_some(0.5)  # insists that no exit raises risk
    assert world.position[INFY.instrument_token] == 0


def test_a_kill_without_a_book_leaves_an_exit_of_unknown_fate_alone() -> None:
    """Its answer was lost with the process: it may fill yet, so no second one leaves while the orders can't be read."""
    world = holding()
    world.message_fault, world.call_fault = "drop", "timeout_after_accept"
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 10)
    world.unread = Query.ORDERS
    world.crash()
    world.say(Action.KILL)
    world.advance(12 * SECOND)
    assert sum(o.side is Side.SELL for o in world.orders.values()) == 1
    world.rest()
    assert world.position[INFY.instrument_token] == 0
