"""The Gatekeeper's one clock: wall time that never goes back, whatever is done to the machine's."""

from __future__ import annotations

import time
from collections.abc import Callable

#: The wall clock and the steady one differ by this much more or less than they did: somebody has set the wall clock. Less than it
#: the rate rule bears (`rate.DATE_SLACK_NS`).
SET_NS = 20_000_000
#: Readings that must agree on that: a process may be held up between its look at the one clock and at the other.
READINGS = 3
#: Of a clock that goes on while the machine sleeps.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_ns() -> int:
    """Nanoseconds since some moment; nobody can set it."""
    return time.clock_gettime_ns(_STEADY)


class Clock:
    """UTC nanoseconds. A wall clock that is set forward is followed at once. While it is behind, this one runs a quarter
    slower until both are the same again: what was asked after a fill stays later than the fill. `read` tells of both.

    Args:
        after: the last instant that the journal knows: a restart doesn't go back either.
    """

    def __init__(
        self, after: int = 0, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = steady_ns
    ) -> None:
        self.wall, self.steady = wall, steady
        self._last = max(after, wall())
        self._at = steady()
        self._lead = self._last - self._at

    def __call__(self) -> int:
        # The wall first: held up before it looks at the other one, this clock stands for a moment, and doesn't leap
        wall = self.wall()
        at = self.steady()
        slow = self._last + (at - self._at) * 3 // 4
        self._at, self._last = at, wall if wall > slow else slow
        return self._last

    def read(self) -> tuple[int, int]:
        """The time, and by how many nanoseconds it was set since it was last read so: 0 but in rare moments."""
        by = now = 0
        for _ in range(READINGS):
            now = self()
            by = now - self._at - self._lead
            if -SET_NS < by < SET_NS:
                return now, 0
        self._lead += by
        return now, by
