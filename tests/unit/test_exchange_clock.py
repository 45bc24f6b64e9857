"""The data clock."""

from __future__ import annotations

from tradealgo.exchange.clock import DataClock

SECOND = 1_000_000_000


def test_stands_until_started() -> None:
    """Wall time alone moves nothing before the bell."""
    clock = DataClock(100, 60.0, 10**18)
    assert clock.now(5 * SECOND) == 100
    assert not clock.running


def test_runs_at_speed_and_never_back() -> None:
    """Sixty data seconds a wall second; an earlier wall time changes nothing."""
    clock = DataClock(0, 60.0, 10**18)
    clock.start(10 * SECOND)
    assert clock.now(11 * SECOND) == 60 * SECOND
    assert clock.now(10 * SECOND) == 60 * SECOND
    clock.start(99 * SECOND)
    assert clock.now(12 * SECOND) == 120 * SECOND


def test_held_time_is_not_made_up_for() -> None:
    """A clock that waited for its readers goes on from where it stood."""
    clock = DataClock(0, 60.0, 10**18)
    clock.hold(5 * SECOND)
    assert clock.now(6 * SECOND) == 0
    clock.start(0)
    clock.hold(10 * SECOND)
    assert clock.now(11 * SECOND) == 60 * SECOND


def test_stays_at_the_end() -> None:
    """After the close it stands for ever."""
    clock = DataClock(0, 1.0, 5 * SECOND)
    clock.start(0)
    assert clock.now(9 * SECOND) == 5 * SECOND
    assert clock.advance(SECOND, 10 * SECOND) == 5 * SECOND


def test_advance_adds_to_what_the_wall_brought() -> None:
    """A step of a test's clock, also while it stands and at speed 0."""
    clock = DataClock(0, 0.0, 10**18)
    assert clock.advance(7, 0) == 7
    clock.start(0)
    assert clock.advance(3, 50 * SECOND) == 10
    assert clock.advance(-5, 50 * SECOND) == 10
