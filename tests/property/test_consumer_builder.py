"""The candle builder: batches, replays, restarts and the compiled loop change nothing; every candle once and in order."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradealgo.consumer.builder import CandleBuilder
from tradealgo.domain.candles import MINUTE_NS, SECOND_NS, ClosedCandle
from tradealgo.domain.errors import BadConfig, BadFrame
from tradealgo.domain.hours import market_hours
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.ticks import FLAG_CACHED, FLAG_INDEX, MODE_FULL, MODE_INDEX_FULL, TICK, empty_ticks
from tradealgo.exchange.market import simulated_day
from tradealgo.exchange.tape import Tape

DAY = dt.date(2026, 11, 20)
BOOK = [
    Instrument(instrument_token=n << 8 | 1, exchange="NSE", tradingsymbol=f"S{n}", kind=Kind.EQUITY) for n in (1, 2, 3)
]
TOKENS = [i.instrument_token for i in BOOK]
HOURS = market_hours(BOOK[0], DAY)
OPEN = HOURS.open

Row = tuple[int, float, float, int, int]  # instrument, seconds since the open, price, volume, flags


def ticks_of(rows: Iterable[Row]) -> np.ndarray:
    rows = list(rows)
    ticks = empty_ticks(len(rows))
    for tick, (instrument, seconds, price, volume, flags) in zip(ticks, rows, strict=True):
        tick["instrument_token"], tick["ts_event"] = TOKENS[instrument], OPEN + int(seconds * SECOND_NS)
        tick["last_price"], tick["volume"], tick["flags"] = price, volume, flags
        tick["last_quantity"], tick["oi"] = 1, volume % 7
    return ticks


def folded(builder: CandleBuilder, ticks: np.ndarray, cuts: Sequence[int] = ()) -> list[ClosedCandle]:
    """What a builder closes over ticks cut into batches."""
    edges = [0, *sorted(c for c in cuts if c <= len(ticks)), len(ticks)]
    return [c for a, b in itertools.pairwise(edges) for c in builder.fold(ticks[a:b], 1, 2)]


def candles_of(rows: Iterable[Row], *, flush: bool = True, **options: object) -> list[ClosedCandle]:
    builder = CandleBuilder(BOOK, DAY, **options)  # type: ignore[arg-type]
    found = builder.fold(ticks_of(rows), 1, 2)
    return found + (builder.flush(2) if flush else [])


@st.composite
def tapes(draw: st.DrawFn) -> np.ndarray:
    """A few minutes of three instruments: in disorder now and then, with cached, stale, foreign, unpriced and untraded ticks."""
    rows, clock, volume, ages = [], -5.0, [draw(st.integers(0, 1_000)) for _ in BOOK], []
    for _ in range(draw(st.integers(0, 60))):
        clock += draw(st.sampled_from([0, 0, 1, 2, 7, 31, 61, 130]))
        n = draw(st.integers(0, 2))
        volume[n] = max(0, volume[n] + draw(st.sampled_from([0, 1, 5, 100, -3, 0, -2_000])))
        ages.append(draw(st.sampled_from([None, None, 0, 1, 40, 300, 10**5, -3])))
        back = draw(st.sampled_from([0, 0, 0, 1, 2, 3, 90]))
        price = draw(st.sampled_from([100.0, 100.05, 99.95, 101.0, 0.0]))
        rows.append((n, clock - back, price, volume[n], draw(st.sampled_from([0, 0, 0, FLAG_CACHED]))))
    ticks = ticks_of(rows)
    for tick, age in zip(ticks, ages, strict=True):
        if age is not None:
            tick["mode"], tick["last_trade_time"] = MODE_FULL, tick["ts_event"] - age * SECOND_NS
    for at in draw(st.lists(st.integers(0, 59), max_size=2)):
        if at < len(ticks):
            field, value = draw(
                st.sampled_from([("instrument_token", 99), ("ts_event", 0), ("ts_event", OPEN + 10**15)])
            )
            ticks[field][at] = value
    return ticks


CUTS = st.lists(st.integers(0, 60), max_size=8)


@given(tapes(), CUTS)
def test_batches_change_nothing(ticks: np.ndarray, cuts: list[int]) -> None:
    """The same ticks give the same candles, stamps and counts, whatever the batch boundaries."""
    whole, cut = CandleBuilder(BOOK, DAY), CandleBuilder(BOOK, DAY)
    assert folded(cut, ticks, cuts) == folded(whole, ticks)
    assert cut.snapshot() == whole.snapshot()


@settings(max_examples=50)
@given(tapes(), CUTS, st.sampled_from([60, 120, 300]))
def test_compiled_and_interpreted_loops_agree(ticks: np.ndarray, cuts: list[int], interval: int) -> None:
    """Candles, counts and snapshots are the same to the bit."""
    plain = CandleBuilder(BOOK, DAY, interval=interval, compiled=False)
    fast = CandleBuilder(BOOK, DAY, interval=interval, compiled=True)
    assert folded(fast, ticks, cuts) == folded(plain, ticks)
    assert fast.counts == plain.counts
    assert fast.snapshot() == plain.snapshot()
    assert fast.flush(3) == plain.flush(3)


@pytest.mark.parametrize(
    "shaped",
    [
        lambda ticks: ticks[::3],
        lambda ticks: np.frombuffer(b"." * 24 + ticks.tobytes(), TICK, offset=24),
        lambda ticks: ticks.reshape(-1, 1),
        lambda ticks: ticks.astype(TICK.newbyteorder(">")),
        lambda ticks: ticks.astype(np.dtype(TICK.descr)),
    ],
    ids=["strided", "read-only", "column", "big-endian", "equal type"],
)
def test_the_compiled_loop_takes_any_array_of_ticks(shaped: Callable[[np.ndarray], np.ndarray]) -> None:
    """However they lie in memory; the compiled loop reads them by address."""
    ticks = ticks_of([(n % 3, n * 7, 100 + n % 5, n, 0) for n in range(60)])
    plain, fast = CandleBuilder(BOOK, DAY, compiled=False), CandleBuilder(BOOK, DAY, compiled=True)
    expected = plain.fold(np.ascontiguousarray(shaped(ticks), TICK).reshape(-1), 1, 2)
    assert len(expected) > 5
    assert fast.fold(shaped(ticks), 1, 2) == expected
    assert fast.snapshot() == plain.snapshot()


@settings(max_examples=50)
@given(tapes(), st.integers(0, 60), st.booleans(), st.booleans())
def test_a_restored_builder_goes_on_as_if_nothing_had_happened(
    ticks: np.ndarray, cut: int, before: bool, after: bool
) -> None:
    """A snapshot at any tick, taken up by a fresh builder, compiled or not, gives the rest of the candles."""
    whole = CandleBuilder(BOOK, DAY)
    expected = folded(whole, ticks)
    first = CandleBuilder(BOOK, DAY, compiled=before)
    got = folded(first, ticks[:cut])
    second = CandleBuilder(BOOK, DAY, compiled=after)
    second.restore(first.snapshot())
    assert got + folded(second, ticks[cut:]) == expected
    assert second.snapshot() == whole.snapshot()


@given(tapes())
def test_each_candle_comes_once_in_order_and_whole(ticks: np.ndarray) -> None:
    """Starts ascend by instrument, lie in hours on the grid, prices bound each other, volumes are never negative."""
    builder = CandleBuilder(BOOK, DAY)
    closed = folded(builder, ticks) + builder.flush(2)
    for token in TOKENS:
        starts = [c.start for c in closed if c.instrument_token == token]
        assert starts == sorted(set(starts))
    for c in closed:
        assert HOURS.is_open(c.start)
        assert (c.start - OPEN) % MINUTE_NS == 0
        assert c.low <= min(c.open, c.close) <= max(c.open, c.close) <= c.high
        assert c.volume >= 0
        assert c.ticks > 0


@given(tapes())
def test_every_tick_is_accounted_for(ticks: np.ndarray) -> None:
    """Ticks are in a candle or in exactly one count."""
    builder = CandleBuilder(BOOK, DAY)
    inside = sum(c.ticks for c in folded(builder, ticks) + builder.flush(2))
    n = builder.counts
    kept_out = n.late + n.outside + n.unpriced + n.untraded + n.unknown + n.timeless + n.other_day
    assert inside + kept_out == len(ticks)


@settings(max_examples=5)
@given(st.integers(1, 50), st.integers(1, 400), st.sampled_from([60, 300, 900]))
def test_a_market_day_gives_back_its_candles(seed: int, batch: int, interval: int) -> None:
    """The paper market's ticks make the candles that it was made from, at the minute and above."""
    market = simulated_day(DAY, seed, ["NSE:INFY", "NSE:NIFTY 50"])
    ticks = Tape(market, seed).between(market.open - 60 * SECOND_NS, market.close + 60 * SECOND_NS)
    builder = CandleBuilder(market.instruments, DAY, interval=interval)
    closed = folded(builder, ticks, range(0, len(ticks), batch))
    assert builder.counts.late == 0
    for token, minutes in market.candles.items():
        got = [tuple(c.candle) for c in closed if c.instrument_token == token]
        opens = market.hours(token).open
        assert got == resampled(minutes.tolist(), opens, interval * SECOND_NS)


