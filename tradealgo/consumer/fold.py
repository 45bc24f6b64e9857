"""Ticks into candles: what decides, written so that it runs interpreted over lists and compiled over arrays.

`fold_tick` is plain Python over rows: `x[i]` is all that it asks of them. A session of a few instruments runs it as it is, on
lists, and never pays for importing numba; `consumer.fold_compiled` compiles this very source for big ones.

The rules, tick by tick (the exchange's times alone decide, so batches and replays change nothing):

- A tick belongs to the candle of its last trade: a packet comes on every change of the depth too, with the last price of
  whenever that was. One that tells of no trade since its candle ended opens none and changes no price. Where no trade's time
  is known (an index, quote mode), the event time is taken for it.
- The watermark is the latest event time of any instrument less the allowance. A candle closes when its instrument's next
  tick of after its end has come and is folded, or when the watermark reaches its end.
- A tick whose candle has ended by either, and which brings new volume, is late: counted, never folded.
- A candle's volume is what the day's cumulative volume grew by since the last one ended. A first tick in mid-session brings
  no volume but its own trade; a cached one none at all, nor one that follows a gap of whole candles. A fall of the cumulative volume is a correction; one to zero, or
  below what it was as the candle began, only if the instrument's next tick says so too.
- A candle is partial where more than a tenth of its time passed without a feed, be it lost or not begun.
- Trades outside continuous hours move the volume's base, and are in no candle.
- Ticks are folded into candles of the shortest interval alone. As one of those closes it goes into its instrument's longer
  ones, so that a longer candle is the sum of the shorter ones to the bit. It closes with its last part; where that part
  had no tick, as a later one begins or when the watermark reaches its end.
"""

from __future__ import annotations

from typing import Any

from tradealgo.domain.ticks import FLAG_CACHED, MODE_FULL

# Fields of a row of integers. There are as many rows as instruments for the shortest interval, then as many for each longer
# one, which use the first and the volume's only. The first six are what nearly every tick touches. FALLEN is a fall of the volume that
# isn't believed yet.
START, END, LAST_TS, TICKS, VOLUME, FALLEN, BASE, CLOSED_UNTIL, OPEN_TS, CLOSE_TS = range(10)
LATE, LATENESS, MISSING, OUTSIDE, CORRECTIONS, UNPRICED, UNTRADED = range(10, 17)
INTEGERS = 17
# Fields of its row of floats.
OPEN, HIGH, LOW, CLOSE, OI = range(5)
FLOATS = 5
# The clock: what is one for all instruments; the longer intervals, if any, come behind.
MARK, NEXT_END, DAY_START, DAY_END, INTERVAL, ALLOWANCE, UNKNOWN, TIMELESS, OTHER_DAY, LATEST = range(10)
GAP_FROM, GAP_TO = range(10, 12)  # event times between which ticks were lost the last time
CLOCKS = 12
# Fields of a row of integers that comes out, OUT_SLOT being the candle's row; its floats are that row's.
OUT_SLOT, OUT_START, OUT_VOLUME, OUT_TICKS, OUT_TS, OUT_PARTIAL = range(6)
OUT_INTEGERS = 6

NEVER = 2**63 - 1
NONE = -1

PARTIAL_OF = 10  # a candle is partial where more than one part in so many was lost


def put_out(slot: int, ts: int, clock: Any, row: Any, prices: Any, out: Any, out_prices: Any) -> None:
    """Write an open candle to a row of what comes out; there is none open any more."""
    out[OUT_SLOT] = slot
    out[OUT_START] = row[START]
    out[OUT_VOLUME] = row[VOLUME] - row[BASE]
    out[OUT_TICKS] = row[TICKS]
    out[OUT_TS] = ts
    lost = min(row[END], clock[GAP_TO]) - max(row[START], clock[GAP_FROM])
    out[OUT_PARTIAL] = lost > (row[END] - row[START]) // PARTIAL_OF
    for field in range(FLOATS):
        out_prices[field] = prices[field]
    row[CLOSED_UNTIL] = row[END]
    row[BASE] = row[VOLUME]
    row[START] = NONE


def into_longer(interval: int, row: Any, prices: Any, longer: Any, longer_prices: Any) -> None:
    """Put an instrument's candle, about to close, into a longer one of its; `longer` is begun if need be."""
    if longer[START] == NONE:
        start = row[OPEN_TS] + (row[START] - row[OPEN_TS]) // interval * interval
        longer[START] = start
        longer[END] = min(start + interval, row[CLOSE_TS])
        longer[TICKS] = 0
        longer[VOLUME] = 0
        longer[BASE] = 0
        longer_prices[OPEN] = prices[OPEN]
        longer_prices[HIGH] = prices[HIGH]
        longer_prices[LOW] = prices[LOW]
    longer[TICKS] += row[TICKS]
    longer[VOLUME] += row[VOLUME] - row[BASE]
    longer_prices[HIGH] = max(longer_prices[HIGH], prices[HIGH])
    longer_prices[LOW] = min(longer_prices[LOW], prices[LOW])
    longer_prices[CLOSE] = prices[CLOSE]
    longer_prices[OI] = prices[OI]


