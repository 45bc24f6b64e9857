"""The broker's positions may be behind its orders, and its messages behind both: own fills are never taken for others' trades."""

from __future__ import annotations

from typing import Any

import pytest
from gate_world import INFY, LIMITS, MS, SECOND, TOKEN, BrokerSide, World, holding

from tradealgo.domain.orders import Intent, Side
from tradealgo.domain.state import Action, KillState
from tradealgo.gatekeeper.messages import CallKind, Kind, OrderSeen


def run(world: World, seconds: float) -> None:
    """Time passes, and what rests at the broker fills."""
    for _ in range(int(seconds * 2)):
        world.advance(SECOND // 2)
        world.tick_all()
        world.fill_some(1.0)


def codes(world: World) -> set[str]:
    """Alerts that were raised."""
    return {r.code for k, r in world.journal if k is Kind.ALERT and not r.resolved}


def killed_as_an_entry_fills(seed: int, lag: int) -> World:
    """The entry fills as its cancel arrives."""
    world = World(seed, limits=LIMITS)
    world.alone, world.lag = lag <= 2_500 * MS, lag
    world.advance(3 * SECOND + seed * 7 * MS)
    world.tick_all()
    world.ask(INFY, 10)
    world.advance(SECOND // 2)
    world.call_fault = "cancel_crosses_fill"
    world.say(Action.KILL)
    return world


@pytest.mark.parametrize("lag", [0, 500 * MS, 2_500 * MS])
@pytest.mark.parametrize("seed", range(5))
def test_a_kill_waits_for_positions_that_lag(seed: int, lag: int) -> None:
    """The world insists that VERIFIED_FLAT is said only of a flat account; nobody is called in vain."""
    world = killed_as_an_entry_fills(seed, lag)
    run(world, 12)
    assert world.position[TOKEN] == 0
    assert world.gate.killer.status.state is KillState.LOCKED
    assert world.flat_proofs == 1
    assert codes(world) == {"KILL"}


@pytest.mark.parametrize("seed", range(3))
def test_a_lock_is_undone_by_a_later_look(seed: int) -> None:
    """Positions that lag by eight seconds prove what isn't so: what they show at last is told and sold."""
    world = killed_as_an_entry_fills(seed, 8 * SECOND)
    check: Any = world.check_record
    world.check_record = lambda r: None if getattr(r.message, "kill", "") is KillState.VERIFIED_FLAT else check(r)  # type: ignore[method-assign]
    run(world, 5)
    assert world.gate.killer.status.state is KillState.LOCKED
    run(world, 25)
    assert world.position[TOKEN] == 0
    assert world.gate.killer.status.state is KillState.LOCKED
    assert "KILL_AGAIN" in codes(world)


@pytest.mark.parametrize("lag", [0, 1_000 * MS])
def test_the_usual_kill_waits_no_longer_than_positions_lag(lag: int) -> None:
    """Its own exits fill; then it looks until positions say so, and calls nobody."""
    world = holding()
    world.advance(4 * SECOND)
    world.lag = lag
    world.say(Action.KILL)
    world.advance(SECOND // 2)
    world.fill_some(1.0)
    assert world.position[TOKEN] == 0
    world.advance(SECOND + lag)
    assert world.gate.killer.status.state is KillState.LOCKED
    assert codes(world) == {"KILL"}


def test_an_exit_right_after_its_entry_leaves_whole() -> None:
    """Positions that don't show the entry yet don't hold it up."""
    world = World(limits=LIMITS)
    world.alone, world.lag = True, 2 * SECOND
    world.advance(SECOND)
    world.ask(INFY, 10)
    world.advance(SECOND // 2)
    world.fill_some(1.0)
    world.advance(SECOND)
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 2)
    world.fill_some(1.0)
    assert world.position[TOKEN] == 0


@pytest.mark.parametrize("delay", [20 * MS, 200 * MS, 800 * MS])
@pytest.mark.parametrize("kill", [False, True])
def test_a_working_exit_is_not_taken_for_too_much(kill: bool, delay: int) -> None:
    """It fills bit by bit, positions show each part before its message does: never cancelled, never given up."""
    world = holding(40)
    world.alone = True

    def tell(order: BrokerSide) -> None:
        row = order.row()
        world.later(delay, lambda: world.give(OrderSeen(row)), to_gate=True)

    world.tell = tell  # type: ignore[method-assign]
    if kill:
        world.say(Action.KILL)
    else:
        world.ask(INFY, 0, Intent.EXIT)
    for _ in range(80):
        world.advance(333 * MS)
        world.tick_all()
        for order in [o for o in world.orders.values() if o.alive and o.side is Side.SELL]:
            world.fill(order, 1)
    assert world.position[TOKEN] == 0
    assert not [r for k, r in world.journal if k is Kind.CALL and r.kind is CallKind.CANCEL]
    assert codes(world) <= {"KILL"}
