"""An exit that doesn't fill is chased by time: without ticks at the broker's own prices, in a wide spread ever farther out."""

from __future__ import annotations

import pytest
from gate_world import INFY, SECOND, TOKEN, World, holding
from test_gatekeeper_account import alerts, run

from tradealgo.domain.orders import Intent, Side
from tradealgo.domain.state import Action, KillState
from tradealgo.gatekeeper.pricing import MOST_MOVES, WIDE, band, pursuing_limit


def fill_at_bid(world: World, bid: float) -> None:
    """Sales at or below the bid fill."""
    for order in [o for o in world.orders.values() if o.alive and o.price <= bid]:
        world.fill(order, order.quantity)


@pytest.mark.parametrize("restarted", [False, True])
def test_without_ticks_the_kill_prices_by_the_brokers_positions(
    restarted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The market fell 4 % since the last tick or fill: the exit goes out near there, not at the old price."""
    world = holding()
    world.prices[TOKEN] = 1_440.0
    monkeypatch.setattr(World, "tick_all", lambda self: None)
    if restarted:
        world.crash()
    world.advance(6 * SECOND)
    world.say(Action.KILL)
    for _ in range(20):
        world.advance(SECOND // 2)
        fill_at_bid(world, 1_440.0)
    sold = [t for t in world.trades if t.side is Side.SELL]
    assert [t.quantity for t in sold] == [10]
    assert next(o.price for o in world.orders.values() if o.side is Side.SELL) > 1_420.0
    assert world.gate.killer.status.state is KillState.LOCKED


def test_the_loss_line_holds_without_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker's last price values the position: a fall of 40 % trips the kill although nothing ticks."""
    world = holding()
    world.prices[TOKEN] = 900.0
    monkeypatch.setattr(World, "tick_all", lambda self: None)
    world.advance(6 * SECOND)
    assert not world.gate.killer.is_armed
    run(world, 5)
    assert world.gate.killer.status.state is KillState.LOCKED


def test_a_kill_in_a_wide_spread_goes_farther_out_though_the_last_price_stands() -> None:
    """Last 1500, bid 2 % below: reached within ten seconds."""
    world = holding()
    world.say(Action.KILL)
    for _ in range(24):
        world.tick_all()
        world.advance(SECOND // 2)
        fill_at_bid(world, 1_470.0)
    assert world.position[TOKEN] == 0
    assert world.gate.killer.status.state is KillState.LOCKED


def test_an_exit_stays_inside_the_band_and_a_person_is_told() -> None:
    """A strategy's exit isn't sold at any price; that it hangs is CRITICAL although the last price never moved."""
    world = holding()
    world.ask(INFY, 0, Intent.EXIT)
    for _ in range(50):
        world.tick_all()
        world.advance(SECOND // 2)
    order = next(o for o in world.orders.values() if o.side is Side.SELL)
    assert order.price >= 1_500.0 * (1 - band(INFY, 1_500.0)) - INFY.tick_size
    assert [a.level for a in alerts(world, f"CHASE:{order.tag}")] == ["CRITICAL"]


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_the_limit_widens_to_its_end(side: Side) -> None:
    """Never back; an exit of a strategy to one band, the kill's by halves to some bands, then by whole ones."""
    far = [pursuing_limit(INFY, side, 400.0, 0.002, n, beyond=True) for n in range(60)]
    near = [pursuing_limit(INFY, side, 400.0, 0.002, n, beyond=False) for n in range(20)]
    protection = band(INFY, 400.0)
    assert [side.sign * p for p in far] == sorted(side.sign * p for p in far)
    wide = 400.0 * (1 + side.sign * (0.002 + protection * WIDE))
    assert far[2 * WIDE] == pytest.approx(wide, abs=INFY.tick_size)
    assert side.sign * (far[2 * WIDE + 1] - wide) == pytest.approx(400.0 * protection, abs=INFY.tick_size)
    assert far[MOST_MOVES] == far[-1]
    assert near[-1] == pytest.approx(400.0 * (1 + side.sign * protection), abs=INFY.tick_size)
    assert far[0] == near[0] == pytest.approx(400.0 * (1 + side.sign * 0.002), abs=INFY.tick_size)
