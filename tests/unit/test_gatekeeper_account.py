"""The account is wider than the session: what others close is gone, what others hold is theirs, and flat is what is proven."""

from __future__ import annotations

from typing import Any

from gate_world import INFY, SECOND, TOKEN, World, holding

from tradealgo.domain.orders import Intent, Side
from tradealgo.domain.state import Action, Alert, KillState, TradingState
from tradealgo.gatekeeper.kite import BrokerTrade
from tradealgo.gatekeeper.messages import Kind


def by_hand(world: World, signed: int) -> None:
    """Somebody trades on another platform."""
    world.position[TOKEN] += signed
    world.trades.append(
        BrokerTrade(
            trade_id=f"X{len(world.trades)}", order_id="another platform's", instrument=INFY.key,
            instrument_token=TOKEN, side=Side.BUY if signed > 0 else Side.SELL, quantity=abs(signed), price=1_500.0,
            product="MIS", ts=world.now,
        )
    )  # fmt: skip


def run(world: World, seconds: float) -> None:
    """Time passes, and what rests at the broker fills."""
    for _ in range(int(seconds * 2)):
        world.advance(SECOND // 2)
        world.tick_all()
        world.fill_some(1.0)


def alerts(world: World, code: str) -> list[Alert]:
    return [r for k, r in world.journal if k is Kind.ALERT and r.code == code and not r.resolved]


def kills(world: World) -> list[Any]:
    """The kill's states as told, in order."""
    return [r.kill for k, r in world.journal if k is Kind.STATE]


def test_what_a_person_closed_is_no_longer_ours_to_sell() -> None:
    """Told as CRITICAL, entries stop; a kill right then sends nothing, proves the account flat and stays locked."""
    world = holding()
    by_hand(world, -10)
    run(world, 6)
    assert alerts(world, "POSITIONS")[0].level == "CRITICAL"
    assert world.gate.trading is TradingState.REDUCING
    world.say(Action.KILL)
    run(world, 30)
    assert world.position[TOKEN] == 0
    assert world.gate.killer.status.state is KillState.LOCKED
    assert kills(world).count(KillState.VERIFIED_FLAT) == 1
    assert not alerts(world, "KILL_AGAIN")


def test_a_kill_in_the_same_moment_looks_first() -> None:
    """The person sold six by hand and then hit the kill: four are sold."""
    world = holding()
    by_hand(world, -6)
    world.say(Action.KILL)
    run(world, 5)
    assert world.position[TOKEN] == 0
    assert world.gate.killer.status.state is KillState.LOCKED


def test_a_kill_does_not_wait_for_a_book_that_cannot_be_read() -> None:
    """After a second without an answer the exits go on what is known."""
    world = holding()
    world.query_fails = True
    world.say(Action.KILL)
    run(world, 4)
    assert world.position[TOKEN] == 0


def test_an_exit_of_the_strategy_is_cut_to_what_the_account_holds() -> None:
    """Six of ten closed by hand: the exit sells four, also after a fill of our own in between."""
    world = holding()
    by_hand(world, -6)
    world.advance(3 * SECOND)
    world.ask(INFY, 9, Intent.EXIT)
    world.fill_some(1.0)
    world.advance(SECOND // 5)
    world.fill_some(1.0)
    assert world.position[TOKEN] == 3
    world.ask(INFY, 0, Intent.EXIT)
    run(world, 3)
    assert world.position[TOKEN] == 0


def test_a_working_exit_is_withdrawn_when_somebody_closes_first() -> None:
    """It would open a short position."""
    world = holding()
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(SECOND // 2)
    by_hand(world, -10)
    world.advance(4 * SECOND)
    assert not any(o.alive for o in world.orders.values())
    run(world, 10)
    assert world.position[TOKEN] == 0


def test_flat_is_not_said_of_a_position_that_may_be_ours() -> None:
    """Others sold as our exit filled: the account is short, on nobody's word; the kill says so and stays unflat."""
    world = holding()
    by_hand(world, -10)
    world.position[TOKEN] -= 10  # an order of ours that the broker shows under nobody's trade
    world.say(Action.KILL)
    run(world, 5)
    assert KillState.VERIFIED_FLAT not in kills(world)
    assert world.position[TOKEN] == -10
