"""A second kill after a re-arm with no trade in between proves flat anew."""

from __future__ import annotations

from gate_world import INFY, SECOND, World

from tradealgo.domain.state import Action, KillState
from tradealgo.gatekeeper import messages as m
from tradealgo.gatekeeper.kite import Query


def test_a_second_kill_without_a_trade_asks_the_broker_again() -> None:
    """The first kill's proof is not the second's: it locks, and only on answers asked for after it tripped."""
    world = World()
    world.advance(SECOND)
    world.ask(INFY, 10)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.say(Action.KILL)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.rest()
    assert world.gate.killer.status.state is KillState.LOCKED
    world.say(Action.REARM)
    assert world.gate.killer.is_armed
    placed = len(world.orders)
    asked: list[Query] = []
    launch = world.launch_query
    world.launch_query = lambda query: (asked.append(query), launch(query))[1]  # type: ignore[method-assign]
    world.query_fails = True
    world.say(Action.KILL)
    world.advance(2 * SECOND)
    assert world.gate.killer.status.state is KillState.FLATTENING  # nothing heard, nothing proven
    world.query_fails = False
    world.advance(10 * SECOND)
    assert world.gate.killer.status.state is KillState.LOCKED
    assert {Query.ORDERS, Query.POSITIONS} <= set(asked)
    assert len(world.orders) == placed
    tripped = world.gate.killer.status.ts_tripped
    proven = [r for k, r in world.journal if k is m.Kind.STATE and r.kill is KillState.VERIFIED_FLAT]
    assert len(proven) == 2
    assert min(world.gate.killer.orders_asked, world.gate.killer.positions_asked) > tripped
