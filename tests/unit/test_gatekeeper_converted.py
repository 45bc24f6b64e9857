"""A person, or the broker, converts positions from one product to another: that is no trade, and no intraday order closes it."""

from __future__ import annotations

from typing import Any

import pytest
from gate_world import INFY, SECOND, TOKEN, World, holding

from tradealgo.domain.state import Action, Alert, KillState, TradingState
from tradealgo.gatekeeper import messages as m
from tradealgo.gatekeeper.kite import BrokerPosition, Query


def row(instrument: str, token: int, product: str, quantity: int) -> BrokerPosition:
    return BrokerPosition(
        instrument=instrument, instrument_token=token, product=product, quantity=quantity, last_price=1_500.0
    )


def showing(world: World, *rows: BrokerPosition, moved: int = 0) -> None:
    """The broker's positions from here on: ours less `moved` units, and these rows."""
    look = world.look

    def answer(query: Any, asked: int) -> None:
        if query is not Query.POSITIONS:
            return look(query, asked)
        ours = row(INFY.key, TOKEN, "MIS", world.position[TOKEN] - moved)
        return world.give(m.PositionsSeen(rows=[ours, *rows], asked=asked))

    world.look = answer  # type: ignore[method-assign]


def run(world: World, seconds: int) -> None:
    for _ in range(seconds * 2):
        world.advance(SECOND // 2)
        world.tick_all()
        world.fill_some(1.0)


def alerts(world: World, code: str) -> list[Alert]:
    return [r for k, r in world.journal if k is m.Kind.ALERT and r.code == code and not r.resolved]


@pytest.mark.parametrize("product", ["CNC", "NRML"])
@pytest.mark.parametrize("moved", [4, 10])
def test_what_was_converted_is_told_and_not_sold(product: str, moved: int) -> None:
    """The kill sells what is still intraday; it isn't flat, a person must close the rest; then it locks."""
    world = holding()
    world.advance(4 * SECOND)
    showing(world, row(INFY.key, TOKEN, product, moved), moved=moved)
    world.advance(SECOND)
    world.say(Action.KILL)
    run(world, 10)
    assert world.position[TOKEN] == moved
    assert world.gate.killer.status.state is KillState.FLATTENING
    assert f"'{INFY.key}': {moved}" in alerts(world, "KILL_NOT_OURS")[0].text
    showing(world, row(INFY.key, TOKEN, product, 0), moved=moved)
    world.position[TOKEN] -= moved  # sold by hand
    showing(world, row(INFY.key, TOKEN, product, 0))
    run(world, 10)
    assert world.gate.killer.status.state is KillState.LOCKED


@pytest.mark.parametrize("product", ["CNC", "NRML"])
def test_another_product_of_the_same_instrument_is_no_concern_of_the_kill(product: str) -> None:
    """A person's carried position, long or short: nothing of ours is missing."""
    for quantity in (50, -50):
        world = holding()
        world.advance(4 * SECOND)
        showing(world, row(INFY.key, TOKEN, product, quantity))
        run(world, 5)
        assert world.gate.trading is TradingState.ACTIVE
        world.say(Action.KILL)
        run(world, 5)
        assert world.gate.killer.status.state is KillState.LOCKED
        assert world.position[TOKEN] == 0
        assert not alerts(world, "KILL_NOT_OURS")


def test_a_position_in_an_instrument_that_we_never_traded_is_no_concern_of_ours() -> None:
    """A person's carried position becomes intraday: trading goes on."""
    world = holding()
    showing(world, row("NSE:TATASTEEL", 895_745, "MIS", 50), row("NSE:RELIANCE", 513, "MIS", 5))
    run(world, 60)
    assert world.gate.trading is TradingState.ACTIVE
    assert world.gate.killer.is_armed
