"""Ticks that no candle has: who hears of them, and when."""

import msgspec

from tradealgo.consumer.builder import BuilderCounts
from tradealgo.consumer.unfolded import MINUTES, Unfolded

NONE = BuilderCounts(
    late=0, lateness_s=0.0, missing=0, outside=0, corrections=0, unpriced=0, untraded=0, unknown=0, timeless=0, other_day=0
)  # fmt: skip


def told(each_minute: list[tuple[int, int]]) -> list[str]:
    """What is told of so many late and timeless ticks, minute by minute; looked at twice a second."""
    watch, late, timeless, found = Unfolded(), 40, 3_000, []
    for minute, (more_late, more_timeless) in enumerate([(0, 0), *each_minute]):
        late, timeless = late + more_late, timeless + more_timeless
        counts = msgspec.structs.replace(NONE, late=late, timeless=timeless, lateness_s=4.0)
        found += [watch.news(counts, 7.0 + 60 * minute + half / 2) for half in range(120)]
    return [text for text in found if text]


def test_what_goes_on_for_minutes_is_told_once() -> None:
    """A connection that is seconds behind another, or an instrument that isn't in full mode; again after a quiet minute."""
    [text] = told([(18, 0)] * (2 * MINUTES))
    assert "18 came after their candle had closed (up to 4.0 s behind" in text
    [text] = told([(0, 60)] * MINUTES)
    assert "60 without a time" in text
    assert len(told([*[(9, 9)] * MINUTES, (0, 0), *[(9, 9)] * MINUTES])) == 2


def test_a_reconnects_few_are_no_news() -> None:
    """Nor what was there before, as after a restart."""
    assert told([(900, 3_000), (0, 0), (900, 3_000), (30, 30), (0, 0), *[(2, 2)] * 10]) == []
