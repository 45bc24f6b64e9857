"""A broker that can't be reached, or refuses the login, for long: the kill waits, keeps its budget, and goes on."""

from __future__ import annotations

from typing import Any

import pytest
from gate_world import INFY, MS, SECOND, World

from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent
from tradealgo.domain.state import Action, Beat, KillState, Module
from tradealgo.gatekeeper import messages as m
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
