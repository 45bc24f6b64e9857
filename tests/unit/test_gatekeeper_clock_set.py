"""The machine's clock is set while orders are at work: the rate rule holds, and no exit is sent twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

import pytest
from gate_world import INFY, LIMITS, MS, SECOND, TOKEN, World, holding
from hypothesis import given
from hypothesis import strategies as st

from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, OrderState, Side
from tradealgo.domain.sizing import Sizing
from tradealgo.gatekeeper.clock import SET_NS, Clock
from tradealgo.gatekeeper.journal import Journal
from tradealgo.gatekeeper.rate import LAUNCH_NS, RateBudget, ServerClock
from tradealgo.gatekeeper.shell import Shell

T0 = 1_800_000_000 * SECOND


class Machine:
    """A machine whose wall clock can be set; `true` is the time that passes."""

    def __init__(self, begin: int = T0) -> None:
        self.true, self.ahead = begin, 0
        self.clock = Clock(0, lambda: self.true + self.ahead, lambda: self.true - T0 // 2)


@given(
    seed=st.integers(0, 100_000),
    offset_ms=st.integers(-2_000, 2_000),
    sets=st.lists(st.sampled_from((-60_000, -700, -300, -45, 15, 45, 300, 500, 700, 8_000, 60_000)), max_size=4),
)
def test_never_more_than_ten_in_a_second_however_the_clock_is_set(seed: int, offset_ms: int, sets: list[int]) -> None:
    """A kill without end, the broker's clock well known, and ours set at some moments, also while calls are under way."""
    rng, machine, budget = random.Random(seed), Machine(), RateBudget(Limits(orders_per_minute=100_000))
    landed, open_calls, left = Counter[int](), [], list(sets)
    set_at = sorted(rng.randrange(3_000, 9_000) * MS for _ in sets)

    def server(true: int) -> int:
        return (true + offset_ms * MS) // SECOND

    def see() -> int:
        now, by = machine.clock.read()
        if by:
            budget.clock_set(by, now)
        return now

    probed = call_id = 0
    while machine.true < T0 + 11 * SECOND:
        machine.true += rng.choice((0, 1, 5, 20)) * MS
        if left and machine.true >= T0 + set_at[0]:
            set_at.pop(0)
            machine.ahead += left.pop(0) * MS
        for call in [c for c in open_calls if c[2] <= machine.true]:
            open_calls.remove(call)
            number, arrived, _, sent = call
            done = machine.clock()
            see()
            if number:
                budget.landed(number, sent, done)
            budget.clock.observe(server(arrived), sent, done)
        now = see()
        if budget.clock.is_coarse and now >= probed:
            probed = budget.clock.next_probe(now + MS)
            open_calls.append((0, machine.true + 5 * MS, machine.true + 10 * MS, now))
        if machine.true < T0 + 2 * SECOND or budget.denies(Intent.KILL, now):
            continue
        call_id += 1
        budget.take(call_id, Intent.KILL, now)
        leaves = rng.randrange(LAUNCH_NS)
        arrives = machine.true + leaves + rng.randrange(150 * MS)
        landed[server(arrives)] += 1
        if rng.random() < 0.9:
            open_calls.append((call_id, arrives, arrives + rng.randrange(50 * MS), now))
    assert max(landed.values()) <= 10
    assert sum(landed.values()) >= 15


def test_setting_the_clock_is_noticed_once() -> None:
    """By how much; what is less than the rule can bear is let be, until it adds up."""
    machine = Machine()
    assert machine.clock.read() == (T0, 0)
    machine.true += SECOND
    machine.ahead = 60 * SECOND
    assert machine.clock.read() == (T0 + 61 * SECOND, 60 * SECOND)
    assert machine.clock.read()[1] == 0
    machine.ahead += SET_NS // 2
    assert machine.clock.read()[1] == 0
    machine.ahead += SET_NS // 2
    assert machine.clock.read()[1] == SET_NS


def test_a_clock_that_is_set_back_is_told_while_it_goes_slowly() -> None:
    """All that it lost is told, bit by bit; then it is quiet again."""
    machine = Machine()
    machine.ahead = -SECOND
    lost = 0
    for _ in range(500):
        machine.true += 10 * MS
        by = machine.clock.read()[1]
        assert by <= 0
        lost += by
    assert -SECOND <= lost < -SECOND + SET_NS
    assert machine.clock() == machine.true + machine.ahead


def test_a_process_that_is_held_up_between_two_looks_sees_no_set_clock() -> None:
    """A second between its look at the one clock and at the other."""
    machine = Machine()
    stalls = iter([SECOND])

    def steady() -> int:
        machine.true += next(stalls, 0)
        return machine.true - T0 // 2

    machine.clock.steady = steady
    assert machine.clock.read() == (T0 + SECOND, 0)
    machine.true += MS
    assert machine.clock() == T0 + SECOND + MS


