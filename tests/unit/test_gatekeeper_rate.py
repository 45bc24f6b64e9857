"""The rate budget: never more than the rule in any second of the broker's clock, exits first, calm after a 429."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent
from tradealgo.gatekeeper.rate import LAUNCH_NS, SECOND_NS, RateBudget, ServerClock, TokenBucket

MS = 1_000_000
T0 = 1_800_000_000 * SECOND_NS


@given(seed=st.integers(0, 10_000), offset_ms=st.integers(-2_000, 2_000), kinds=st.integers(0, 2))
def test_never_more_than_ten_land_in_a_second(seed: int, offset_ms: int, kinds: int) -> None:
    """Whatever the clocks, the delays and the answers: the broker counts at most ten."""
    rng = random.Random(seed)
    budget, now, landed, open_calls = RateBudget(Limits()), T0 + rng.randrange(SECOND_NS), Counter[int](), []
    intents = [[Intent.KILL], [Intent.ENTRY, Intent.EXIT], [Intent.ENTRY]][kinds]
    for call_id in range(1, 400):
        now += rng.choice((0, 1, 5, 20, 60)) * MS
        for call in [c for c in open_calls if c[2] <= now]:
            open_calls.remove(call)
            number, arrives, done, sent = call
            budget.landed(number, sent, done)
            budget.clock.observe((arrives + offset_ms * MS) // SECOND_NS, sent, done)
        if budget.denies(rng.choice(intents), now):
            continue
        budget.take(call_id, intents[0], now)
        sent = now + rng.randrange(LAUNCH_NS)
        arrives = sent + rng.randrange(150 * MS)
        landed[(arrives + offset_ms * MS) // SECOND_NS] += 1
        if rng.random() < 0.8:
            open_calls.append((call_id, arrives, arrives + rng.randrange(50 * MS), sent))
    assert max(landed.values()) <= 10


def flow(budget: RateBudget, intent: Intent, seconds: float, latency_ms: int = 10) -> int:
    """How many calls get out when one is always waiting."""
    now, end, count = T0, T0 + int(seconds * SECOND_NS), 0
    while now < end:
        if not budget.denies(intent, now):
            count += 1
            budget.take(count, intent, now)
            done = now + latency_ms * MS
            budget.landed(count, now, done)
            budget.clock.observe((now + latency_ms // 2 * MS) // SECOND_NS, now, done)
        now += MS
    return count


def calibrated(limits: Limits, offset: int = 0) -> RateBudget:
    """A budget whose clock has been probed six times, as the core does while there is nothing else to do."""
    budget, now = RateBudget(limits), T0 - 20 * SECOND_NS
    for _ in range(6):
        now = budget.clock.next_probe(now)
        budget.clock.observe((now + 5 * MS + offset) // SECOND_NS, now, now + 10 * MS)
    return budget


@pytest.mark.parametrize("offset_ms", [-1_900, -500, -3, 0, 250, 499, 500, 999, 61_234])
def test_six_probes_find_the_turn_of_the_second(offset_ms: int) -> None:
    """Each halves what is not known, down to the slack."""
    clock = calibrated(Limits(), offset_ms * MS).clock
    assert not clock.is_coarse
    assert clock.low <= offset_ms * MS <= clock.high


def test_a_known_clock_gives_the_whole_rate_to_the_kill() -> None:
    """Ten in each second once the offset is known; entries leave three for others."""
    assert flow(calibrated(Limits(orders_per_minute=10_000)), Intent.KILL, 10) >= 95
    assert 60 <= flow(calibrated(Limits(orders_per_minute=10_000)), Intent.ENTRY, 10) <= 77


def test_entries_leave_room_for_exits_in_the_same_second() -> None:
    """Seven entries, and three exits still go at once."""
    budget, now = RateBudget(Limits()), T0 + 300 * MS
    budget.clock.observe(T0 // SECOND_NS, T0 + 999 * MS, T0 + 999 * MS)
    budget.clock.observe(T0 // SECOND_NS, T0 + 1 * MS, T0 + 1 * MS)
    sent = 0
    while not budget.denies(Intent.ENTRY, now):
        sent += 1
        budget.take(sent, Intent.ENTRY, now)
    assert sent == 7
    while not budget.denies(Intent.EXIT, now):
        sent += 1
        budget.take(sent, Intent.EXIT, now)
    assert sent == 10


def test_entries_are_shaped_over_the_turn_of_a_second() -> None:
    """Seven at the end of a second aren't followed by seven at the beginning of the next; exits are."""
    budget, now = calibrated(Limits()), T0 + 700 * MS
    sent = 0
    while not budget.denies(Intent.ENTRY, now):
        sent += 1
        budget.take(sent, Intent.ENTRY, now)
        budget.landed(sent, now, now + MS)
    assert sent == 7
    later = T0 + SECOND_NS + 100 * MS
    assert [budget.denies(Intent.ENTRY, later), budget.denies(Intent.EXIT, later)] == ["", ""]
    for number in range(2):
        budget.take(10 + number, Intent.ENTRY, later)
    assert [budget.denies(Intent.ENTRY, later), budget.denies(Intent.EXIT, later)] == ["SHAPER", ""]