def close_candle(
    slot: int, ts: int, clock: Any, integers: Any, floats: Any, out_integers: Any, out_floats: Any, n: int
) -> int:
    """Close an instrument's candle, and the longer ones that end with it; returns the next row out."""
    row, prices = integers[slot], floats[slot]
    instruments, mine = len(integers) // (1 + len(clock) - CLOCKS), n
    n += 1
    for k in range(CLOCKS, len(clock)):
        at = slot + (k - CLOCKS + 1) * instruments
        longer = integers[at]
        into_longer(clock[k], row, prices, longer, floats[at])
        if row[END] >= longer[END]:
            put_out(at, ts, clock, longer, floats[at], out_integers[n], out_floats[n])
            n += 1
        elif longer[END] < clock[NEXT_END]:
            clock[NEXT_END] = longer[END]
    put_out(slot, ts, clock, row, prices, out_integers[mine], out_floats[mine])
    return n


def close_longer(
    slot: int, start: int, ts: int, clock: Any, integers: Any, floats: Any, out_integers: Any, out_floats: Any, n: int
) -> int:
    """Close an instrument's longer candles that had ended by `start`, where its next candle begins."""
    instruments = len(integers) // (1 + len(clock) - CLOCKS)
    for k in range(CLOCKS, len(clock)):
        at = slot + (k - CLOCKS + 1) * instruments
        row = integers[at]
        if row[START] != NONE and row[END] <= start:
            put_out(at, ts, clock, row, floats[at], out_integers[n], out_floats[n])
            n += 1
    return n


def close_due(ts: int, clock: Any, integers: Any, floats: Any, out_integers: Any, out_floats: Any, n: int) -> int:
    """Close every candle that ends at or before the watermark, in the instruments' order; returns the next row out."""
    soonest = NEVER
    instruments = len(integers) // (1 + len(clock) - CLOCKS)
    for slot in range(len(integers)):  # the longer ones come last, when the shorter ones are in them
        row = integers[slot]
        if row[START] == NONE:
            continue
        if row[END] > clock[MARK]:
            soonest = min(soonest, row[END])
        elif slot < instruments:
            n = close_candle(slot, ts, clock, integers, floats, out_integers, out_floats, n)
        else:
            put_out(slot, ts, clock, row, floats[slot], out_integers[n], out_floats[n])
            n += 1
    clock[NEXT_END] = soonest
    return n


def open_candle(start: int, price: float, volume: int, base: int, clock: Any, row: Any, prices: Any) -> None:
    """Begin an instrument's candle; `base` is the volume before it, where that isn't known yet."""
    end = min(start + clock[INTERVAL], row[CLOSE_TS])
    row[MISSING] += (start - max(row[CLOSED_UNTIL], row[OPEN_TS])) // clock[INTERVAL]
    row[CLOSED_UNTIL] = start
    row[START] = start
    row[END] = end
    row[TICKS] = 0
    row[LAST_TS] = NONE
    if row[BASE] == NONE:
        row[BASE] = base
        row[VOLUME] = volume
    prices[OPEN] = price
    prices[HIGH] = price
    prices[LOW] = price
    if end < clock[NEXT_END]:
        clock[NEXT_END] = end


def into_candle(ts: int, price: float, volume: int, oi: float, row: Any, prices: Any) -> None:
    """Fold a tick into an instrument's open candle. One out of order touches the extremes, but not what comes last."""
    row[TICKS] += 1
    if price > prices[HIGH]:
        prices[HIGH] = price
    if price < prices[LOW]:
        prices[LOW] = price
    if ts < row[LAST_TS]:
        return
    row[LAST_TS] = ts
    prices[CLOSE] = price
    prices[OI] = oi
    if is_volume(volume, row):
        row[VOLUME] = volume


def is_volume(volume: int, row: Any) -> bool:
    """Whether a tick's cumulative volume counts. One that fell far does once the next tick confirms it."""
    if volume >= row[VOLUME]:
        row[FALLEN] = NONE
        return True
    if volume < row[BASE] or volume == 0:
        if row[FALLEN] == NONE:
            row[FALLEN] = volume
            return False
        row[BASE] = min(row[BASE], row[FALLEN], volume)
    row[FALLEN] = NONE
    row[CORRECTIONS] += 1
    return True


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