def resampled(minutes: Iterable[tuple[float, ...]], opens: int, interval: int) -> list[tuple[float, ...]]:
    """Minute candles put together to longer ones, the plain way."""
    found = []
    for _, group in itertools.groupby(minutes, key=lambda row: (row[0] - opens) // interval):
        rows = list(group)
        start = opens + (rows[0][0] - opens) // interval * interval
        high, low = max(r[2] for r in rows), min(r[3] for r in rows)
        found.append((start, rows[0][1], high, low, rows[-1][4], sum(r[5] for r in rows), rows[-1][6]))
    return found


def test_the_next_minutes_tick_closes_a_candle() -> None:
    """At once, without waiting for the watermark; the stamps are those of the closing tick."""
    [candle] = candles_of([(0, 0, 100, 10, 0), (0, 59, 101, 15, 0), (0, 60, 102, 16, 0)], flush=False)
    assert tuple(candle.candle) == (OPEN, 100.0, 101.0, 100.0, 101.0, 15.0, 1.0)
    assert (candle.ticks, candle.ts_event, candle.ts_init, candle.ts_closed) == (2, OPEN + MINUTE_NS, 1, 2)


def test_the_watermark_closes_a_silent_instruments_candle() -> None:
    """Two seconds past the minute, by another instrument's tick; in the order of the instruments."""
    rows: list[Row] = [(1, 5, 50, 1, 0), (0, 10, 100, 1, 0), (2, 61.5, 70, 1, 0)]
    assert candles_of(rows, flush=False) == []
    closed = candles_of([*rows, (2, 62, 70, 1, 0)], flush=False)
    assert [c.instrument_token for c in closed] == TOKENS[:2]
    assert {c.ts_event for c in closed} == {OPEN + 62 * SECOND_NS}


def test_late_ticks_are_counted_by_instrument_and_never_folded() -> None:
    """Behind the instrument's own closed candle, or behind the watermark even where it had no candle."""
    builder = CandleBuilder(BOOK, DAY)
    builder.fold(ticks_of([(0, 10, 100, 1, 0), (0, 70, 100, 2, 0), (0, 59, 500, 3, 0), (1, 50, 500, 3, 0)]), 1, 2)
    assert builder.late() == {TOKENS[0]: 1, TOKENS[1]: 1}
    assert builder.counts.lateness_s == 20
    assert [c.high for c in builder.flush(2)] == [100.0]


def test_disorder_within_the_allowance_is_folded() -> None:
    """An older tick of an open candle touches the extremes, but is not its close nor its volume."""
    [candle] = candles_of([(0, 10, 100, 5, 0), (0, 12, 101, 8, 0), (0, 11, 99, 6, 0)])
    assert (candle.low, candle.close, candle.volume, candle.ticks) == (99.0, 101.0, 8.0, 3)


@pytest.mark.parametrize(
    ("first", "volume"),
    [
        ([(0, -10, 100, 40, 0)], 10),  # pre-open tick: what was traded by then is in no candle
        ([(0, 1, 100, 40, FLAG_CACHED)], 10),  # joined in the minute: what was traded before is unknown
        ([], 50),  # no tick before the first minute: all since the open is in it
    ],
)
def test_volume_of_the_first_candle(first: list[Row], volume: float) -> None:
    """The base is the pre-open's or the cached tick's cumulative volume, else nothing had been traded at the open."""
    assert candles_of([*first, (0, 2, 100, 45, 0), (0, 59, 100, 50, 0)])[0].volume == volume


def test_volume_when_joining_later_is_that_of_the_ticks_seen() -> None:
    """An uncached first tick in mid-session brings its own trade's quantity and nothing of the past."""
    [candle] = candles_of([(0, 600, 100, 5_000, 0), (0, 610, 100, 5_009, 0)])
    assert candle.volume == 10


def test_volume_between_candles_goes_to_the_next() -> None:
    """What trades grew by across a boundary belongs to the candle of the tick that told it."""
    closed = candles_of([(0, 5, 100, 10, 0), (0, 65, 100, 30, 0), (0, 125, 100, 31, 0)])
    assert [c.volume for c in closed] == [10.0, 20.0, 1.0]


def test_volume_corrections_downward() -> None:
    """A fall of the day's volume is counted; a candle never has less than nothing, and goes on from there."""
    builder = CandleBuilder(BOOK, DAY)
    rows: list[Row] = [(0, 5, 100, 100, 0), (0, 65, 100, 90, 0), (0, 70, 100, 95, 0), (0, 130, 100, 96, 0)]
    closed = builder.fold(ticks_of(rows), 1, 2)
    assert [c.volume for c in closed] == [100.0, 5.0]
    assert builder.counts.corrections == 1


def test_ticks_outside_continuous_hours() -> None:
    """Pre-open and auction prints are in no candle, but the first one after the close ends the last candle."""
    last = (HOURS.close - OPEN) / SECOND_NS
    rows: list[Row] = [
        (0, -30, 90, 7, 0),
        (0, last - 1, 100, 9, 0),
        (0, last, 120, 900, 0),
        (0, last + 60, 130, 999, 0),
    ]
    [candle] = candles_of(rows, flush=False)
    assert (candle.high, candle.volume, candle.start) == (100.0, 2.0, HOURS.close - MINUTE_NS)


Packet = tuple[float, float, int, float]  # seconds since the open, price, volume, seconds of the last trade

YESTERDAY = -17 * 3_600.0
COMPILED = pytest.mark.parametrize("compiled", [False, True])


def packets_of(packets: Iterable[Packet], instrument: int = 0) -> np.ndarray:
    """Full packets: each has the time of its last trade, which may be long ago."""
    packets = list(packets)
    ticks = ticks_of((instrument, seconds, price, volume, 0) for seconds, price, volume, _ in packets)
    ticks["mode"] = MODE_FULL
    ticks["last_trade_time"] = [OPEN + int(traded * SECOND_NS) for *_, traded in packets]
    return ticks


def prices(closed: list[ClosedCandle]) -> list[tuple[float, ...]]:
    """Minute, open, high, low, close, volume of each."""
    return [((c.start - OPEN) // MINUTE_NS, *c.candle[1:6]) for c in closed]


@COMPILED
def test_packets_before_the_first_trade_make_no_candle(compiled: bool) -> None:
    """They have yesterday's price: the day's first candle begins with its first trade, and no minute without one has any."""
    builder = CandleBuilder(BOOK, DAY, compiled=compiled)
    depth = [(float(s), 200.0, 0, YESTERDAY) for s in range(0, 127, 10)]
    closed = builder.fold(packets_of([*depth, (127, 120, 65, 127), (150, 125, 650, 150), (170, 118, 1_300, 170)]), 1, 2)
    depth = [(float(s), 118.0, 1_300, 170.0) for s in range(175, 600, 10)]
    closed += builder.fold(packets_of(depth), 1, 2) + builder.flush(2)
    assert prices(closed) == [(2, 120, 125, 118, 118, 1_300)]
    assert closed[0].ts_event == OPEN + 185 * SECOND_NS
    assert builder.counts.late == 0


@COMPILED
def test_a_packet_without_a_trade_is_no_price_of_its_minute(compiled: bool) -> None:
    """The depth changed: the minute's open is its first trade's. The open interest is the packet's."""
    builder = CandleBuilder(BOOK, DAY, compiled=compiled)
    rows = [
        (10, 105, 1_000, 10),
        (58, 100, 1_200, 58),
        (61, 100, 1_200, 58),
        (62, 101, 1_300, 62),
        (80, 103, 1_400, 80),
    ]
    ticks = packets_of([*rows, (119, 102, 1_500, 119), (119, 102, 1_500, 119), (121, 102, 1_600, 121)])
    ticks["oi"][6] = 77
    closed = builder.fold(ticks, 1, 2)
    assert prices(closed) == [(0, 105, 105, 100, 100, 1_200), (1, 101, 103, 101, 102, 300)]
    assert closed[1].oi == 77


@COMPILED
def test_a_minutes_last_trade_may_come_in_the_next_ones_first_packet(compiled: bool) -> None:
    """It is folded, price and volume, before the packet's time closes the candle, by itself or as the watermark."""
    for seconds in (60.0, 63.0):
        builder = CandleBuilder(BOOK, DAY, compiled=compiled)
        [candle] = builder.fold(packets_of([(10, 100, 10, 10), (seconds, 107, 25, 59)]), 1, 2)
        assert prices([candle]) == [(0, 100, 107, 100, 107, 25)]
        assert candle.ts_event == OPEN + seconds * SECOND_NS
    fresh = CandleBuilder(BOOK, DAY, compiled=compiled)
    [candle] = fresh.fold(packets_of([(-10, 90, 0, YESTERDAY), (61, 107, 25, 59), (62, 107, 25, 59)]), 1, 2)
    assert prices([candle]) == [(0, 107, 107, 107, 107, 25)]


@COMPILED
def test_a_trade_of_a_closed_candle_is_late_and_its_volume_the_next_ones(compiled: bool) -> None:
    """Counted; a packet of the same trade that brings nothing new isn't."""
    builder = CandleBuilder(BOOK, DAY, compiled=compiled)
    builder.fold(packets_of([(10, 100, 10, 10)]), 1, 2)
    builder.fold(packets_of([(62, 50, 1, 62)], instrument=1), 1, 2)
    closed = builder.fold(packets_of([(63, 107, 25, 59), (64, 100, 10, 10), (70, 108, 30, 70)]), 1, 2) + builder.flush(
        2
    )
    assert prices([c for c in closed if c.instrument_token == TOKENS[0]]) == [(1, 108, 108, 108, 108, 20)]
    assert (builder.late(), builder.counts.untraded) == ({TOKENS[0]: 1}, 1)


@COMPILED
def test_a_first_packet_of_an_earlier_minutes_trade_is_the_volumes_base(compiled: bool) -> None:
    """How much of the day's volume was that minute's nobody knows: there is no candle of it."""
    builder = CandleBuilder(BOOK, DAY, compiled=compiled)
    packets = [(600, 99, 5_000, 500), (601, 99, 5_000, 500), (610, 100, 5_020, 610)]
    closed = builder.fold(packets_of(packets), 1, 2) + builder.flush(2)
    assert prices(closed) == [(10, 100, 100, 100, 100, 20)]


@COMPILED
def test_without_a_trades_time_the_event_time_is_it(compiled: bool) -> None:
    """Of an index, whose packets have neither trade nor volume; and of a packet that has volume, but no such time."""
    builder = CandleBuilder(BOOK, DAY, compiled=compiled)
    ticks = ticks_of([(0, 5, 100, 0, FLAG_INDEX), (0, 50, 101, 0, FLAG_INDEX), (1, 5, 50, 9, 0), (1, 65, 51, 10, 0)])
    ticks["mode"] = [MODE_INDEX_FULL, MODE_INDEX_FULL, MODE_FULL, MODE_FULL]
    closed = builder.fold(ticks, 1, 2) + builder.flush(2)
    assert prices(closed) == [(0, 50, 50, 50, 50, 9), (0, 100, 101, 100, 101, 0), (1, 51, 51, 51, 51, 1)]


@COMPILED
@pytest.mark.parametrize("glitch", [0, 40])
def test_one_tick_with_a_fallen_volume_changes_nothing(compiled: bool, glitch: int) -> None:
    """To zero, or below what it was as the minute began: not before the next tick says so too. In its last second even."""
    seconds = [float(s) for s in range(0, 300, 10)]
    rows: list[Row] = [(0, s, 100, glitch if s == 170 else 100 + int(s), 0) for s in seconds]
    builder = CandleBuilder(BOOK, DAY, compiled=compiled)
    closed = builder.fold(ticks_of(rows), 1, 2) + builder.flush(2)
    assert [c.volume for c in closed] == [150, 60, 50, 70, 60]  # what the second's own packet had comes with the next
    assert builder.counts.corrections == 0


@COMPILED
def test_candles_that_a_gap_took_a_part_of_are_partial(compiled: bool) -> None:
    """More than a tenth of their time; and the next one doesn't have the volume of the whole gap. Longer ones by their own."""
    seconds = [s for s in range(0, 1_200, 2) if not (310 <= s < 590 or 700 <= s < 704)]
    ticks = ticks_of((0, float(s), 100, 10 * s + 10, FLAG_CACHED if s in (0, 590) else 0) for s in seconds)
    builder = CandleBuilder(BOOK, DAY, interval=(60, 600), compiled=compiled)
    closed = folded(builder, ticks, range(0, len(ticks), 7)) + builder.flush(2)
    minutes = {(c.start - OPEN) // MINUTE_NS: (c.partial, c.volume) for c in closed if c.interval == 60}
    assert sorted(minutes) == [0, 1, 2, 3, 4, 5, *range(9, 20)]
    assert [minute for minute, (partial, _) in minutes.items() if partial] == [5, 9]
    assert minutes[9][1] == 80
    assert {volume for minute, (_, volume) in minutes.items() if minute not in (0, 5, 9)} == {600}
    assert [c.partial for c in closed if c.interval == 600] == [True, False]


@COMPILED
def test_a_feed_that_begins_within_a_candle_leaves_it_partial(compiled: bool) -> None:
    """However long ago it was launched; one that begins before the open doesn't."""
    for first, partial in ((-10.0, False), (5.0, False), (160.0, True)):
        builder = CandleBuilder(BOOK, DAY, compiled=compiled)
        rows = [(0, s, 100.0, int(s) + 20, FLAG_CACHED if s == first else 0) for s in (first, first + 10, first + 15)]
        assert [c.partial for c in folded(builder, ticks_of(rows), [1, 2]) + builder.flush(2)] == [partial]


@COMPILED
def test_a_frame_says_that_ticks_were_lost_before_it(compiled: bool) -> None:
    """As where the bus was away and the feed wasn't. What closed before knows nothing of it."""
    builder = CandleBuilder(BOOK, DAY, compiled=compiled)
    closed = builder.fold(ticks_of([(0, 5, 100, 10, 0), (1, 50, 100, 10, 0), (0, 61, 100, 20, 0)]), 1, 2)
    frame = ticks_of([(1, 95, 100, 30, 0), (0, 96, 100, 30, 0)])
    closed += (
        builder.fold(frame, 1, 2, gap=True) + builder.fold(ticks_of([(0, 190, 100, 40, 0)]), 1, 2) + builder.flush(2)
    )
    found = {(TOKENS.index(c.instrument_token), (c.start - OPEN) // MINUTE_NS): c.partial for c in closed}
    assert found == {(0, 0): False, (1, 0): False, (0, 1): True, (1, 1): True, (0, 3): False}


def test_missing_minutes_are_counted() -> None:
    """Silent minutes give no candle, and are counted when the next one begins."""
    builder = CandleBuilder(BOOK, DAY)
    builder.fold(ticks_of([(0, 5, 100, 1, 0), (0, 305, 100, 1, 0)]), 1, 2)
    assert builder.counts.missing == 4


def test_longer_intervals_begin_at_the_open_and_the_last_is_cut() -> None:
    """An hour's candles of a share begin at 09:15; the last of a day that ends at 15:15 is whole, of two hours isn't."""
    closed = candles_of([(0, s, 100, 1, 0) for s in range(0, 21_600, 600)], interval=14_400)
    assert [(c.start - OPEN) // (3_600 * SECOND_NS) for c in closed] == [0, 4]
    assert all(c.interval == 14_400 for c in closed)


@pytest.mark.parametrize("interval", [0, -60, 30, 90, (), (60, 90)])
def test_only_whole_minutes(interval: int | tuple[int, ...]) -> None:
    """The error names what was given and what to try."""
    with pytest.raises(BadConfig, match="try 60"):
        CandleBuilder(BOOK, DAY, interval=interval)


def test_a_foreign_snapshot_is_refused() -> None:
    """Of another day, interval or set of instruments, or no snapshot at all."""
    mine = CandleBuilder(BOOK, DAY)
    for other in (
        CandleBuilder(BOOK, DAY + dt.timedelta(days=3)), CandleBuilder(BOOK, DAY, interval=300), CandleBuilder(BOOK[:2], DAY),
    ):  # fmt: skip
        with pytest.raises(BadFrame, match="expected 2026-11-20, 60 s, 3 instruments"):
            mine.restore(other.snapshot())
    with pytest.raises(BadFrame, match="can't be read"):
        mine.restore(b"rubbish")


@settings(max_examples=60)
@given(
    tapes(),
    CUTS,
    st.sampled_from([(60, 300), (60, 120, 180), (120, 180), (180, 60, 900), (300, 14_400)]),
    st.booleans(),
)
def test_several_intervals_from_one_pass(
    ticks: np.ndarray, cuts: list[int], intervals: tuple[int, ...], compiled: bool
) -> None:
    """The longer candles are the shortest ones put together, each once and in order, and cuts change nothing."""
    base = math.gcd(*intervals)
    single = CandleBuilder(BOOK, DAY, interval=base)
    minutes = folded(single, ticks) + single.flush(2)
    builder = CandleBuilder(BOOK, DAY, interval=intervals, compiled=compiled)
    closed = folded(builder, ticks, cuts) + builder.flush(2)
    assert builder.counts == single.counts
    assert {c.interval for c in closed} <= set(intervals)
    for token, interval in itertools.product(TOKENS, intervals):
        source = [tuple(c.candle) for c in minutes if c.instrument_token == token]
        got = [c for c in closed if (c.instrument_token, c.interval) == (token, interval)]
        assert [tuple(c.candle) for c in got] == resampled(source, OPEN, interval * SECOND_NS)
    for interval in intervals:
        ticks_in = sum(c.ticks for c in closed if c.interval == interval)
        assert ticks_in == sum(c.ticks for c in minutes)


@settings(max_examples=50)
@given(tapes(), CUTS, st.integers(0, 60), st.booleans(), st.booleans())
def test_several_intervals_compiled_and_restored(
    ticks: np.ndarray, cuts: list[int], cut: int, before: bool, after: bool
) -> None:
    """Compiled or not, cut or not, restored or not: the same candles with the same stamps, and the same state."""
    intervals = (60, 180, 300)
    whole = CandleBuilder(BOOK, DAY, interval=intervals)
    expected = folded(whole, ticks)
    first = CandleBuilder(BOOK, DAY, interval=intervals, compiled=before)
    got = folded(first, ticks[:cut], cuts)
    second = CandleBuilder(BOOK, DAY, interval=intervals, compiled=after)
    second.restore(first.snapshot())
    assert got + folded(second, ticks[cut:]) == expected
    assert second.snapshot() == whole.snapshot()


@pytest.mark.parametrize("batch", [1, 37, 100_000])
def test_several_intervals_of_a_market_day(batch: int) -> None:
    """All candles of a paper market's day, of four intervals, from one pass over its ticks."""
    market = simulated_day(DAY, 3, ["NSE:INFY", "NSE:NIFTY 50"])
    ticks = Tape(market, 3).between(market.open - 60 * SECOND_NS, market.close + 60 * SECOND_NS)
    builder = CandleBuilder(market.instruments, DAY, interval=(60, 300, 900, 3_600))
    closed = folded(builder, ticks, range(0, len(ticks), batch))
    for token, minutes in market.candles.items():
        for interval in builder.intervals:
            got = [tuple(c.candle) for c in closed if (c.instrument_token, c.interval) == (token, interval)]
            assert got == resampled(minutes.tolist(), market.hours(token).open, interval * SECOND_NS)


def test_longer_candles_close_with_their_last_part_or_when_it_must_have_ended() -> None:
    """By the instrument's next candle's first tick, or by the watermark; stamped by the tick that closed them."""
    builder = CandleBuilder(BOOK, DAY, interval=(60, 180))
    rows: list[Row] = [(0, 10, 100, 1, 0), (0, 181, 101, 2, 0), (0, 250, 99, 4, 0), (1, 720, 50, 1, 0)]
    closed = folded(builder, ticks_of(rows))
    seconds = [((c.start - OPEN) // SECOND_NS, (c.ts_event - OPEN) // SECOND_NS) for c in closed]
    assert [c.interval for c in closed] == [60, 180, 60, 60, 180]
    assert seconds == [(0, 181), (0, 181), (180, 250), (240, 720), (180, 720)]
    assert [c.volume for c in closed] == [1.0, 1.0, 1.0, 2.0, 3.0]


def test_a_tick_behind_its_instruments_open_candle_is_late() -> None:
    """Even of a minute that had no candle, within the allowance: the next candle's tick has ended it."""
    builder = CandleBuilder(BOOK, DAY)
    builder.fold(ticks_of([(0, 10, 100, 1, 0), (0, 180, 100, 2, 0), (0, 179, 500, 2, 0)]), 1, 2)
    assert builder.late() == {TOKENS[0]: 1}
    assert [c.high for c in builder.flush(2)] == [100.0]
