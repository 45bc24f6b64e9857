"""Ticks into candles: the one loop that decides, written so that it runs interpreted over lists and compiled over arrays.

`fold` is plain Python over columns: `x[i]` is all that it asks of them. A session of a few instruments runs it as it is, on
lists, and never pays for importing numba; `consumer.fold_compiled` compiles this very source for big ones.

The rules, tick by tick (event time alone decides, so batches and replays change nothing):

- The watermark is the latest event time of any instrument less the allowance. A candle closes when its instrument's next
  candle's tick comes, or when the watermark reaches its end.
- A tick whose candle has ended by either is late: counted, never folded.
- A candle's volume is what the day's cumulative volume grew by since the last one ended. A first tick in mid-session brings
  no volume but its own trade; a cached one none at all; a fall of the cumulative volume is a correction.
- Ticks outside continuous hours move the watermark and the volume's base, and close candles; they are in none.
"""

from __future__ import annotations

from typing import Any

from tradealgo.domain.ticks import FLAG_CACHED

# Rows of the instruments' integer columns.
START, END, CLOSED_UNTIL, OPEN_TS, CLOSE_TS, LAST_TS, TICKS, VOLUME, BASE = range(9)
LATE, LATENESS, MISSING, OUTSIDE, CORRECTIONS, UNPRICED = range(9, 15)
INTEGERS = 15
# Rows of their float columns.
OPEN, HIGH, LOW, CLOSE, OI = range(5)
FLOATS = 5
# The clock: what is one for all instruments.
MARK, NEXT_END, DAY_START, DAY_END, INTERVAL, ALLOWANCE, UNKNOWN, TIMELESS, OTHER_DAY, LATEST = range(10)
CLOCKS = 10
# Rows of what comes out, integers and floats.
OUT_SLOT, OUT_START, OUT_VOLUME, OUT_TICKS, OUT_TS = range(5)
OUT_INTEGERS = 5

NEVER = 2**63 - 1
NONE = -1


def close_candle(slot: int, ts: int, integers: Any, floats: Any, out_integers: Any, out_floats: Any, n: int) -> int:
    """Write the open candle of `slot` to row `n` of what comes out; returns the next row."""
    out_integers[OUT_SLOT][n] = slot
    out_integers[OUT_START][n] = integers[START][slot]
    out_integers[OUT_VOLUME][n] = integers[VOLUME][slot] - integers[BASE][slot]
    out_integers[OUT_TICKS][n] = integers[TICKS][slot]
    out_integers[OUT_TS][n] = ts
    for row in range(FLOATS):
        out_floats[row][n] = floats[row][slot]
    integers[CLOSED_UNTIL][slot] = integers[END][slot]
    integers[BASE][slot] = integers[VOLUME][slot]
    integers[START][slot] = NONE
    return n + 1


def close_due(ts: int, clock: Any, integers: Any, floats: Any, out_integers: Any, out_floats: Any, n: int) -> int:
    """Close every candle that ends at or before the watermark, in the instruments' order."""
    starts, ends = integers[START], integers[END]
    soonest = NEVER
    for slot in range(len(starts)):
        if starts[slot] == NONE:
            continue
        if ends[slot] <= clock[MARK]:
            n = close_candle(slot, ts, integers, floats, out_integers, out_floats, n)
        elif ends[slot] < soonest:
            soonest = ends[slot]
    clock[NEXT_END] = soonest
    return n


def open_candle(
    slot: int, start: int, price: float, volume: int, base: int, clock: Any, integers: Any, floats: Any
) -> None:
    """Begin the candle of `slot` at `start`; `base` is the volume before it, where that isn't known yet."""
    end = min(start + clock[INTERVAL], integers[CLOSE_TS][slot])
    since = max(integers[CLOSED_UNTIL][slot], integers[OPEN_TS][slot])
    integers[MISSING][slot] += (start - since) // clock[INTERVAL]
    integers[START][slot] = start
    integers[END][slot] = end
    integers[TICKS][slot] = 0
    integers[LAST_TS][slot] = NONE
    if integers[BASE][slot] == NONE:
        integers[BASE][slot] = base
        integers[VOLUME][slot] = volume
    floats[OPEN][slot] = price
    floats[HIGH][slot] = price
    floats[LOW][slot] = price
    if end < clock[NEXT_END]:
        clock[NEXT_END] = end


