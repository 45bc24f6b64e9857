"""Orders that the broker's book shows twice, no more, or never: none is sent again, none is lost, none holds up the kill."""

from __future__ import annotations

from gate_world import INFY, SECOND, TOKEN, BrokerSide, World, holding
from test_gatekeeper_account import alerts, run

from tradealgo.domain.orders import Intent, OrderState, Side
from tradealgo.domain.state import Action, KillState, TradingState
from tradealgo.gatekeeper.messages import BrokerTrade, OrdersSeen, TradesSeen


def doubled(world: World) -> BrokerSide:
    """The broker made a second order of the last call."""
    first = list(world.orders.values())[-1]
    second = BrokerSide(world.gate.book.orders[first.tag], f"{first.order_id}x", world.now)
    world.orders[second.order_id] = second
    world.tell(second)
    return second


def test_the_fills_of_a_second_order_under_one_tag_are_ours() -> None:
    """Booked, told, entries stopped also after a restart; a kill flattens both."""
    world = holding()
    world.fill(doubled(world), 10)
    world.advance(SECOND // 2)
    assert world.gate.book.position(TOKEN) == world.position[TOKEN] == 20
    assert any(code.startswith("DOUBLED:") for code in world.gate.context.raised)
    world.crash()
    world.advance(3 * SECOND)
    assert world.gate.book.position(TOKEN) == 20
    assert world.gate.trading is TradingState.REDUCING
    world.say(Action.KILL)
    run(world, 10)
    assert world.position[TOKEN] == 0
    assert world.gate.killer.status.state is KillState.LOCKED
    world.rest()


def test_a_second_order_that_works_is_cancelled() -> None:
    """Before it fills."""
    world = holding()
    second = doubled(world)
    world.advance(2 * SECOND)
    assert second.status == "CANCELLED"
    world.say(Action.RESUME)
    world.advance(SECOND)
    assert world.gate.trading is TradingState.ACTIVE
    assert world.gate.book.position(TOKEN) == 10


def test_an_exit_confirmed_absent_is_asked_for_under_a_new_tag() -> None:
    """Should the first turn up after all, there is one order a tag, and the position is what it should be."""
    world = holding()
    world.call_fault = "timeout_before"
    world.ask(INFY, 0, Intent.EXIT)
    run(world, 25)
    assert world.position[TOKEN] == 0
    exits = [o for o in world.gate.book.orders.values() if o.intent is Intent.EXIT]
    assert [o.state for o in exits] == [OrderState.EXPIRED, OrderState.FILLED]
    assert exits[0].tag != exits[1].tag
    world.rest()


def test_an_order_that_vanished_does_not_hold_up_the_kill() -> None:
    """An entry on the side that the kill's exit would trade with is gone from the book, and its cancel is refused."""
    world = holding()
    world.ask(INFY, 15)
    world.advance(SECOND // 2)
    ghost = next(o for o in world.orders.values() if o.alive)
    ghost.shows_at, ghost.status = world.now + 3_600 * SECOND, "GONE"
    world.say(Action.KILL)
    run(world, 25)
    assert world.gate.book.orders[ghost.tag].state is OrderState.EXPIRED
    assert alerts(world, f"MISSING:{ghost.tag}")
    assert world.position[TOKEN] == 0
    assert world.gate.killer.status.state is KillState.LOCKED


def test_an_order_that_comes_back_is_adopted() -> None:
    """The book was cut short for a while: the exit in it still works, and fills."""
    world = holding()
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 2)
    order = next(o for o in world.orders.values() if o.side is Side.SELL)
    order.shows_at, order.status = world.now + 3_600 * SECOND, "GONE"
    world.advance(14 * SECOND)
    assert world.gate.book.orders[order.tag].state is OrderState.EXPIRED
    order.shows_at, order.status = 0, "OPEN"
    world.fill(order, order.quantity)
    world.advance(SECOND)
    assert world.gate.book.orders[order.tag].state is OrderState.FILLED
    run(world, 10)
    assert world.position[TOKEN] == 0
    world.rest()


def test_a_rejected_order_that_filled_after_all_is_over_again_with_the_next_book() -> None:
    """The book says word for word what it said before the fill: it isn't old news of an order that works again."""
    world = World()
    world.advance(SECOND)
    world.ask(INFY, 10)
    world.advance(SECOND)
    (order,) = world.orders.values()
    world.change(order, "REJECTED")
    world.advance(2 * SECOND)
    tag, refused = order.tag, order.row()
    assert world.gate.orders.is_old_news(refused)
    filled = BrokerTrade(
        trade_id="late", order_id=order.order_id, instrument=INFY.key, instrument_token=TOKEN, side=Side.BUY,
        quantity=4, price=order.price, product="MIS", ts=world.now,
    )  # fmt: skip
    world.gate.handle(TradesSeen(rows=[filled], asked=world.now), world.now)
    assert world.gate.book.orders[tag].state is OrderState.PARTIALLY_FILLED
    world.gate.handle(OrdersSeen(rows=[refused], asked=world.now), world.now)
    assert world.gate.book.orders[tag].state is OrderState.CANCELLED
    assert world.gate.book.position(TOKEN) == 4
