"""An order whose fate can't be found out waits, at its worst, for a person; what that person says is in the journal."""

from __future__ import annotations

import msgspec
import pytest
from gate_world import INFY, LIMITS, SECOND, TOKEN, BrokerSide, World
from test_gatekeeper_account import alerts, run

from tradealgo.domain.orders import Order, OrderState, Side
from tradealgo.domain.state import Action, Control, KillState, TradingState
from tradealgo.gatekeeper import messages as m


def unsettled(found: bool = True) -> tuple[World, Order]:
    """An entry whose answer was lost; the broker shows one like it without a tag, or can't be read at all."""
    world = World(limits=LIMITS)
    world.advance(SECOND)
    world.call_fault, world.message_fault = "timeout_before", "drop"
    world.ask(INFY, 10)
    world.advance(SECOND)
    (order,) = world.gate.book.orders.values()
    if found:
        alike = BrokerSide(msgspec.structs.replace(order, tag=""), "B77", world.now)
        world.orders[alike.order_id] = alike
    else:
        world.query_fails = True
    for _ in range(50):
        world.advance(SECOND)
        world.tick_all()
    return world, world.gate.book.orders[order.tag]


def say(world: World, tag: str, found: str = "", reason: str = "seen in the terminal") -> None:
    control = Control(action=Action.SETTLE, source="cli", reason=reason, order=tag, found=found)
    world.controls.append(control)
    world.give(m.ControlReceived(control=control, entry_id=f"{len(world.controls)}-0"))
    world.advance(SECOND)


def open_alerts(world: World) -> set[str]:
    """The codes of the alerts about orders that nobody has ended."""
    said = {
        r.code: r.resolved for k, r in world.journal if k is m.Kind.ALERT and r.code.startswith(("UNKNOWN:", "SETTLE:"))
    }
    return {code for code, resolved in said.items() if not resolved}


@pytest.mark.parametrize("found", [True, False], ids=["lookalike", "unreadable"])
def test_a_person_is_asked_and_nothing_is_entered(found: bool) -> None:
    """UNKNOWN still, counted at its worst; trading is REDUCING and says why; shown in the figures."""
    world, order = unsettled(found)
    assert order.state is OrderState.UNKNOWN
    assert world.gate.trading is TradingState.REDUCING
    assert order.tag in world.gate.overrides.reasons
    assert len(alerts(world, f"SETTLE:{order.tag}")) == 1
    assert open_alerts(world) == {f"SETTLE:{order.tag}", f"UNKNOWN:{order.tag}"}
    assert world.gate.figures()["orders_to_settle"] == 1
    assert world.gate.book.worst_quantity(TOKEN) >= 10


def test_it_is_not_there() -> None:
    """Given up; entries may go again; who said it is in the order's own text."""
    world, order = unsettled()
    say(world, order.tag[:6])
    settled = world.gate.book.orders[order.tag]
    assert settled.state is OrderState.EXPIRED
    assert settled.text == "settled by cli: seen in the terminal"
    assert open_alerts(world) == set()
    assert world.gate.trading is TradingState.ACTIVE
    assert world.gate.figures()["orders_to_settle"] == 0


def test_it_is_there_under_another_name() -> None:
    """Adopted by its order id: its fill is ours, and isn't anybody else's any more."""
    world, order = unsettled()
    say(world, order.tag, "B77")
    assert world.gate.book.orders[order.tag].state is OrderState.OPEN
    assert world.gate.book.foreign == {}
    assert open_alerts(world) == set()
    world.orders["B77"].tag = order.tag  # for the world's own comparison
    world.message_fault = "ok"
    run(world, 3)
    assert world.gate.book.position(TOKEN) == world.position[TOKEN] == 10


@pytest.mark.parametrize(
    ("tag", "found", "reason", "text"),
    [
        ("", "", "x", "0 orders of unknown fate"),
        ("T", "", " ", "takes a reason"),
        ("T", "B99", "x", "has no order B99"),
        ("T", "B78", "x", "another one"),
    ],
)
def test_what_can_not_be_is_refused(tag: str, found: str, reason: str, text: str) -> None:
    """Nothing changes, and the refusal says why."""
    world, order = unsettled()
    other = BrokerSide(msgspec.structs.replace(order, tag="", side=Side.SELL), "B78", world.now)
    world.orders[other.order_id] = other
    world.advance(2 * SECOND)
    say(world, tag, found, reason)
    assert world.gate.book.orders[order.tag].state is OrderState.UNKNOWN
    assert any(text in r.text for k, r in world.journal if k is m.Kind.ALERT)


def test_a_restart_asks_again() -> None:
    """The question isn't lost; nor is an answer given meanwhile."""
    world, order = unsettled()
    world.crash()
    for _ in range(50):
        world.advance(SECOND)
        world.tick_all()
    assert world.gate.figures()["orders_to_settle"] == 1
    say(world, order.tag)
    world.crash()
    world.advance(3 * SECOND)
    assert world.gate.book.orders[order.tag].state is OrderState.EXPIRED


def test_the_kill_does_not_wait_for_a_person() -> None:
    """It has the broker's positions to prove flat by."""
    world, _ = unsettled()
    world.orders["B77"].status = "CANCELLED"
    world.say(Action.KILL)
    run(world, 20)
    assert world.gate.killer.status.state is KillState.LOCKED