def unusable(slot: int, ts: int, clock: Any) -> bool:
    """Whether a tick can be put nowhere, which is counted: not of our instruments, without a time, of another day."""
    if slot < 0:
        clock[UNKNOWN] += 1
    elif ts == 0:
        clock[TIMELESS] += 1
    elif ts < clock[DAY_START] or ts >= clock[DAY_END]:
        clock[OTHER_DAY] += 1
    else:
        return False
    return True


def base_of_first(flags: int, at_open: bool, volume: int, quantity: int) -> int:
    """The day's volume before an instrument's first candle, where no pre-open tick has told it."""
    if flags & FLAG_CACHED:
        return volume
    return 0 if at_open else max(0, volume - quantity)


def outside_hours(slot: int, volume: int, integers: Any) -> None:
    """A pre-open, auction or after-hours tick: what was traded by then is in no candle."""
    integers[OUTSIDE][slot] += 1
    if integers[START][slot] == NONE:
        integers[VOLUME][slot] = volume
        integers[BASE][slot] = volume


def into_candle(slot: int, ts: int, price: float, volume: int, oi: float, integers: Any, floats: Any) -> None:
    """Fold a tick into the open candle of `slot`. One out of order touches the extremes, but not what comes last."""
    integers[TICKS][slot] += 1
    if price > floats[HIGH][slot]:
        floats[HIGH][slot] = price
    if price < floats[LOW][slot]:
        floats[LOW][slot] = price
    if ts < integers[LAST_TS][slot]:
        return
    integers[LAST_TS][slot] = ts
    floats[CLOSE][slot] = price
    floats[OI][slot] = oi
    if volume < integers[VOLUME][slot]:
        integers[CORRECTIONS][slot] += 1
        if volume < integers[BASE][slot]:
            integers[BASE][slot] = volume
    integers[VOLUME][slot] = volume


def fold(
    slots: Any, times: Any, prices: Any, volumes: Any, quantities: Any, ois: Any, flags: Any,
    clock: Any, integers: Any, floats: Any, out_integers: Any, out_floats: Any,
) -> int:  # fmt: skip
    """Fold a batch of ticks; returns how many candles closed, which are the first rows of what comes out."""
    n = 0
    for i in range(len(slots)):
        slot, ts = slots[i], times[i]
        if unusable(slot, ts, clock):
            continue
        if ts > clock[LATEST]:
            clock[LATEST] = ts
            clock[MARK] = ts - clock[ALLOWANCE]
            if clock[MARK] >= clock[NEXT_END]:
                n = close_due(ts, clock, integers, floats, out_integers, out_floats, n)
        if integers[START][slot] != NONE and ts >= integers[END][slot]:
            n = close_candle(slot, ts, integers, floats, out_integers, out_floats, n)
        price, volume = prices[i], volumes[i]
        opens, closes = integers[OPEN_TS][slot], integers[CLOSE_TS][slot]
        if ts < opens or ts >= closes:
            outside_hours(slot, volume, integers)
            continue
        if price <= 0.0:
            integers[UNPRICED][slot] += 1
            continue
        start = opens + (ts - opens) // clock[INTERVAL] * clock[INTERVAL]
        if start < integers[CLOSED_UNTIL][slot] or min(start + clock[INTERVAL], closes) <= clock[MARK]:
            integers[LATE][slot] += 1
            integers[LATENESS][slot] = max(integers[LATENESS][slot], clock[LATEST] - ts)
            continue
        if integers[START][slot] == NONE:
            base = base_of_first(flags[i], start == opens, volume, quantities[i])
            open_candle(slot, start, price, volume, base, clock, integers, floats)
        into_candle(slot, ts, price, volume, ois[i], integers, floats)
    return n
