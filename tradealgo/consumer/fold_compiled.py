"""`consumer.fold` compiled by numba and cached on disk. Importing this costs a second or two: only big sessions do.

Nearly every tick goes into a candle that is open: those are folded by a loop of its own, all others by `fold_tick` itself.
"""

from __future__ import annotations

import itertools
from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable

from tradealgo.consumer import fold as source
from tradealgo.domain.ticks import FLAG_CACHED, TICK
from tradealgo.sources import stamp

for _helper in (
    source.put_out, source.into_longer, source.close_candle, source.close_longer, source.close_due, source.open_candle,
    source.into_candle, source.is_volume, source.unusable, source.kept_out, source.ended, source.base_of_first,
    source.traded_at, source.place_tick,
):  # fmt: skip
    register_jitable(_helper)
_fold_tick = register_jitable(source.fold_tick)

_SPREAD = 2_654_435_761  # Knuth's multiplier: tokens differ in their upper bytes
# The head of the memory: where its parts begin, in words of 8 bytes.
_TABLE, _CLOCK, _ROWS, _END, _HEAD = range(5)
#: Words of a row: its floats, then its integers, so that what nearly every tick touches lies side by side.
_ROW = source.FLOATS + source.INTEGERS
# Fields of a row. Unsigned, as all indices in the fast loop: no look at whether they count from the end.
_HIGH, _LOW, _CLOSE, _OI = map(np.uint64, (source.HIGH, source.LOW, source.CLOSE, source.OI))
_START, _END_TS, _LAST_TS, _COUNT = map(np.uint64, (source.START, source.END, source.LAST_TS, source.TICKS))
_VOLUME, _FALLEN = map(np.uint64, (source.VOLUME, source.FALLEN))


class Memory:
    """A builder's whole state in one array of 8-byte words, which is what numba takes least time to look at.

    Its parts: where they begin; an open hash table, at most a quarter full, from token to slot; and, as the arrays
    `clock`, `integers` (rows, INTEGERS) and `floats` (rows, FLOATS), which share its memory, what `fold_tick` works on.
    """

    def __init__(
        self, tokens: list[int], clock: list[int], integers: list[list[int]], floats: list[list[float]]
    ) -> None:
        table = _table(tokens)
        edges = np.cumsum([_HEAD, len(table), len(clock), len(integers) * _ROW])
        self.whole = np.zeros(edges[-1], np.int64)
        self.whole[:_HEAD] = edges
        table_, self.clock, rows = (self.whole[a:b] for a, b in itertools.pairwise(edges))
        self.integers = rows.reshape(-1, _ROW)[:, source.FLOATS :]
        self.floats = rows.view(np.float64).reshape(-1, _ROW)[:, : source.FLOATS]
        table_[:], self.clock[:] = table, clock
        self.integers[:] = np.reshape(integers, self.integers.shape)
        self.floats[:] = np.reshape(floats, self.floats.shape)


def _table(tokens: list[int]) -> np.ndarray:
    """Words of token << 32 | slot, each at or behind its token's place; 0 where there is none."""
    size = 1 << max(4, (4 * len(tokens) - 1).bit_length())
    found = np.zeros(size, np.int64)
    for slot, token in enumerate(tokens):
        at = (token * _SPREAD >> 8) & (size - 1)
        while found[at]:
            at = (at + 1) & (size - 1)
        found[at] = np.uint64(token << 32 | slot).astype(np.int64)
    return found


