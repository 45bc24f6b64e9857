"""Protective orders: they rest while a position is held, one at a time, never for more than it, and are out of every other
order's way first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from gate_world import CALL, INFY, LIMITS, MS, SECOND, START_PRICES, TOKEN, BrokerSide, World
from test_gatekeeper_account import alerts, by_hand

from tradealgo.domain.instruments import Instrument
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, OrderState, Side
from tradealgo.domain.state import Action, KillState
from tradealgo.gatekeeper import kite
from tradealgo.gatekeeper.brackets import TABLE, Levels, Shape, Zone, levels, zone
from tradealgo.gatekeeper.messages import Kind


def protected(quantity: int = 10, instrument: Instrument = INFY, filled: float = 1.0, **limits: Any) -> World:
    """Holding an instrument, with its protective order at the broker."""
    world = World(limits=msgspec.structs.replace(LIMITS, **({"protect_fraction": 0.02} | limits)))
    world.advance(SECOND)
    world.ask(instrument, quantity, **({"stop": 1_480.0, "target": 1_530.0} if limits.get("brackets") else {}))
    world.advance(SECOND)
    world.fill_some(filled)
    world.advance(SECOND)
    return world


def resting(world: World) -> list[BrokerSide]:
    """Protective orders at work at the broker."""
    return [o for o in world.orders.values() if o.alive and o.intent is Intent.PROTECT]


def move(world: World, price: float, token: int = TOKEN) -> None:
    """The market goes there, and whatever that lets fill fills."""
    world.move_price(token, price / world.prices[token] - 1)
    world.fill_some(1.0)
    world.advance(2 * SECOND)


def test_without_the_opt_in_nothing_rests() -> None:
    """The default."""
    assert Limits().protect_fraction == 0.0
    assert not Limits().brackets
    assert resting(protected(protect_fraction=0.0)) == []


def test_a_position_gets_a_stop_for_all_of_it() -> None:
    """2 % below the entry, on a tick, on the other side."""
    (stop,) = resting(protected())
    assert (stop.side, stop.quantity, stop.trigger, stop.price) == (Side.SELL, 10, 1_470.0, 0.0)


def test_a_short_position_is_bought_back() -> None:
    (stop,) = resting(protected(-10))
    assert (stop.side, stop.quantity, stop.trigger) == (Side.BUY, 10, 1_530.0)


def test_an_option_gets_a_limit_a_premium_band_beyond_the_trigger() -> None:
    """NSE takes no SL-M for options."""
    (stop,) = resting(protected(65, CALL, protect_fraction=0.5))
    assert stop.trigger == 60.0
    assert stop.price == 58.2  # 3 % at a premium of 60


def test_the_brokers_form_of_each_kind() -> None:
    """SL-M with the broker's protection; SL; LIMIT."""
    world = protected()
    order = next(o for o in world.gate.book.working.values())
    assert kite.place_form(order)["order_type"] == "SL-M"
    assert kite.place_form(order)["market_protection"] == "-1"
    assert "price" not in kite.place_form(order)
    with_limit = kite.place_form(msgspec.structs.replace(order, price=1_460.0))
    assert (with_limit["order_type"], with_limit["trigger_price"]) == ("SL", "1470.00")
    assert kite.place_form(msgspec.structs.replace(order, price=1_530.0, trigger=0.0))["order_type"] == "LIMIT"


def test_a_gap_while_nothing_runs_is_bounded_and_told_afterwards() -> None:
    """The process is dead, the market falls through the stop: the restarted one finds itself flat, and says so."""
    world = protected()
    gate, world.gate = world.gate, _Dead()
    world.prices[TOKEN] = 1_440.0
    world.fill_some(1.0)
    assert world.position[TOKEN] == 0
    world.gate = gate
    world.crash()
    world.advance(3 * SECOND)
    assert world.gate.book.position(TOKEN) == 0
    assert any(a.code.startswith("PROTECTED:") for a in _alerts(world))
    world.ask(INFY, 0, Intent.EXIT)  # the strategy finds out in its own time
    world.rest()
    assert world.position[TOKEN] == 0


class _Dead:
    """A process that is gone: what reaches it changes nothing."""

    def handle(self, event: Any, now: int) -> list[Any]:
        return []


