"""Baskets: all legs or none; buys before sells; what has filled of a broken one is closed again."""

from __future__ import annotations

import msgspec
import pytest
from gate_world import INFY, LIMITS, RELIANCE, SECOND, START_PRICES, World

from tradealgo.domain.orders import Intent, Side, Verdict
from tradealgo.domain.state import Action, KillState
from tradealgo.gatekeeper.baskets import TABLE, Phase, Turn
from tradealgo.gatekeeper.messages import Kind

A, B = INFY.instrument_token, RELIANCE.instrument_token


def world_of(**limits: float) -> World:
    """Ready and with prices; entries wait 3 s for a fill."""
    world = World(limits=msgspec.structs.replace(LIMITS, **({"entry_max_age_s": 3.0} | limits)))
    world.advance(SECOND)
    return world


def verdicts(world: World) -> dict[str, Verdict]:
    return {r.request_id: r for k, r in world.journal if k is Kind.VERDICT}


def at_work(world: World) -> list[tuple[int, Side]]:
    return [(o.token, o.side) for o in world.orders.values() if o.alive]


def settle(world: World, seconds: int = 8) -> None:
    for _ in range(seconds):
        world.advance(SECOND)
        world.tick_all()
        world.fill_some(1.0)


def test_buying_legs_go_first_and_selling_ones_when_they_have_filled() -> None:
    """A spread: the bought wing, then the sold one."""
    world = world_of()
    name = world.ask_basket({A: -10, B: 5})
    world.advance(SECOND)
    assert at_work(world) == [(B, Side.BUY)]
    world.fill_some(1.0)
    world.advance(SECOND)
    assert at_work(world) == [(A, Side.SELL)]
    settle(world)
    assert (world.position[A], world.position[B]) == (-10, 5)
    assert name not in verdicts(world)
    world.rest()


def test_two_selling_legs_go_together() -> None:
    """A straddle."""
    world = world_of()
    world.ask_basket({A: -10, B: -5})
    world.advance(SECOND)
    assert at_work(world) == [(A, Side.SELL), (B, Side.SELL)]


def test_a_leg_that_would_be_denied_keeps_all_at_home() -> None:
    """Nothing leaves, nothing to roll back; every leg and the group say why."""
    world = world_of(max_order_value=START_PRICES[B] * 20)
    name = world.ask_basket({A: 10, B: 50})
    settle(world)
    assert world.orders == {}
    told = verdicts(world)
    assert told[name].code == "BASKET"
    assert "ORDER_VALUE" in told[name].text
    assert {v.code for v in told.values()} == {"BASKET"}


def test_a_rejected_leg_closes_what_the_other_filled() -> None:
    """The verdict says so under the group's name, with what had filled."""
    world = world_of()
    name = world.ask_basket({A: -10, B: 5})
    world.advance(SECOND)
    world.fill_some(1.0)
    world.call_fault = "reject"
    settle(world)
    world.rest()
    assert (world.position[A], world.position[B]) == (0, 0)
    told = verdicts(world)[name]
    assert told.code == "ROLLED_BACK"
    assert told.figures == {INFY.key: 0, RELIANCE.key: 5}
    exits = [o for o in world.gate.book.orders.values() if o.intent is Intent.EXIT]
    assert [(o.side, o.quantity, o.request_id[-1]) for o in exits] == [(Side.SELL, 5, "^")]


def test_a_leg_that_does_not_fill_in_time_closes_the_other() -> None:
    """It is let go, and so is the filled one."""
    world = world_of()
    world.ask_basket({A: -10, B: -5})
    world.advance(SECOND)
    order = next(o for o in world.orders.values() if o.token == A)
    world.fill(order, 10)
    for _ in range(5):
        world.advance(SECOND)
        world.tick_all()
    settle(world)
    world.rest()
    assert (world.position[A], world.position[B]) == (0, 0)


