"""An exit that doesn't come off leaves a position that the strategy believes closed: it is told, and asked for again."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from gate_world import INFY, SECOND, TOKEN, World, holding

from tradealgo.domain.orders import Intent, OrderState, Side
from tradealgo.domain.state import Action, Alert, KillState, TradingState
from tradealgo.gatekeeper.kite import BrokerTrade
from tradealgo.gatekeeper.messages import Kind, PricesSeen


def alerts(world: World, code: str) -> list[Alert]:
    return [r for k, r in world.journal if k is Kind.ALERT and r.code == f"{code}:{TOKEN}"]


def exits(world: World) -> list[Any]:
    """Exit orders in their last shape, oldest first."""
    return [o for o in world.gate.book.orders.values() if o.intent is Intent.EXIT]


def refuse(world: World, seconds: float, fault: str = "reject") -> None:
    """Every call of the next seconds goes wrong so."""
    for _ in range(int(seconds * 4)):
        world.call_fault = fault
        world.advance(SECOND // 4)
    world.call_fault = "ok"


@pytest.mark.parametrize("fault", ["reject", "reject_later"])
def test_a_rejected_exit_is_told_and_asked_for_again(fault: str) -> None:
    """By the call's answer or by the exchange later: one alert with instrument, quantity and text; then flat, and resolved."""
    world = holding()
    world.call_fault = fault
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 2)
    raised = alerts(world, "EXIT")
    assert [a.level for a in raised] == ["CRITICAL"]
    assert "10 NSE:INFY" in raised[0].text
    assert "REJECTED" in raised[0].text
    world.move_price(TOKEN, 0.01)
    world.advance(2 * SECOND)
    world.fill_some(1.0)
    world.advance(SECOND)
    first, second = exits(world)
    assert first.tag != second.tag
    assert second.price > first.price  # at today's price
    assert world.position[TOKEN] == 0
    assert [a.resolved for a in alerts(world, "EXIT")] == [False, True]
    assert world.gate.trading is TradingState.ACTIVE


def test_waits_grow_and_then_a_person_is_needed() -> None:
    """Five more tries, each later than the one before, then REDUCING with the alert standing; RESUME tries again."""
    world = holding()
    world.call_fault = "reject"
    world.ask(INFY, 0, Intent.EXIT)
    refuse(world, 70)
    times = [o.ts_checked for o in exits(world)]
    gaps = [(b - a) / SECOND for a, b in itertools.pairwise(times)]
    assert len(times) == 6
    assert all(later > sooner * 0.9 for sooner, later in itertools.pairwise(gaps)), gaps
    assert gaps[-1] >= 8
    assert world.gate.trading is TradingState.REDUCING
    assert len(alerts(world, "EXIT_GIVEN_UP")) == 1
    world.crash()  # a restart forgets neither the tries nor the state
    refuse(world, 5)
    assert len(exits(world)) == 6
    assert world.gate.trading is TradingState.REDUCING
    world.say(Action.RESUME)
    world.advance(3 * SECOND)
    world.fill_some(1.0)
    world.advance(SECOND)
    assert world.position[TOKEN] == 0
    assert world.gate.trading is TradingState.ACTIVE


def test_what_stays_unfilled_of_an_exit_is_asked_for_again() -> None:
    """Cancelled by the exchange after four of ten: six are asked for, not ten."""
    world = holding()
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 2)
    alive = next(o for o in world.orders.values() if o.alive)
    world.fill(alive, 4)
    world.change(alive, "CANCELLED")
    world.advance(3 * SECOND)
    assert [(o.state, o.quantity) for o in exits(world)] == [(OrderState.CANCELLED, 10), (OrderState.OPEN, 6)]
    assert "6 NSE:INFY" in alerts(world, "EXIT")[0].text
    world.fill_some(1.0)
    world.rest()
    assert world.position[TOKEN] == 0


def test_a_denied_exit_is_asked_for_again() -> None:
    """The exchange's time isn't known: nothing was sent, and the position is still there to be told of."""
    world = holding()
    world.gate.book.ts_event = 0
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 2)
    assert exits(world) == []
    assert "denied" in alerts(world, "EXIT")[0].text
    world.tick_all()
    world.advance(2 * SECOND)
    world.fill_some(1.0)
    world.rest()
    assert world.position[TOKEN] == 0


