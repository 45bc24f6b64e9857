"""The broker's request limits."""

from __future__ import annotations

import pytest

from tradealgo.exchange.limits import RateLimiter, RequestLimits
from tradealgo.exchange.protocol import KiteError

SECOND = 1_000_000_000
NOON = 1_795_000_000 * SECOND


def refused(limiter: RateLimiter, kind: str, wall: int) -> bool:
    try:
        limiter.check(kind, wall)
    except KiteError as error:
        return error.code == 429
    return False


def test_counts_calendar_seconds_not_a_sliding_window() -> None:
    """Ten at the end of one second and ten at the start of the next are twenty within a moment, and all right."""
    limiter = RateLimiter(RequestLimits())
    assert not any(refused(limiter, "orders", NOON + 999_000_000) for _ in range(10))
    assert not any(refused(limiter, "orders", NOON + SECOND) for _ in range(10))


def test_eleventh_order_of_a_second_cools_off() -> None:
    """After a 429 orders stay shut for ten seconds; other requests don't."""
    limiter = RateLimiter(RequestLimits())
    assert [refused(limiter, "orders", NOON) for _ in range(11)] == [False] * 10 + [True]
    assert refused(limiter, "orders", NOON + 9 * SECOND)
    assert not refused(limiter, "other", NOON)
    assert not refused(limiter, "orders", NOON + 11 * SECOND)


def test_orders_a_minute_and_a_day() -> None:
    """400 a minute; the day's count survives a restart."""
    limits = RequestLimits(orders_per_minute=12, orders_per_day=20, cooling_s=0)
    limiter = RateLimiter(limits)
    start = NOON // (60 * SECOND) * 60 * SECOND
    assert [refused(limiter, "orders", start + i * SECOND) for i in range(13)] == [False] * 12 + [True]
    again = RateLimiter(limits)
    again.restore(19, start)
    assert [refused(again, "orders", start + i * SECOND) for i in range(2)] == [False, True]


@pytest.mark.parametrize(("kind", "allowed"), [("quote", 1), ("historical", 3), ("other", 10)])
def test_each_kind_has_its_own_count(kind: str, allowed: int) -> None:
    """Quote 1, historical 3, others 10 a second."""
    limiter = RateLimiter(RequestLimits())
    assert [refused(limiter, kind, NOON) for _ in range(allowed + 1)] == [False] * allowed + [True]
