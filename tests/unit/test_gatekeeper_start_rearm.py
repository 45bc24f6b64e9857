"""Nothing new until the books have been compared, and a loss line that only the second yes to a loss moves."""

from __future__ import annotations

import msgspec
from gate_world import INFY, LIMITS, RELIANCE, SECOND, TOKEN, World, holding
from test_gatekeeper_account import by_hand, run

from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import Intent
from tradealgo.domain.state import Action, KillState, Level, TradingState
from tradealgo.gatekeeper.messages import Kind


def locked(world: World, action: Action = Action.KILL) -> None:
    world.say(action)
    run(world, 5)
    assert world.gate.killer.status.state is KillState.LOCKED


def test_a_persons_kill_leaves_the_loss_line_where_it_is() -> None:
    """At nearly two per cent down, killed and re-armed: the next loss is not two per cent more, forced or not."""
    world = holding(20)
    line = world.gate.loss_line
    world.move_price(TOKEN, -0.14)
    world.advance(SECOND)
    assert world.gate.killer.is_armed
    locked(world)
    for force in (False, True):
        world.say(Action.REARM, force=force)
        assert world.gate.loss_line == line
        run(world, 2)
        assert world.gate.killer.is_armed
        locked(world)
    world.crash()
    assert world.gate.loss_line == line


def test_the_second_yes_after_a_loss_moves_the_line() -> None:
    """From where the MTM stands; remembered over a restart."""
    world = holding(20)
    line = world.gate.loss_line
    world.move_price(TOKEN, -0.2)
    run(world, 5)
    assert world.gate.killer.status.state is KillState.LOCKED
    world.say(Action.REARM)
    world.say(Action.REARM, force=True)
    run(world, 1)
    assert world.gate.killer.is_armed
    assert world.gate.loss_line < line
    moved = world.gate.loss_line
    world.crash()
    assert world.gate.loss_line == moved


def offset_by_gains() -> World:
    """Six per cent up on one position, and a loss beyond the line booked on another."""
    world = World(limits=msgspec.structs.replace(LIMITS, fat_finger_fraction=1.0))
    world.advance(SECOND)
    for instrument, quantity in ((INFY, 60), (RELIANCE, 20)):
        traded(world, instrument, quantity, Intent.ENTRY)
    for token, fraction in ((TOKEN, 0.06), (RELIANCE.instrument_token, -0.07), (RELIANCE.instrument_token, -0.06)):
        world.move_price(token, fraction)
        world.advance(SECOND)
    traded(world, RELIANCE, 0, Intent.EXIT)
    assert world.gate.killer.is_armed
    return world


def traded(world: World, instrument: Instrument, target: int, intent: Intent) -> None:
    world.ask(instrument, target, intent)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.advance(SECOND)


def test_a_restart_is_no_loss_of_what_was_gained_since_the_fill() -> None:
    """The journal knows what a position cost, not what it is worth: the loss line waits for a price of all that is held."""
    world = offset_by_gains()
    mtm = world.gate.book.mtm
    world.crash()
    run(world, 5)
    assert world.gate.killer.is_armed
    assert world.gate.book.mtm == mtm


def test_a_loss_that_grew_during_a_restart_trips_at_the_first_price() -> None:
    """Which may be the broker's own, of its positions."""
    world = offset_by_gains()
    world.crash()
    world.move_price(TOKEN, -0.05)
    run(world, 5)
    assert world.gate.killer.status.state is KillState.LOCKED


def test_entries_wait_for_the_first_comparison_after_a_restart() -> None:
    """Somebody closed the position while the process was down: the entry that was asked meanwhile isn't sent."""
    world = holding()
    by_hand(world, -10)
    world.crash()
    calls = sum(k is Kind.CALL for k, _ in world.journal)
    assert world.gate.trading is TradingState.REDUCING
    world.ask(INFY, 20)
    run(world, 3)
    assert sum(k is Kind.CALL for k, _ in world.journal) == calls
    assert world.gate.trading is TradingState.REDUCING


def test_a_start_with_equal_books_is_active_within_a_second() -> None:
    """A fresh one, and one with a position."""
    fresh = World(limits=LIMITS)
    fresh.advance(SECOND)
    assert fresh.gate.trading is TradingState.ACTIVE
    world = holding()
    world.crash()
    assert world.gate.trading is TradingState.REDUCING
    world.advance(2 * SECOND)
    assert world.gate.trading is TradingState.ACTIVE


def test_a_position_that_was_there_before_is_told() -> None:
    """A new session finds what an earlier one or a person left: one CRITICAL alert with its figures, and no call."""
    world = World(1, LIMITS)
    by_hand(world, 75)
    world.crash()
    run(world, 3)
    told = [message for kind, message in world.journal if kind is Kind.ALERT and message.code == f"NOT_OURS:{INFY.key}"]
    assert [("+75" in a.text, a.level) for a in told] == [(True, Level.CRITICAL)]
    assert not any(kind is Kind.CALL for kind, _ in world.journal)
