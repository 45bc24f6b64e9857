"""Hypothesis drives the Gatekeeper's core and a faulty broker through any order of events, and shrinks what breaks it.

A step is an event that the core takes; the invariants are checked at every command that comes of it. At least 20,000
steps here, a million and more in `make soak`. Each run draws anew: what breaks is printed as a program of rules and as
`--hypothesis-seed=…`, and kept in `.hypothesis/` to be tried first the next time.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any, ClassVar

import pytest
from gate_world import CALL_FAULTS, CRASHES, INSTRUMENTS, LAGS, MESSAGE_FAULTS, MS, World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tradealgo.domain.orders import Intent
from tradealgo.domain.state import Action, KillState
from tradealgo.gatekeeper import messages as m
from tradealgo.gatekeeper.kite import Query

SOAK = bool(os.environ.get("TRADEALGO_SOAK"))
DONE: Counter[str] = Counter()
RAN: set[type] = set()


class GateMachine(RuleBasedStateMachine):
    """Rules of `gate_world.World`; the world checks the invariants at every command, and at the end the books."""

    limits: ClassVar[dict[str, Any]] = {}  # other than the world's own

    def __init__(self) -> None:
        super().__init__()
        self.world: World

    @initialize(seed=st.integers(0, 2**16), offset=st.sampled_from((-400, 0, 170, 499)))
    def begin(self, seed: int, offset: int) -> None:
        self.world = World(seed, clock_offset=offset * MS, **self.limits)
        self.world.alone = True
        self.world.advance(300 * MS)

    @rule(instrument=st.sampled_from(INSTRUMENTS), lots=st.integers(-30, 30))
    def ask(self, instrument, lots):
        """A strategy changes its target."""
        self.world.ask(instrument, lots * instrument.lot_size, Intent.ENTRY if lots else Intent.EXIT)

    @rule(data=st.data())
    def ask_again(self, data):
        """A restarted Consumer, or an entry that wasn't acknowledged."""
        if self.world.requests:
            self.world.give(m.RequestReceived(data.draw(st.sampled_from(self.world.requests))))

    @rule(fault=st.sampled_from(CALL_FAULTS))
    def next_call_goes(self, fault):
        self.world.call_fault = fault

    @rule(fault=st.sampled_from(MESSAGE_FAULTS))
    def messages_go(self, fault):
        self.world.message_fault = fault

    @rule(lag=st.sampled_from(LAGS))
    def positions_lag(self, lag):
        self.world.lag = lag

    @rule(fails=st.booleans())
    def questions_fail(self, fails):
        self.world.query_fails = fails

    @rule(query=st.sampled_from((None, *Query)))
    def one_book_fails(self, query):
        self.world.unread = query

    @rule(at=st.sampled_from(CRASHES))
    def crash(self, at):
        """At the next thing that is worth a record."""
        self.world.crash_next = at

    @rule(ms=st.sampled_from((1, 20, 200, 1_000, 4_000)))
    def wait(self, ms):
        self.world.tick_all()
        self.world.advance(ms * MS)

    @rule(fraction=st.sampled_from((0.3, 1.0)))
    def market_fills(self, fraction):
        self.world.fill_some(fraction)

    @rule(instrument=st.sampled_from(INSTRUMENTS), move=st.sampled_from((-0.08, -0.01, 0.004, 0.02)))
    def price_moves(self, instrument, move):
        self.world.move_price(instrument.instrument_token, move)

    @rule(action=st.sampled_from((Action.KILL, Action.HALT, Action.RESUME, Action.ALIVE)))
    def person_says(self, action):
        self.world.say(action)

    @precondition(lambda self: self.world.gate.killer.status.state is KillState.LOCKED)
    @rule()
    def rearm(self):
        """Asked for, and then insisted on."""
        self.world.say(Action.REARM)
        self.world.say(Action.REARM, force=True)

    @rule(up=st.booleans())
    def bus(self, up):
        self.world.give(m.BusChanged(up))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.rest()
            DONE["steps"] += self.world.steps
            DONE["lives"] += 1
            RAN.add(type(self))


class ProtectedMachine(GateMachine):
    """The same with protective orders at the broker: the strategy's stops and targets, else a stop at 2 %."""

    limits: ClassVar[dict[str, Any]] = {"protect_fraction": 0.02, "brackets": True}


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
    )


GateMachine.TestCase.settings = _settings(3_000 if SOAK else 200)
ProtectedMachine.TestCase.settings = _settings(3_000 if SOAK else 100)
TestGateMachine = GateMachine.TestCase
TestProtectedMachine = ProtectedMachine.TestCase


def test_the_machines_went_far_enough(capsys: pytest.CaptureFixture[str]) -> None:
    """The steps of the machines that ran in this process, printed: another worker may have had one or both."""
    if not DONE:
        pytest.skip("no machine ran before this")
    with capsys.disabled():
        print(f" {DONE['steps']:,} steps in {DONE['lives']:,} lives ", end="")
    lives = sum(machine.TestCase.settings.max_examples for machine in RAN)
    assert DONE["lives"] >= lives
    assert DONE["steps"] >= lives * (
        1_000_000 / 6_000 if SOAK else 20_000 / 300
    )  # some 250 a life, by chance also half
