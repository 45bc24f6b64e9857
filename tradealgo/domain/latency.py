"""How long each hop of the way from a tick to its order took: the hops by name, and a histogram of any range. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tradealgo.domain.orders import Order

#: The chain that an order carries: the name of each hop, and the stamps of the order that it lies between.
STAGES = (
    ("candle", "ts_init", "ts_closed"),
    ("strategy", "ts_closed", "ts_signalled"),
    ("request", "ts_signalled", "ts_requested"),
    ("gatekeeper", "ts_requested", "ts_checked"),
    ("journal", "ts_checked", "ts_sent"),
    ("broker", "ts_sent", "ts_acknowledged"),
)
#: The whole way, from the receipt of the tick that closed the candle to the order call.
WHOLE = ("tick to order", "ts_init", "ts_sent")
#: From a frame's receipt until it goes on the bus, decoded; the first part of every candle's hop.
DECODE = "decode"

_BITS = 7


class Histogram:
    """Counts of durations in nanoseconds, in buckets that are 1/128 of their value wide, as HdrHistogram has them.

    Any range takes little room: a power of two has 128 buckets at most, and an empty bucket takes none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.highest = 0
        self._counts: dict[int, int] = {}

    def record(self, ns: int) -> None:
        """Count one duration; a negative one (clocks that were set) as 0."""
        ns = max(0, ns)
        shift = max(0, ns.bit_length() - _BITS - 1)
        bucket = (shift << _BITS) + (ns >> shift)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.total += ns
        self.highest = max(self.highest, ns)

    def percentile(self, rank: float) -> int:
        """The duration that `rank` percent are at or below, at most 0.8 % too high; 0 of none."""
        wanted, seen = max(1, -(-self.count * rank // 100)), 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= wanted:
                return min(_top(bucket), self.highest)
        return self.highest

    def at_most(self, bounds_ns: Sequence[int]) -> list[int]:
        """How many durations are at or below each bound, as far as buckets can tell."""
        tops = [(_top(bucket), n) for bucket, n in self._counts.items()]
        return [sum(n for top, n in tops if top <= bound) for bound in bounds_ns]


def _top(bucket: int) -> int:
    """The highest duration of a bucket."""
    shift = max(0, (bucket >> _BITS) - 1)
    return (bucket - (shift << _BITS) + 1 << shift) - 1


class Latencies:
    """A histogram for each hop, filled from what goes over the bus."""

    def __init__(self) -> None:
        self.hops = {name: Histogram() for name in (DECODE, *(stage[0] for stage in STAGES), WHOLE[0])}
        self._newest_frame = 0

    def take_frame(self, ts_init: int, ts_published: int) -> None:
        """A tick frame's stamps; the same frame again, or an older one, changes nothing."""
        if ts_init > self._newest_frame and ts_published:
            self._newest_frame = ts_init
            self.hops[DECODE].record(ts_published - ts_init)

    def take_order(self, order: Order, before: Order | None) -> None:
        """An order's stamps, as far as they are new since `before`. The kill's own exits have no chain and don't count."""
        if not order.ts_init:
            return
        for name, begin, end in (*STAGES, WHOLE):
            if _has(order, begin, end) and not (before is not None and _has(before, begin, end)):
                self.hops[name].record(getattr(order, end) - getattr(order, begin))


def _has(order: Order, begin: str, end: str) -> bool:
    return bool(getattr(order, begin) and getattr(order, end))
