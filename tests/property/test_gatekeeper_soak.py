"""Random life of the Gatekeeper's core against a broker that misbehaves in every known way. A seed that breaks it is printed."""

from __future__ import annotations

import os
from typing import Any

import pytest
from gate_world import CALL, INFY, MS, World

from tradealgo.domain.orders import Side
from tradealgo.gatekeeper.messages import RequestReceived

SOAK = bool(os.environ.get("TRADEALGO_SOAK"))
#: 20 lives of about a thousand events here; over a million in `make soak`.
SEEDS = range(1_000) if SOAK else range(20)


def live(seed: int, rules: int, *, baskets: bool = False, **limits: Any) -> World:
    """One life: some rules at random, then rest. `live(seed, rules)` replays it; `limits` differ from the world's."""
    world = World(seed, clock_offset=(seed % 7 - 3) * 170_000_000, **limits)
    world.baskets, world.alone = baskets, True
    world.advance(500_000_000)
    for _ in range(rules):
        world.random_step()
    world.rest()
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_no_seed_breaks_an_invariant_with_protective_orders(seed: int) -> None:
    """Also while stops and targets rest at the broker, trigger, fill in part and change their shape."""
    live(seed, 150, protect_fraction=0.02, brackets=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_seed_leaves_a_part_of_a_basket(seed: int) -> None:
    """With baskets among the requests, some with a leg that never comes: whole, or closed again, or told."""
    live(seed, 150, baskets=True, protect_fraction=0.02 * (seed % 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_seed_breaks_an_invariant(seed: int) -> None:
    """Every command of a random life keeps the invariants, and after it the books agree."""
    world = live(seed, 150)
    assert world.steps > 200, f"live({seed}, 150) did nothing"


def test_a_fill_in_the_last_moment_is_waited_for() -> None:
    """Found by the machine: a stop that had filled at the broker, its message still on the way, looked like rest."""
    world = World(35_047, clock_offset=-400 * MS, protect_fraction=0.02, brackets=True)
    world.advance(300 * MS)
    world.ask(CALL, -130)
    world.ask(INFY, 1)
    for _ in range(2):
        world.give(RequestReceived(world.requests[0]))
    world.ask(CALL, -65)
    world.move_price(INFY.instrument_token, -0.08)
    for _ in range(5):
        world.give(RequestReceived(world.requests[0]))
    world.rest()
    assert [t.side for t in world.trades] == [Side.BUY, Side.SELL]
    assert world.gate.book.all_booked
