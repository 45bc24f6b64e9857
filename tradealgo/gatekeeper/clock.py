"""The Gatekeeper's one clock: wall time that never goes back, whatever is done to the machine's."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Of a clock that goes on while the machine sleeps.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_ns() -> int:
    """Nanoseconds since some moment; nobody can set it."""
    return time.clock_gettime_ns(_STEADY)


class Clock:
    """UTC nanoseconds. A wall clock that is set forward is followed at once. While it is behind, this one runs a quarter
    slower until both are the same again: what was asked after a fill stays later than the fill.

    Args:
        after: the last instant that the journal knows: a restart doesn't go back either.
    """

    def __init__(
        self, after: int = 0, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = steady_ns
    ) -> None:
        self.wall, self.steady = wall, steady
        self._last, self._at = after, steady()

    def __call__(self) -> int:
        at = self.steady()
        self._last = max(self.wall(), self._last + (at - self._at) * 3 // 4)
        self._at = at
        return self._last