def test_after_a_restart_an_exit_goes_without_a_tick() -> None:
    """Its instrument is silent since; the broker's own positions tell a price."""
    world = holding()
    others = [(t, p) for t, p in world.prices.items() if t != TOKEN]
    world.tick_all = lambda: world.give(  # type: ignore[method-assign]
        PricesSeen([(t, p, world.now) for t, p in others], world.now)
    )
    world.crash()
    world.advance(2 * SECOND)
    assert TOKEN not in world.gate.book.prices
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 2)
    world.fill_some(1.0)
    assert world.position[TOKEN] == 0


@pytest.mark.parametrize("fault", ["timeout_before", "timeout_after_accept", "late_show"])
def test_an_exit_waits_for_no_entry_of_unknown_fate(fault: str) -> None:
    """Ten held, five more asked for, no answer, the book unread: the exit leaves at once, and what the entry brought follows."""
    world = holding()
    world.message_fault, world.call_fault, world.query_fails = "drop", fault, True
    world.ask(INFY, 15)
    world.advance(int(world.limits.call_timeout_s * SECOND) + SECOND)
    assert world.gate.book.unknown
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(2 * SECOND)
    sold = sum(o.quantity for o in world.orders.values() if o.side is Side.SELL)
    assert sold >= 10
    world.rest()
    assert world.position[TOKEN] == 0


def test_a_crash_between_rejection_and_the_next_try_forgets_nothing() -> None:
    """The restarted gate finds the position from the journal alone."""
    world = holding()
    world.call_fault = "reject"
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 4)
    world.crash()
    world.advance(3 * SECOND)
    world.fill_some(1.0)
    world.rest()
    assert world.position[TOKEN] == 0
    assert len(exits(world)) == 2


def test_nothing_is_asked_while_the_former_has_no_known_outcome() -> None:
    """An exit whose call timed out may exist: only its own look-up may end it."""
    world = holding()
    world.call_fault = "timeout_before"
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(8 * SECOND)
    assert [o.state for o in exits(world)] == [OrderState.UNKNOWN]
    world.rest()
    assert world.position[TOKEN] == 0


def test_a_strategy_that_wants_it_again_ends_the_pursuit() -> None:
    """The newest word counts: what is held is wanted, and nothing is sold."""
    world = holding()
    world.call_fault = "reject"
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 2)
    world.ask(INFY, 10)
    world.advance(5 * SECOND)
    assert len(exits(world)) == 1
    assert world.position[TOKEN] == 10
    assert alerts(world, "EXIT")[-1].resolved


def test_positions_stay_when_a_person_says_halt() -> None:
    """HALT cancels the exit too: told, but not asked for again until RESUME; the kill flattens all the same."""
    world = holding()
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 2)
    world.say(Action.HALT)
    world.advance(5 * SECOND)
    assert [o.state for o in exits(world)] == [OrderState.CANCELLED]
    assert len(alerts(world, "EXIT")) == 1
    world.say(Action.KILL)
    world.advance(2 * SECOND)
    world.fill_some(1.0)
    world.rest()
    assert world.gate.killer.status.state is KillState.LOCKED
    assert world.position[TOKEN] == 0


def test_what_a_person_closed_by_hand_is_not_sold_again() -> None:
    """The account holds nothing any more: an exit would open a position of its own."""
    world = holding()
    world.call_fault = "reject"
    world.ask(INFY, 0, Intent.EXIT)
    world.position[TOKEN] = 0
    world.trades.append(
        BrokerTrade(
            trade_id="X", order_id="another platform's", instrument=INFY.key, instrument_token=TOKEN, side=Side.SELL,
            quantity=10, price=1_500.0, product="MIS", ts=world.now,
        )
    )  # fmt: skip
    world.advance(10 * SECOND)
    assert len(exits(world)) == 1
    assert not alerts(world, "EXIT")[-1].resolved
