"""Ticks that no candle has, because they come too late or without a time: told where it goes on. Pure."""

from __future__ import annotations

from tradealgo.consumer.builder import BuilderCounts

#: So many a minute, minute after minute, are no accident: a reconnect has some, a changed subscription one an instrument.
A_MINUTE = 5
MINUTES = 3
WINDOW_S = 60.0


class Unfolded:
    """Watches a builder's counts by the wall clock."""

    def __init__(self) -> None:
        self._ends = self._lasted = 0.0
        self._before = (0, 0)

    def news(self, counts: BuilderCounts, now: float) -> str:
        """What people should hear at `now` (seconds of any clock that only goes forward); empty for nothing."""
        if now < self._ends:
            return ""
        seen = (counts.late, counts.timeless)
        late, timeless = (n - before for n, before in zip(seen, self._before, strict=True))
        bad = self._ends > 0 and late + timeless >= A_MINUTE
        self._before, self._ends = seen, now + WINDOW_S
        self._lasted = self._lasted + 1 if bad else 0
        if self._lasted != MINUTES:
            return ""
        return (
            f"for {MINUTES} minutes ticks have been missing from the candles: in the last one {late} came after their candle "
            f"had closed (up to {counts.lateness_s:.1f} s behind the others today) and {timeless} without a time (not in full mode)"
        )
