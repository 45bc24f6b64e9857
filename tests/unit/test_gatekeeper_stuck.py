"""What once could hold something up: a faulty part the kill, a spent minute the kill's cancels, a halt the kill's exits."""

from __future__ import annotations

import msgspec
import pytest
from gate_world import INFY, LIMITS, RELIANCE, SECOND, TOKEN, World, holding
from test_gatekeeper_protection import protected, resting
from test_gatekeeper_strays import doubled

from tradealgo.domain.orders import Intent
from tradealgo.domain.state import Action, KillState
from tradealgo.gatekeeper.messages import Kind
from tradealgo.gatekeeper.protection import Protection
from tradealgo.gatekeeper.pursuit import Pursuit


def faults(world: World) -> list[str]:
    return [r.text for k, r in world.journal if k is Kind.NOTE and r.code == "FAULT"]


def test_the_second_of_two_protective_orders_is_looked_after_like_any() -> None:
    """The first one is gone: what is left has a shape, is cancelled, and the position gets its one stop again."""
    world = protected()
    doubled(world)
    world.change(resting(world)[0], "REJECTED")
    world.advance(3 * SECOND)
    assert faults(world) == []
    assert [o.quantity for o in resting(world)] == [10]


@pytest.mark.parametrize("part", [Protection, Pursuit])
def test_a_part_that_fails_at_every_event_holds_up_no_exit_of_the_kill(
    part: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill sells and calls leave, whatever is raised before them."""

    def fail(self: object) -> None:
        raise ZeroDivisionError("broken")

    world = protected()
    monkeypatch.setattr(part, "work", fail)
    world.say(Action.KILL)
    for _ in range(10):
        world.advance(SECOND // 2)
        world.fill_some(1.0)
    assert faults(world)
    assert world.position[TOKEN] == 0
    assert world.gate.killer.status.state is KillState.LOCKED


def test_cancels_that_waited_for_the_minute_go_by_the_kills_share() -> None:
    """A halt has queued them as exits, whose calls of this minute are used up; then comes the kill."""
    limits = msgspec.structs.replace(LIMITS, orders_per_minute=14, exit_reserve_per_minute=0, kill_reserve_per_minute=9)
    world = World(limits=limits)
    world.advance(SECOND)
    world.ask(INFY, 10)
    world.advance(SECOND)
    world.fill_some(1.0)
    for target in (1, 2, 3):
        world.ask(RELIANCE, target)
        world.advance(SECOND // 2)
    world.ask(INFY, 15)
    world.advance(SECOND // 2)
    world.say(Action.HALT)
    world.advance(SECOND)
    assert world.gate.calls.waiting_for == "MINUTE"
    world.say(Action.KILL)
    for _ in range(10):
        world.advance(SECOND // 2)
        world.fill_some(1.0) if not any(o.intent is Intent.ENTRY and o.alive for o in world.orders.values()) else None
    assert world.gate.killer.status.state is KillState.LOCKED
    assert not any(world.position.values())


def test_a_halt_leaves_the_kills_exits_at_work() -> None:
    """Who asks for a halt, or stops the session, in the middle of a kill doesn't begin it anew."""
    world = holding()
    world.say(Action.KILL)
    world.advance(SECOND)
    (kill,) = [o for o in world.orders.values() if o.intent is Intent.KILL and o.alive]
    world.say(Action.HALT)
    world.advance(SECOND // 2)
    assert kill.alive
    world.fill_some(1.0)
    world.advance(2 * SECOND)
    assert world.gate.killer.status.state is KillState.LOCKED


def test_what_is_left_after_an_exit_of_a_part_keeps_its_stop() -> None:
    """A basket that gives up half says nothing of the other half's prices: those of its entry hold."""
    world = protected(20, brackets=True, protect_fraction=0.0)
    (before,) = resting(world)
    world.ask(INFY, 10, Intent.EXIT)
    for _ in range(6):
        world.advance(SECOND)
        for order in world.orders.values():
            if order.intent is Intent.EXIT:
                world.fill(order, order.quantity - order.filled)
    assert world.position[TOKEN] == 10
    (after,) = resting(world)
    assert (after.quantity, after.trigger) == (10, before.trigger)
    world.crash()
    world.advance(3 * SECOND)
    assert [(o.quantity, o.trigger) for o in resting(world)] == [(10, before.trigger)]
