"""The broker's request limits: counted by calendar second, minute and day of its wall clock (Kite, 2026)."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from tradealgo.exchange.protocol import KiteError, too_many

SECOND_NS = 1_000_000_000


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Requests a calendar second by kind, and more for orders. `cooling_s`: how long orders stay shut after a 429."""

    orders: int = 10
    quote: int = 1
    historical: int = 3
    other: int = 10
    orders_per_minute: int = 400
    orders_per_day: int = 5_000
    modifications_per_order: int = 25
    cooling_s: float = 10.0


#: The broker's own.
LIMITS = RequestLimits()


class RateLimiter:
    """Counts requests; `check` raises a 429 and counts nothing when one is too many."""

    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits
        self._seconds: dict[str, tuple[int, int]] = {}
        self._minute = (0, 0)
        self._days: defaultdict[int, int] = defaultdict(int)
        self._shut_until = 0

    def check(self, kind: str, wall: int) -> None:
        """Count one request of `kind` ("orders", "quote", "historical", "other") at wall time `wall` (UTC ns)."""
        second, used = wall // SECOND_NS, 0
        if self._seconds.get(kind, (0, 0))[0] == second:
            used = self._seconds[kind][1]
        try:
            if used >= getattr(self.limits, kind):
                raise too_many()
            if kind == "orders":
                self._check_order(second, wall)
        except KiteError:
            if kind == "orders" and wall >= self._shut_until:
                self._shut_until = wall + int(self.limits.cooling_s * SECOND_NS)
            raise
        self._seconds[kind] = (second, used + 1)

    def _check_order(self, second: int, wall: int) -> None:
        minute, used = second // 60, 0
        if self._minute[0] == minute:
            used = self._minute[1]
        day = (second + 19_800) // 86_400  # IST
        if wall < self._shut_until or used >= self.limits.orders_per_minute:
            raise too_many()
        if self._days[day] >= self.limits.orders_per_day:
            raise KiteError(429, "NetworkException", "Maximum allowed order requests exceeded.")
        self._minute = (minute, used + 1)
        self._days[day] += 1

    def restore(self, orders_today: int, wall: int) -> None:
        """After a restart: the day's count goes on from the orders that the log holds."""
        self._days[(wall // SECOND_NS + 19_800) // 86_400] = orders_today