def kept_out(ts: int, at: int, price: float, volume: int, row: Any) -> bool:
    """Whether a tick is in no candle by rule, which is counted: traded outside of continuous hours, or without a price."""
    if at < row[OPEN_TS] or at >= row[CLOSE_TS]:
        row[OUTSIDE] += 1
        # What was traded by then is in no candle
        if row[START] == NONE and (ts < row[OPEN_TS] or volume >= row[VOLUME]):
            row[VOLUME] = volume
            row[BASE] = volume
        return True
    if price <= 0.0:
        row[UNPRICED] += 1
        return True
    return False


def ended(start: int, ts: int, at: int, volume: int, oi: float, clock: Any, row: Any, prices: Any) -> bool:
    """Whether the candle of a tick has ended by now, which is counted: late if it tells of a trade, else not traded."""
    end = min(start + clock[INTERVAL], row[CLOSE_TS])
    if row[BASE] == NONE and end <= ts:  # a first tick: how much of the day's volume its trade was, nobody knows
        row[VOLUME] = volume
        row[BASE] = volume
    is_over = start < row[CLOSED_UNTIL] or end <= clock[MARK]
    if at < ts and volume <= row[VOLUME] and (is_over or end <= ts):
        row[UNTRADED] += 1
        if row[START] != NONE and ts >= row[LAST_TS]:
            prices[OI] = oi
        return True
    if is_over:
        row[LATE] += 1
        row[LATENESS] = max(row[LATENESS], clock[LATEST] - at)
    return is_over


def base_of_first(flags: int, at_open: bool, volume: int, quantity: int) -> int:
    """The day's volume before an instrument's first candle, where no pre-open tick has told it."""
    if flags & FLAG_CACHED:
        return volume
    return 0 if at_open else max(0, volume - quantity)


def traded_at(ts: int, mode: int, traded: int, volume: int) -> int:
    """When a tick's price was made: 0 before the day's first trade, the event time where the packet doesn't say."""
    if mode == MODE_FULL and (traded > 0 or volume == 0):
        return min(traded, ts)
    return ts


def place_tick(
    slot: int, ts: int, at: int, price: float, volume: int, quantity: int, oi: float, flags: int,
    clock: Any, integers: Any, floats: Any, out_integers: Any, out_floats: Any, n: int,
) -> int:  # fmt: skip
    """Fold a tick, traded `at`, that isn't in its instrument's open candle; returns the next row out."""
    row, mine = integers[slot], floats[slot]
    if kept_out(ts, at, price, volume, row):
        return n
    start = row[OPEN_TS] + (at - row[OPEN_TS]) // clock[INTERVAL] * clock[INTERVAL]
    if ended(start, ts, at, volume, oi, clock, row, mine):
        return n
    if row[START] != NONE:
        n = close_candle(slot, ts, clock, integers, floats, out_integers, out_floats, n)
    n = close_longer(slot, start, ts, clock, integers, floats, out_integers, out_floats, n)
    if flags & FLAG_CACHED and start > max(row[CLOSED_UNTIL], row[OPEN_TS]):
        row[BASE] = NONE  # what was traded in the candles that a gap took is in none
    base = base_of_first(flags, start == row[OPEN_TS], volume, quantity)
    open_candle(start, price, volume, base, clock, row, mine)
    into_candle(ts, price, volume, oi, row, mine)
    return n


def fold_tick(
    slot: int, ts: int, price: float, volume: int, quantity: int, oi: float, flags: int, mode: int, traded: int,
    clock: Any, integers: Any, floats: Any, out_integers: Any, out_floats: Any, n: int,
) -> int:  # fmt: skip
    """Fold one tick; returns how many candles are in what comes out by now, `n` before it."""
    if unusable(slot, ts, clock):
        return n
    if flags & FLAG_CACHED and ts - clock[LATEST] > clock[ALLOWANCE]:  # a feed that begins, or begins again
        clock[GAP_FROM] = clock[LATEST]
        clock[GAP_TO] = ts
    row = integers[slot]
    at = traded_at(ts, mode, traded, volume)
    if row[START] != NONE and row[START] <= at < row[END] and price > 0.0:  # as nearly every tick
        into_candle(ts, price, volume, oi, row, floats[slot])
    else:
        n = place_tick(
            slot, ts, at, price, volume, quantity, oi, flags, clock, integers, floats, out_integers, out_floats, n
        )
    if ts > clock[LATEST]:  # what it traded is in its candle before its time closes any
        clock[LATEST] = ts
        clock[MARK] = ts - clock[ALLOWANCE]
        if clock[MARK] >= clock[NEXT_END]:
            n = close_due(ts, clock, integers, floats, out_integers, out_floats, n)
    if row[START] != NONE and ts >= row[END]:
        n = close_candle(slot, ts, clock, integers, floats, out_integers, out_floats, n)
    return n