def test_after_it_nothing_is_known_of_the_brokers_clock() -> None:
    """Nor does an answer say anything whose question left before."""
    clock = ServerClock()
    clock.observe(T0 // SECOND, T0 + 500 * MS, T0 + 510 * MS)
    clock.begin_anew(T0 + SECOND)
    assert (clock.low, clock.high, clock.is_coarse) == (-SECOND // 2, SECOND // 2, True)
    clock.observe(T0 // SECOND + 7, T0 + SECOND - 1, T0 + SECOND + 10 * MS)
    assert clock.low == -SECOND // 2
    clock.observe(T0 // SECOND + 7, T0 + SECOND, T0 + SECOND + 10 * MS)
    assert clock.low > SECOND


@pytest.mark.parametrize("by_s", [60, -60])
def test_a_minute_stays_a_minute(by_s: int) -> None:
    """400 calls are still those of the last minute."""
    budget = RateBudget(Limits(orders_per_second=1_000))
    for number in range(400):
        budget.take(number, Intent.KILL, T0)
    now = T0 + 5 * SECOND + by_s * SECOND
    budget.clock_set(by_s * SECOND, now)
    assert budget.denies(Intent.KILL, now) == "MINUTE"
    assert budget.denies(Intent.KILL, now + 57 * SECOND) == ""


def step(world: World, by: int) -> None:
    """The clock is set; what is to come comes as much later by it. The gate is told as its shell does it."""
    world.now += by
    world.agenda = [(at + by, *rest) for at, *rest in world.agenda]
    for order in world.orders.values():
        order.shows_at += by
    if by > 0:
        world.gate.calls.clock_set(by, world.now)


@pytest.mark.parametrize("by_s", [8, 12, 60])
@pytest.mark.parametrize("lost", [True, False])
def test_an_exit_that_shows_late_is_not_asked_for_again(by_s: int, lost: bool) -> None:
    """Its answer was lost, or it came and the book doesn't show it yet: eight seconds are eight seconds."""
    world = holding()
    world.message_fault, world.call_fault = "drop", "late_show" if lost else "ok"
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(100 * MS)
    (late,) = [o for o in world.orders.values() if o.side is Side.SELL]
    late.shows_at = world.now + 8 * SECOND
    world.advance(3_200 * MS)
    world.tick_all()
    ours = world.gate.book.orders[late.tag]
    assert ours.state is (OrderState.UNKNOWN if lost else OrderState.OPEN)
    step(world, by_s * SECOND)
    world.advance(4 * SECOND)
    world.tick_all()
    at_work = [o for o in world.orders.values() if o.side is Side.SELL and o.alive]
    assert at_work == [late]
    world.advance(2 * SECOND)
    world.fill(late, 10)
    world.message_fault = "ok"
    world.advance(5 * SECOND)
    assert world.position[TOKEN] == world.gate.book.position(TOKEN) == 0


def test_a_lost_exit_is_given_up_after_the_step_too() -> None:
    """The window ends, as late as without the step."""
    world = holding()
    world.call_fault = "timeout_before"
    world.ask(INFY, 0, Intent.EXIT)
    world.advance(4 * SECOND)
    step(world, 60 * SECOND)
    world.advance(6 * SECOND)
    assert world.gate.figures()["unknown_orders"] == 1
    world.tick_all()
    for _ in range(8):
        world.advance(SECOND)
        world.tick_all()
        world.fill_some(1.0)
    assert world.position[TOKEN] == 0
    notes = [r.code for _, r in world.journal if getattr(r, "code", "") == "CLOCK_SET"]
    assert notes == ["CLOCK_SET"]


async def test_the_shell_tells_the_core(tmp_path: Path) -> None:
    """Before the first event that comes after it."""
    manifest = Manifest(
        session_id="s1", mode=Mode.PAPER, account="NOBODY", strategy="m:C", parameters={}, sizing=Sizing(units=1),
        instruments=(INFY.key,), capital=1e6, rest_url="http://127.0.0.1:9", bus_url="unix:///nowhere", limits=LIMITS,
    )  # fmt: skip
    folder = SessionDir(tmp_path)
    shell, machine = Shell(folder, manifest, Journal(folder.journal), [INFY]), Machine()
    shell.clock = machine.clock
    clock = shell.gate.calls.budget.clock
    clock.observe(T0 // SECOND, T0 + 500 * MS, T0 + 510 * MS)
    machine.ahead = 60 * SECOND
    running = asyncio.create_task(shell.run())
    while clock.since != T0 + 60 * SECOND:  # noqa: ASYNC110 (a sign that another task gives)
        await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