def _alerts(world: World) -> list[Any]:
    return [r for k, r in world.journal if k is Kind.ALERT]


def test_a_restart_leaves_the_stop_where_it_is() -> None:
    """Not a second one, not another one."""
    world = protected()
    before = [o.order_id for o in resting(world)]
    world.crash()
    world.advance(5 * SECOND)
    assert [o.order_id for o in resting(world)] == before


def test_an_exit_waits_until_the_stop_is_gone() -> None:
    """The cancel goes at once; the exit follows it, and nothing rests afterwards."""
    world = protected()
    (stop,) = resting(world)
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(300 * MS)
    assert stop.status == "CANCELLED"
    world.fill_some(1.0)
    world.rest()
    assert world.position[TOKEN] == 0
    assert resting(world) == []


def test_a_stop_that_fills_while_it_is_cancelled_leaves_the_exit_nothing_to_do() -> None:
    """Never both: the position isn't turned round."""
    world = protected()
    world.call_fault = "cancel_crosses_fill"
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(3 * SECOND)
    world.rest()
    assert world.position[TOKEN] == 0
    assert sum(t.quantity for t in world.trades if t.side is Side.SELL) == 10


def test_the_kill_cancels_it_and_then_flattens() -> None:
    world = protected()
    world.say(Action.KILL)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.rest()
    assert world.gate.killer.status.state is KillState.LOCKED
    assert world.position[TOKEN] == 0


def test_a_halt_takes_it_away_and_a_resume_brings_it_back() -> None:
    """Cancel all means all; afterwards the position is protected again."""
    world = protected()
    world.say(Action.HALT)
    world.advance(3 * SECOND)
    assert resting(world) == []
    world.say(Action.RESUME)
    world.advance(3 * SECOND)
    assert [o.quantity for o in resting(world)] == [10]


def test_a_part_of_the_entry_gets_its_part() -> None:
    """The entry fills 3 of 10 and is let go: a stop for 3."""
    world = protected(filled=0.3, entry_max_age_s=2.0)
    assert resting(world) == []  # the entry still works
    world.advance(4 * SECOND)
    assert [o.quantity for o in resting(world)] == [3]


def test_a_partial_fill_of_the_stop_keeps_both_equal() -> None:
    """7 held, 7 at work, no call needed."""
    world = protected()
    (stop,) = resting(world)
    world.fill(stop, 3)
    world.advance(2 * SECOND)
    assert resting(world) == [stop]
    assert (world.position[TOKEN], stop.quantity - stop.filled) == (7, 7)


def test_what_a_person_sells_shrinks_the_stop() -> None:
    """4 sold on another platform: a stop for 6."""
    world = protected()
    by_hand(world, -4)
    world.advance(6 * SECOND)
    assert sum(o.quantity - o.filled for o in resting(world)) == 6


def test_stop_and_target_take_turns() -> None:
    """One order: a stop, near the target a limit there, and a stop again when the price comes back."""
    world = protected(brackets=True)
    assert [(o.trigger, o.price) for o in resting(world)] == [(1_480.0, 0.0)]
    move(world, 1_522.0)
    assert [(o.trigger, o.price) for o in resting(world)] == [(0.0, 1_530.0)]
    move(world, 1_516.0)
    assert [o.price for o in resting(world)] == [1_530.0]
    move(world, 1_505.0)
    assert [o.trigger for o in resting(world)] == [1_480.0]
    move(world, 1_522.0)
    move(world, 1_531.0)
    assert world.position[TOKEN] == 0
    assert resting(world) == []


def test_a_price_beyond_the_stop_closes_at_once() -> None:
    """A stop that the broker would refuse is an exit."""
    world = protected(brackets=True)
    world.say(Action.HALT)
    world.advance(2 * SECOND)
    move(world, 1_470.0)
    world.say(Action.RESUME)
    world.advance(SECOND)
    world.fill_some(1.0)
    world.advance(SECOND)
    assert world.position[TOKEN] == 0


def test_a_triggered_stop_that_does_not_fill_is_chased() -> None:
    """It became a limit order and the market went on."""
    world = protected(65, CALL, protect_fraction=0.05)
    (stop,) = resting(world)
    world.move_price(CALL.instrument_token, -0.15)
    world.advance(4 * SECOND)
    assert stop.price < START_PRICES[CALL.instrument_token] * 0.85
    world.fill_some(1.0)
    world.advance(SECOND)
    assert world.position[CALL.instrument_token] == 0


