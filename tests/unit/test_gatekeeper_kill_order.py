"""In which order the kill's calls leave, and how soon it goes on after a call that was lost on its way."""

from __future__ import annotations

import pytest
from gate_world import CALL, INFY, RELIANCE, SECOND, WING, World

from tradealgo.domain.instruments import Instrument
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, OrderState, Side
from tradealgo.domain.state import Action, KillState
from tradealgo.gatekeeper.messages import Call, CallKind

LIMITS = Limits(stale_price_s=600.0, entry_max_age_s=60.0)


def calls_of(world: World) -> list[Call]:
    """Every call from here on, as it leaves."""
    left: list[Call] = []
    launch = world.launch
    world.launch = lambda call: (left.append(call), launch(call))[1]  # type: ignore[method-assign]
    return left


def holding(world: World) -> None:
    """Long 10 INFY."""
    world.advance(SECOND)
    world.ask(INFY, 10)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.advance(SECOND)
    assert world.position[INFY.instrument_token] == 10


def test_what_is_held_is_sold_before_the_last_entries_are_cancelled() -> None:
    """More cancels than a second has calls: the held instrument's go first, then its exit, then the rest."""
    world = World(limits=LIMITS)
    holding(world)
    for target in range(1, 19):
        world.ask(RELIANCE, target)
        world.advance(SECOND // 4)
    world.ask(INFY, 15)
    world.advance(2 * SECOND)
    assert sum(o.alive for o in world.orders.values()) == 19
    left = calls_of(world)
    world.say(Action.KILL)
    for _ in range(8):
        world.advance(SECOND // 2)
        world.fill_some(1.0) if any(c.kind is CallKind.PLACE for c in left) else None
    assert world.gate.killer.status.state is KillState.LOCKED
    tokens = [(c.kind, c.order.instrument_token) for c in left]
    assert tokens[0] == (CallKind.CANCEL, INFY.instrument_token)
    exit_at = tokens.index((CallKind.PLACE, INFY.instrument_token))
    assert exit_at < len(tokens) - 5, "the exit waited for cancels that have nothing to do with it"
    assert not any(world.position.values())


def test_what_is_short_is_bought_back_before_hedges_are_sold() -> None:
    """Whatever their tokens: the broker asks more margin for a short position that stands alone."""
    world = World(limits=LIMITS)
    holding(world)
    assert INFY.instrument_token < RELIANCE.instrument_token
    world.ask(RELIANCE, -5)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.advance(SECOND)
    assert world.position[RELIANCE.instrument_token] == -5
    left = calls_of(world)
    world.say(Action.KILL)
    for _ in range(4):
        world.advance(SECOND // 2)
        world.fill_some(1.0)
    placed = [(c.order.instrument, c.order.side) for c in left if c.kind is CallKind.PLACE]
    assert placed == [(RELIANCE.key, Side.BUY), (INFY.key, Side.SELL)]
    assert world.gate.killer.status.state is KillState.LOCKED


def spread() -> World:
    """A call sold, and a farther one bought that covers it."""
    world = World(limits=LIMITS)
    world.advance(SECOND)
    world.ask_basket({CALL.instrument_token: -65, WING.instrument_token: 65})
    for _ in range(3):
        world.advance(SECOND)
        world.fill_some(1.0)
    world.advance(SECOND)
    assert (world.position[CALL.instrument_token], world.position[WING.instrument_token]) == (-65, 65)
    return world


def fill_wing(world: World) -> None:
    """The market takes whatever is asked of the wing."""
    for order in [o for o in world.orders.values() if o.alive and o.token == WING.instrument_token]:
        world.fill(order, order.quantity - order.filled)


@pytest.mark.parametrize("first", [CALL, WING])
def test_a_cover_is_sold_when_what_it_covers_is_bought_back(first: Instrument) -> None:
    """In whichever order a strategy asks, also while the buying back is refused time and again."""
    world = spread()
    world.call_fault = "reject"
    for instrument in (first, WING if first is CALL else CALL):
        world.ask(instrument, 0, Intent.EXIT)
    for _ in range(7):
        world.call_fault = "reject"
        world.advance(SECOND)
        world.tick_all()
        fill_wing(world)
        assert world.position[WING.instrument_token] == 65, "the wing was sold, and the sold call stands naked"
    told = f"COVER:{WING.instrument_token}"
    assert told in world.gate.context.raised
    world.call_fault = "ok"
    for _ in range(40):
        world.advance(SECOND)
        world.tick_all()
        world.fill_some(1.0)
    assert not any(world.position.values())
    assert told not in world.gate.context.raised


def test_a_rolled_back_basket_keeps_its_cover_too() -> None:
    """A third leg fails: what has filled is closed, the sold call first."""
    world = World(limits=LIMITS)
    world.advance(SECOND)
    world.ask_basket({CALL.instrument_token: -65, WING.instrument_token: 65, INFY.instrument_token: -10})
    world.advance(SECOND)
    world.fill_some(1.0)
    world.advance(SECOND)
    for order in [o for o in world.orders.values() if o.alive]:
        world.fill(order, order.quantity) if order.token == CALL.instrument_token else world.change(order, "REJECTED")
    world.advance(SECOND)
    fill_wing(world)
    assert (world.position[CALL.instrument_token], world.position[WING.instrument_token]) == (-65, 65)
    for _ in range(5):
        world.fill_some(1.0)
        world.advance(SECOND)
    assert not any(world.position.values())


def test_the_kill_keeps_a_cover_for_some_seconds_only() -> None:
    """Flat is what it must come to."""
    world = spread()
    world.call_fault = "reject"
    world.say(Action.KILL)
    world.advance(2 * SECOND)
    fill_wing(world)
    assert world.position[WING.instrument_token] == 65
    for _ in range(10):
        world.call_fault = "ok"
        world.advance(SECOND)
        fill_wing(world)
    assert world.position[WING.instrument_token] == 0
    world.fill_some(1.0)
    world.advance(5 * SECOND)
    assert world.gate.killer.status.state is KillState.LOCKED


@pytest.mark.parametrize("intent", [Intent.KILL, Intent.ENTRY])
def test_a_lost_call_is_given_up_as_soon_as_it_can_be(intent: Intent) -> None:
    """Not before an order could still turn up in the book, and within a second after."""
    world = World(limits=LIMITS)
    holding(world)
    left = calls_of(world)
    world.call_fault = "timeout_before"
    world.say(Action.KILL) if intent is Intent.KILL else world.ask(INFY, 15)
    world.advance(SECOND // 2)
    (lost,) = left
    for _ in range(60):
        if world.gate.book.orders[lost.order.tag].state is OrderState.EXPIRED:
            break
        world.advance(SECOND // 4)
    took = (world.now - lost.admitted) / SECOND
    assert LIMITS.absence_s <= took <= LIMITS.absence_s + 1.0
    assert LIMITS.absence_s >= LIMITS.call_timeout_s + 8.0