@pytest.mark.parametrize("crashes", [False, True])
def test_a_broken_basket_keeps_no_position_whose_exit_has_not_come_off(crashes: bool) -> None:
    """A short's exit is rejected, and before it is asked for again the strategy wants the short as a leg of a basket, which
    breaks: it is still got rid of. Taken for wanted, it would stay for good without the leg that was to cover it."""
    world = world_of(max_order_value=START_PRICES[B] * 20)
    world.ask(INFY, -10)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.call_fault = "reject"
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 2)
    assert world.position[A] == -10
    name = world.ask_basket({A: -10, B: 50})
    world.advance(SECOND // 10)
    assert verdicts(world)[name].code == "BASKET"
    if crashes:
        world.crash()
    settle(world)
    world.rest()
    assert (world.position[A], world.position[B]) == (0, 0)


def test_a_leg_that_is_denied_in_its_turn_keeps_no_rest_of_an_exit() -> None:
    """The buying leg has left when the selling one is denied: what an exit had left of that is got rid of as well."""
    world = world_of()
    world.ask(INFY, -10)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 10)
    leaving = next(o for o in world.orders.values() if o.alive)
    world.fill(leaving, 6)
    world.change(leaving, "CANCELLED")
    world.advance(SECOND // 10)
    name = world.ask_basket({A: -10, B: 5})
    world.advance(SECOND // 10)
    world.move_price(A, -0.1)
    world.fill_some(1.0)
    world.advance(SECOND // 10)
    assert "denied, FAT_FINGER" in verdicts(world)[name].text
    settle(world)
    world.rest()
    assert (world.position[A], world.position[B]) == (0, 0)


def test_a_leg_that_never_comes_breaks_the_group() -> None:
    """After the time that an entry may wait; the one that came is denied."""
    world = world_of()
    name = world.ask_basket({A: 10, B: 5}, missing=True)
    world.advance(2 * SECOND)
    assert name not in verdicts(world)
    settle(world)
    assert world.orders == {}
    assert "only 1 of 2 legs came" in verdicts(world)[name].text


def test_a_restart_between_two_legs_goes_on() -> None:
    """The bought leg filled while nothing ran: the sold one follows, or the bought one is closed; never one alone."""
    world = world_of()
    world.ask_basket({A: -10, B: 5})
    world.advance(SECOND)
    world.fill_some(1.0)
    world.crash()
    settle(world)
    world.rest()
    assert (world.position[A], world.position[B]) in {(-10, 5), (0, 0)}


def test_a_restart_while_rolling_back_closes_it_once() -> None:
    """The journal has the verdict and the exit: no second one."""
    world = world_of()
    name = world.ask_basket({A: -10, B: 5})
    world.advance(SECOND)
    world.fill_some(1.0)
    world.call_fault = "reject"
    world.advance(SECOND // 2)
    assert verdicts(world)[name].code == "ROLLED_BACK"
    world.crash()
    settle(world)
    world.rest()
    assert (world.position[A], world.position[B]) == (0, 0)
    assert sum(t.quantity for t in world.trades if t.side is Side.SELL) == 5


def test_a_halt_by_a_person_leaves_what_has_filled() -> None:
    """Positions stay as they are until a resume; then the rest of a broken basket is closed."""
    world = world_of()
    world.ask_basket({A: -10, B: 5})
    world.advance(SECOND)
    world.fill_some(1.0)
    world.say(Action.HALT)
    settle(world)
    assert world.position[B] == 5
    world.say(Action.RESUME)
    settle(world)
    assert world.position[B] == 0


def test_the_kill_needs_nothing_from_a_basket() -> None:
    world = world_of()
    world.ask_basket({A: -10, B: 5})
    world.advance(SECOND)
    world.fill_some(1.0)
    world.say(Action.KILL)
    settle(world)
    world.rest()
    assert world.gate.killer.status.state is KillState.LOCKED
    assert (world.position[A], world.position[B]) == (0, 0)


def test_every_open_phase_can_fail_and_no_closed_one_moves() -> None:
    """The table's shape."""
    open_phases = {Phase.GATHERING, Phase.BUYING, Phase.SELLING}
    assert {p for p, t in TABLE if t is Turn.FAIL} == open_phases
    assert not {p for p, _ in TABLE} & {Phase.WHOLE, Phase.UNDONE}
