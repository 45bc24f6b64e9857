"""An order filled in part has no average price at Kite: what its fills cost is known from the market, then from its trades."""

from __future__ import annotations

import pytest
from gate_world import INFY, LIMITS, MS, SECOND, TOKEN, World, holding

from tradealgo.domain.orders import Intent, OrderState
from tradealgo.gatekeeper import messages as m
from tradealgo.gatekeeper.kite import Query


def part(world: World, quantity: int) -> None:
    """Fill some of what works."""
    world.fill(next(o for o in world.orders.values() if o.alive), quantity)


@pytest.mark.parametrize("target", [0, 20, -10])
def test_a_partial_fill_costs_what_the_market_does(target: int) -> None:
    """An exit, an entry that adds, a turn: with the price unmoved MTM hardly moves, and nothing trips."""
    world = holding()
    world.ask(INFY, target, Intent.ENTRY if target else Intent.EXIT)
    world.advance(SECOND)
    before = world.gate.book.mtm
    part(world, 4)
    lowest = before
    for _ in range(50):
        world.advance(10 * MS, step=10 * MS)
        lowest = min(lowest, world.gate.book.mtm)
    assert lowest > before - 1_000  # Rs 10 of charges
    assert world.gate.killer.is_armed


def test_a_loss_shows_while_trades_cannot_be_read() -> None:
    """60 of 100 filled at 1,500, /trades is down, the price falls by 12 %: the kill trips at the loss line."""
    world = World(limits=LIMITS)
    world.advance(2 * SECOND)
    look = world.look
    world.look = lambda query, asked: (  # type: ignore[method-assign]
        world.give(m.QueryFailed(query=query, text="HTTP 503")) if query is Query.TRADES else look(query, asked)
    )
    world.ask(INFY, 100)
    world.advance(SECOND)
    part(world, 60)
    world.advance(SECOND)
    for _ in range(12):
        world.move_price(TOKEN, -0.01)
        world.advance(SECOND)
    assert not world.gate.book.all_booked
    assert not world.gate.killer.is_armed


def test_a_part_gets_its_average_of_its_trades() -> None:
    """Two parts at different prices, the rest cancelled: the record says what they cost, as the trades do."""
    world = World(limits=LIMITS)
    world.advance(SECOND)
    world.ask(INFY, 10)
    world.advance(SECOND)
    part(world, 4)
    world.advance(SECOND)
    world.move_price(TOKEN, -0.01)
    part(world, 3)
    world.change(next(iter(world.orders.values())), "CANCELLED")
    world.advance(SECOND)
    (order,) = world.gate.book.orders.values()
    value = sum(t.quantity * t.price for t in world.trades)
    assert (order.state, order.filled_quantity) == (OrderState.CANCELLED, 7)
    assert order.average_price == pytest.approx(value / 7, abs=0.0001)