def test_the_clock_narrows_and_survives_being_set() -> None:
    """Answers around the turn of a second pin the offset down; a jump begins anew."""
    clock = ServerClock()
    offset = 700 * MS
    for at in range(0, 5_000, 37):
        local = T0 + at * MS
        clock.observe((local + 5 * MS + offset) // SECOND_NS, local, local + 10 * MS)
    assert clock.uncertainty < 120 * MS
    assert abs(clock.offset - offset) < 60 * MS
    later = T0 + 10 * SECOND_NS
    clock.observe(later // SECOND_NS + 500, later, later + 10 * MS)
    assert abs(clock.offset - 500 * SECOND_NS) < SECOND_NS


@pytest.mark.parametrize(
    ("intent", "room"), [(Intent.ENTRY, 280), (Intent.PROTECT, 280), (Intent.EXIT, 340), (Intent.KILL, 400)]
)
def test_minute(intent: Intent, room: int) -> None:
    """400 in any minute: 60 for exits and the kill, 60 more for the kill alone."""
    budget = RateBudget(Limits(orders_per_second=1_000, exit_reserve_per_second=0))
    count, now = 0, T0
    while not budget.denies(intent, now):
        count += 1
        budget.take(count, intent, now)
        now += 100 * MS
    assert (count, budget.denies(intent, now)) == (room, "MINUTE")


def test_the_kill_finds_room_in_a_minute_that_exits_have_used_up() -> None:
    """Sixty calls more, without a wait for the minute to pass."""
    budget, now = RateBudget(Limits(orders_per_second=1_000)), T0
    for number in range(400):
        now += 10 * MS
        intent = Intent.EXIT if number < 340 else Intent.KILL
        assert budget.denies(intent, now) == ""
        budget.take(number, intent, now)
        assert (budget.denies(Intent.EXIT, now) == "MINUTE") == (number >= 339)
    assert budget.denies(Intent.KILL, now) == "MINUTE"


def test_day_survives_a_restart_and_ends_at_midnight() -> None:
    """The journal's calls count; tomorrow is another day."""
    budget = RateBudget(Limits())
    for number in range(4_500):
        budget.count_day(T0 + number * MS)
    later = T0 + 70 * SECOND_NS
    assert budget.denies(Intent.ENTRY, later) == "DAY"
    assert budget.denies(Intent.EXIT, later) == ""
    for number in range(500):
        budget.count_day(T0 + number * MS)
    assert budget.denies(Intent.EXIT, later) == "DAY"
    assert budget.denies(Intent.KILL, later) == ""
    assert budget.denies(Intent.ENTRY, T0 + 86_400 * SECOND_NS) == ""


def test_after_a_429_entries_wait_and_exits_knock() -> None:
    """One exit after a second, the next after two; an answer ends it."""
    budget, now = RateBudget(Limits()), T0
    budget.cool(now)
    assert budget.denies(Intent.KILL, now + 900 * MS) == "COOLING"
    now += SECOND_NS
    assert budget.denies(Intent.ENTRY, now) == "COOLING"
    assert budget.denies(Intent.KILL, now) == ""
    budget.take(1, Intent.KILL, now)
    assert budget.denies(Intent.KILL, now + 500 * MS) == "COOLING"
    budget.warm()
    assert budget.denies(Intent.ENTRY, now + 500 * MS) == ""


def test_a_call_that_was_never_sent_is_not_counted() -> None:
    """The budget gets it back: in its second, its minute and its day, also from a journal."""
    budget, now = RateBudget(Limits()), T0
    for number in range(10):
        budget.take(number, Intent.KILL, now)
    assert budget.denies(Intent.KILL, now) == "SECOND"
    budget.never_sent(3)
    assert budget.denies(Intent.KILL, now) == ""
    assert (budget.minute_count(now), budget.day_count(now)) == (9, 9)
    budget.remember(10, now)
    budget.never_sent(10)
    budget.never_sent(10)
    assert (budget.minute_count(now), budget.day_count(now)) == (9, 9)


def test_bucket() -> None:
    """Bursts of its capacity, then its rate."""
    bucket = TokenBucket(3, 2)
    for _ in range(3):
        bucket.take(T0)
    assert bucket.level(T0) == 0
    assert bucket.level(T0 + SECOND_NS) == 2
    assert bucket.level(T0 + 100 * SECOND_NS) == 3