def test_rejections_are_told_and_slow_down() -> None:
    """Six seconds of a broker that takes none: a few tries, one alert."""
    world = protected(quantity=10, protect_fraction=0.0)
    world = World(limits=msgspec.structs.replace(LIMITS, protect_fraction=0.02))
    world.advance(SECOND)
    world.ask(INFY, 10)
    world.advance(SECOND)
    world.fill_some(1.0)
    for _ in range(80):
        world.call_fault = "reject"
        world.advance(100 * MS)
        world.tick_all()
    made = [o for o in world.gate.book.orders.values() if o.intent is Intent.PROTECT]
    assert 3 <= len(made) <= 6
    assert all(o.state is OrderState.REJECTED for o in made)
    assert len(alerts(world, f"UNPROTECTED:{TOKEN}")) == 1
    world.call_fault = "ok"
    world.advance(20 * SECOND)
    assert [o.quantity for o in resting(world)] == [10]
    assert any(a.code == f"UNPROTECTED:{TOKEN}" and a.resolved for a in _alerts(world))


def test_a_lost_answer_makes_no_second_stop() -> None:
    """Accepted, the answer times out: found by its tag."""
    world = World(limits=msgspec.structs.replace(LIMITS, protect_fraction=0.02))
    world.advance(SECOND)
    world.ask(INFY, 10)
    world.advance(SECOND)
    world.call_fault = "late_show"
    world.message_fault = "drop"
    world.fill_some(1.0)
    world.advance(20 * SECOND)
    assert [o.quantity for o in resting(world)] == [10]
    assert not any(o.status == "CANCELLED" for o in world.orders.values())


def test_every_shape_and_zone_has_its_next() -> None:
    """The table is whole, and only a stop or a leave ever answers a price beyond the stop."""
    assert set(TABLE) == {(s, z) for s in Shape for z in Zone}
    assert {TABLE[s, Zone.BEYOND] for s in Shape} == {Shape.STOP, Shape.LEAVE}
    assert Shape.NONE not in TABLE.values()


@pytest.mark.parametrize(
    ("last", "expected"), [(99.0, Zone.BEYOND), (103.0, Zone.LOW), (105.0, Zone.MIDDLE), (107.0, Zone.HIGH)]
)
def test_zones_of_long_and_short(last: float, expected: Zone) -> None:
    """A short position's are the mirror image."""
    assert zone(Levels(1, 100.0, 99.0, 110.0), last) is expected
    assert zone(Levels(-1, 100.0, 101.0, 90.0), 200.0 - last) is expected


def test_levels_come_from_the_strategy_only_where_brackets_are_on() -> None:
    """Else at the fraction; a target on the wrong side is none."""
    world = protected(brackets=True)
    request = world.requests[0]
    assert levels(1, 1_500.0, request, Limits(brackets=True)) == Levels(1, 1_500.0, 1_480.0, 1_530.0)
    assert levels(1, 1_500.0, request, Limits(protect_fraction=0.1)) == Levels(1, 1_500.0, 1_350.0, None)
    assert levels(-1, 1_500.0, request, Limits(brackets=True)).target is None


def test_one_that_waited_does_not_leave_once_it_would_be_too_much() -> None:
    """Looked at again right before the wire: a smaller position, another order, the kill."""
    world = protected()
    gate = world.gate
    stop = next(o for o in gate.book.working.values())
    assert gate.protection.refuses(stop) == ""
    gate.book.put(msgspec.structs.replace(stop, quantity=11), world.now)
    assert gate.protection.refuses(stop) == "the position is smaller by now"
    gate.book.put(stop, world.now)
    gate.book.put(msgspec.structs.replace(stop, tag="T2", intent=Intent.EXIT, state=OrderState.OPEN), world.now)
    assert gate.protection.refuses(stop) == "another order works in the instrument"
    gate.book.put(msgspec.structs.replace(stop, tag="T2", intent=Intent.EXIT, state=OrderState.CANCELLED), world.now)
    assert gate.protection.refuses(stop) == ""
    world.say(Action.KILL)
    assert "kill switch" in gate.protection.refuses(stop)
