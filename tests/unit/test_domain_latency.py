"""The histogram against exact percentiles, and the hops that an order's stamps make."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradealgo.domain.latency import STAGES, WHOLE, Histogram, Latencies
from tradealgo.domain.orders import Intent, Order, Side


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200), st.sampled_from([1, 50, 90, 99, 99.9, 100]))
def test_percentiles_are_at_most_a_hundredth_too_high(values: list[int], rank: float) -> None:
    """Never below the exact value (nearest rank), never more than 1/128 above it, over any range."""
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    exact = sorted(values)[max(0, math.ceil(len(values) * rank / 100) - 1)]
    assert exact <= histogram.percentile(rank) <= exact * (1 + 1 / 128)
    assert (histogram.count, histogram.total, histogram.highest) == (len(values), sum(values), max(values))


@given(st.lists(st.integers(0, 10**10), max_size=100))
def test_bounds_count_up(values: list[int]) -> None:
    """Each bound holds what lies surely below it, and a bound above all holds all."""
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    bounds = [10**6, 10**8, 10**11]
    counts = histogram.at_most(bounds)
    assert counts == sorted(counts)
    assert counts[-1] == len(values)
    for bound, count in zip(bounds, counts, strict=True):
        assert sum(v < bound * (1 - 1 / 64) for v in values) <= count <= sum(v <= bound for v in values)


def test_an_empty_histogram_and_a_clock_set_back() -> None:
    """Nothing recorded is 0; a negative duration counts as 0."""
    histogram = Histogram()
    assert histogram.percentile(99) == 0
    histogram.record(-5)
    assert (histogram.count, histogram.percentile(50)) == (1, 0)


def order(**stamps: int) -> Order:
    return Order(
        tag="T", request_id="r", session_id="s", instrument_token=1, instrument="NSE:X", side=Side.BUY, quantity=1,
        price=1.0, intent=Intent.ENTRY, **stamps,
    )  # fmt: skip


def test_each_hop_of_an_order_counts_once() -> None:
    """An order is told at each change: a hop counts when its second stamp is new."""
    latencies, ms = Latencies(), 10**6
    names = [STAGES[0][1], *(end for _, _, end in STAGES)]
    checked = order(**{name: (n + 1) * ms for n, name in enumerate(names[:5])})
    sent = msgspec.structs.replace(checked, ts_sent=6 * ms)
    acknowledged = msgspec.structs.replace(sent, ts_acknowledged=7 * ms)
    before = None
    for now in (checked, sent, sent, acknowledged, acknowledged):
        latencies.take_order(now, before)
        before = now
    assert [latencies.hops[name].count for name, _, _ in STAGES] == [1] * 6
    assert latencies.hops[WHOLE[0]].percentile(50) == pytest.approx(5 * ms, rel=0.01)


def test_a_kill_exit_has_no_chain() -> None:
    """Without the tick it came from an order says nothing of hops."""
    latencies = Latencies()
    latencies.take_order(order(ts_checked=1, ts_sent=2, ts_acknowledged=3), None)
    assert all(h.count == 0 for h in latencies.hops.values())


def test_a_frame_counts_once() -> None:
    """The newest frame looked at again is no second one."""
    latencies = Latencies()
    for init, published in ((5, 9), (5, 9), (4, 8), (10, 0), (11, 12)):
        latencies.take_frame(init, published)
    assert latencies.hops["decode"].count == 2
