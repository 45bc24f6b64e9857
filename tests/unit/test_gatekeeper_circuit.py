"""At the day's circuit limit, at the lowest price and without buyers: an exit keeps a place where it can be filled."""

from __future__ import annotations

from typing import Any

import pytest
from gate_world import CALL, INFY, LIMITS, SECOND, TOKEN, World
from test_gatekeeper_account import alerts

from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.orders import Intent, Side
from tradealgo.domain.state import Action, KillState
from tradealgo.exchange import rules
from tradealgo.gatekeeper.messages import CallKind
from tradealgo.gatekeeper.pricing import last_itself, on_tick, pursuing_limit


class Banded(World):
    """A broker that refuses prices outside the day's circuit limits: at once, or after it has said yes."""

    low, high, refused, late = 0.0, 1e9, 0, False

    def execute(self, call: Any, fault: str) -> bool:
        price = call.order.price if call.kind is CallKind.PLACE else call.price
        if call.kind is CallKind.CANCEL or self.low <= price <= self.high:
            return super().execute(call, fault)
        self.refused += 1
        if call.kind is CallKind.PLACE and self.late:
            return super().execute(call, "reject_later")
        return False

    def sells(self) -> list[Any]:
        """Orders of the broker's book that sell."""
        return [o for o in self.orders.values() if o.side is Side.SELL]


def held(instrument: Instrument = INFY, quantity: int = 10) -> Banded:
    """A world that is long."""
    world = Banded(limits=LIMITS)
    world.advance(SECOND)
    world.ask(instrument, quantity)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.advance(SECOND)
    assert world.position[instrument.instrument_token] == quantity
    return world


def leave(world: World, by: str, instrument: Instrument = INFY) -> None:
    """Get out: by the kill, or by the strategy's own exit."""
    if by == "kill":
        world.say(Action.KILL)
    else:
        world.ask(instrument, 0, Intent.EXIT)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("by", ["kill", "exit"])
@pytest.mark.parametrize("last", [1_350.0, 1_352.0, 1_356.0])
def test_an_exit_near_the_circuit_limit_is_sold_at_the_last_price(last: float, by: str, late: bool) -> None:
    """What was refused is asked for again at the last price itself, which the exchange takes."""
    world = held()
    world.low, world.late = 1_350.0, late
    world.move_price(TOKEN, last / 1_500.0 - 1)
    leave(world, by)
    for _ in range(10):
        world.advance(SECOND // 2)
        world.tick_all()
        world.fill_some(1.0)
    assert world.position[TOKEN] == 0
    assert [o.price for o in world.sells() if o.filled] == [last]
    assert world.refused == 1


def test_refused_slices_are_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten slices are refused together; the next ten, at the last price, wait for nothing but the rate budget."""
    monkeypatch.setattr("tradealgo.gatekeeper.killer.largest_order", lambda instrument: 1)
    world = held()
    world.low = 1_350.0
    world.move_price(TOKEN, -0.1)
    leave(world, "kill")
    for _ in range(16):
        world.advance(SECOND // 2)
        world.tick_all()
        world.fill_some(1.0)
    assert (world.refused, world.position[TOKEN]) == (10, 0)


@pytest.mark.parametrize("by", ["kill", "exit"])
def test_without_buyers_at_the_circuit_limit_it_stands_in_the_queue(by: str) -> None:
    """Three minutes: one order, always there, however often a price beyond it is refused; a restart takes nothing from it."""
    world = held()
    world.low = 1_350.0
    world.move_price(TOKEN, -0.1)
    leave(world, by)
    world.advance(3 * SECOND)
    world.tick_all()
    (order,) = [o for o in world.sells() if o.alive]
    for second in range(180):
        world.advance(SECOND, step=SECOND // 4)
        world.tick_all()
        if second == 90:
            world.crash()
        assert order.alive
    assert order.price == 1_350.0
    assert len([o for o in world.sells() if o.alive]) == 1
    assert alerts(world, f"CHASE:{order.tag}")


def test_an_exit_above_the_circuit_limit_follows_the_price_down_to_it() -> None:
    """Refused beyond the limit, it is moved to the last price itself."""
    world = held()
    world.low = 1_350.0
    world.move_price(TOKEN, -0.096)
    leave(world, "kill")
    world.advance(3 * SECOND)
    world.tick_all()
    world.prices[TOKEN] = 1_350.0
    for _ in range(20):
        world.tick_all()
        world.advance(SECOND)
    assert [o.price for o in world.sells() if o.alive] == [1_350.0]


def test_the_kill_at_the_lowest_price_keeps_its_place_in_the_queue() -> None:
    """An option at a tick, nobody buys: one order for five minutes, and a person is told."""
    world = held(CALL, 65)
    world.prices[CALL.instrument_token] = 0.05
    leave(world, "kill")
    for _ in range(300):
        world.tick_all()
        world.advance(SECOND, step=SECOND // 4)
    (order,) = world.sells()
    assert order.alive
    assert order.price == 0.05
    assert alerts(world, f"CHASE:{order.tag}")


def test_the_kill_goes_out_to_buyers_far_below_the_last_trade() -> None:
    """Last trade 100, buyers at 80: reached within two minutes."""
    world = held(CALL, 65)
    world.prices[CALL.instrument_token] = 100.0
    leave(world, "kill")
    for _ in range(120):
        world.tick_all()
        world.advance(SECOND)
        for order in [o for o in world.sells() if o.alive and o.price <= 80.0]:
            world.fill(order, order.quantity)
    assert world.position[CALL.instrument_token] == 0
    assert world.gate.killer.status.state is KillState.LOCKED


def test_what_can_be_moved_no_more_is_replaced_when_the_market_has_gone_past_it() -> None:
    """Not before: it would lose its place in the queue for nothing."""
    world = held()
    leave(world, "kill")
    for _ in range(240):
        world.tick_all()
        world.advance(SECOND, step=SECOND // 4)
    (order,) = world.sells()
    world.advance(60 * SECOND, step=SECOND // 4)
    assert order.alive
    assert world.gate.book.orders[order.tag].modifications == world.limits.modifications_per_order
    world.prices[TOKEN] = order.price - 10.0
    for _ in range(10):
        world.tick_all()
        world.advance(SECOND)
    assert order.status == "CANCELLED"
    assert [o.price < world.prices[TOKEN] for o in world.sells() if o.alive] == [True]


@pytest.mark.parametrize("last", [1_350.0, 1_352.0, 1_356.0])
def test_the_exchange_takes_the_last_price(last: float) -> None:
    """Its own rule, its own limits of the day."""
    rules.check_prices("LIMIT", round(last_itself(INFY, Side.SELL, last) * 100), 0, INFY, (135_000, 165_000))


@pytest.mark.parametrize(("side", "price"), [(Side.SELL, 100.05), (Side.BUY, 100.0)])
def test_the_last_price_is_rounded_inward(side: Side, price: float) -> None:
    """Never beyond itself."""
    assert last_itself(INFY, side, 100.02) == price
    assert on_tick(price, INFY.tick_size)


def test_a_move_of_the_kill_is_a_tick_at_least() -> None:
    """Bought back from 0.05: half a band would round to the same price for a minute."""
    option = Instrument(instrument_token=2, exchange="NFO", tradingsymbol="Y", kind=Kind.PUT, tick_size=0.05)
    moves = [pursuing_limit(option, Side.BUY, 0.05, 0.005, n, beyond=True) for n in range(1, 6)]
    assert moves == pytest.approx([0.15, 0.2, 0.25, 0.3, 0.35])