def outlet(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Room for so many candles that come out: all of it, then its rows of integers and of floats, which share memory."""
    middle = rows * source.OUT_INTEGERS
    whole = np.zeros(middle + rows * source.FLOATS, np.int64)
    return (
        whole,
        whole[:middle].reshape(rows, source.OUT_INTEGERS),
        whole[middle:].view(np.float64).reshape(rows, source.FLOATS),
    )


def _loop(made_of: int) -> Any:
    """The loop, to be compiled. What a function encloses is part of its name in numba's cache on disk."""

    def fold_ticks(ticks: Any, memory: Any, out: Any) -> int:
        i = _fold_plain(0, ticks, memory)
        return _fold_rest(i, ticks, memory, out) if i < len(ticks) and made_of else 0

    return fold_ticks


@register_jitable
def _fold_plain(begin: int, ticks: Any, memory: Any) -> int:
    """Fold ticks as long as they go into open candles and nothing closes; returns the index of the first that doesn't.

    The same as `source.fold_tick`, by indices into the memory where that takes rows: numba counts references to each
    array that is made, which is more work than the rest.
    """
    floats = memory.view(np.float64)
    table, clock, rows = memory[_TABLE], memory[_CLOCK], memory[_ROWS]
    for i in range(begin, len(ticks)):
        tick = ticks[i]
        ts, price, volume = tick.ts_event, tick.last_price, int(tick.volume)
        slot = _slot(tick.instrument_token, memory, table, clock)
        if slot < 0 or not price > 0.0 or tick.flags & FLAG_CACHED:
            return i
        prices = np.uint64(rows + slot * _ROW)
        row = prices + np.uint64(source.FLOATS)
        start = memory[row + _START]
        if start == source.NONE or ts >= memory[row + _END_TS]:
            return i
        if source.traded_at(ts, tick.mode, tick.last_trade_time, volume) < start:
            return i
        if volume < memory[row + _VOLUME] or memory[row + _FALLEN] != source.NONE:
            return i
        if ts > memory[clock + source.LATEST]:
            mark = ts - memory[clock + source.ALLOWANCE]
            if mark >= memory[clock + source.NEXT_END]:
                return i
            memory[clock + source.LATEST] = ts
            memory[clock + source.MARK] = mark
        memory[row + _COUNT] += 1
        floats[prices + _HIGH] = max(floats[prices + _HIGH], price)
        floats[prices + _LOW] = min(floats[prices + _LOW], price)
        if ts < memory[row + _LAST_TS]:
            continue
        memory[row + _LAST_TS] = ts
        floats[prices + _CLOSE] = price
        floats[prices + _OI] = tick.oi
        memory[row + _VOLUME] = volume
    return len(ticks)


@register_jitable
def _fold_rest(i: int, ticks: Any, memory: Any, out: Any) -> int:
    """Fold the ticks from `i` on; how many candles they closed."""
    table, clock_at, rows_at = memory[_TABLE], memory[_CLOCK], memory[_ROWS]
    clock = memory[clock_at:rows_at]
    rows = memory[rows_at : memory[_END]].reshape((-1, _ROW))
    integers, floats = rows[:, source.FLOATS :], rows.view(np.float64)[:, : source.FLOATS]
    middle = len(out) // (source.OUT_INTEGERS + source.FLOATS) * source.OUT_INTEGERS
    out_integers = out[:middle].reshape((-1, source.OUT_INTEGERS))
    out_floats = out[middle:].view(np.float64).reshape((-1, source.FLOATS))
    n = 0
    while i < len(ticks):
        tick = ticks[i]
        n = _fold_tick(
            _slot(tick.instrument_token, memory, table, clock_at), tick.ts_event, tick.last_price, int(tick.volume),
            tick.last_quantity, tick.oi, tick.flags, tick.mode, tick.last_trade_time, clock, integers, floats, out_integers, out_floats, n,
        )  # fmt: skip
        i = _fold_plain(i + 1, ticks, memory)
    return n


@register_jitable
def _slot(token: int, memory: Any, table: int, end: int) -> int:
    """The slot of a token by the table that lies there in the memory, -1 for one that isn't in it."""
    mask = end - table - 1
    at = np.int64(token) * _SPREAD >> 8 & mask
    while memory[table + at] != 0:
        if memory[table + at] >> 32 & 0xFFFFFFFF == token:
            return memory[table + at] & 0xFFFFFFFF
        at = (at + 1) & mask
    return -1


_TICKS = numba.types.Array(numba.from_dtype(TICK), 1, "A", readonly=True)
_WORDS = numba.types.Array(numba.int64, 1, "C")
_SIGNATURE = numba.int64(_TICKS, _WORDS, _WORDS)
#: Folds a TICK array, with a Memory's `whole` and an `outlet` with room for what it closes; how many candles that is.
#: Without numba's look at each argument's type, which takes longer than a hundred ticks. Who calls it answers
#: for them: one-dimensional arrays, of TICK and twice of int64 without gaps; anything else would be read and written as that.
fold_ticks = numba.njit(_SIGNATURE, cache=True)(_loop(stamp(__name__))).get_overload(_SIGNATURE)
