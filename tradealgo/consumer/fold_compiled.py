"""`consumer.fold` compiled by numba and cached on disk. Importing this costs a second or two: only big sessions do.

Nearly every tick goes into a candle that is open: those are folded by a loop of its own, all others by `fold` itself.
"""

from __future__ import annotations

import itertools
from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable

from tradealgo.consumer import fold as source
from tradealgo.domain.ticks import TICK

for _helper in (
    source.put_out, source.into_longer, source.close_candle, source.close_longer, source.close_due, source.open_candle,
    source.into_candle, source.unusable, source.kept_out, source.late, source.base_of_first,
):  # fmt: skip
    register_jitable(_helper)
_fold = register_jitable(source.fold)

_SPREAD = 2_654_435_761  # Knuth's multiplier: tokens differ in their upper bytes
# The head of the memory: where its parts begin, in words of 8 bytes.
_TABLE, _CLOCK, _INTEGERS, _FLOATS, _END, _HEAD = range(6)
# The head of the outlet: how many rows it has room for.
_OUT_HEAD = 1


class Memory:
    """A builder's whole state in one array of 8-byte words, which is what numba takes least time to look at.

    Its parts: where they begin; an open hash table, at most a quarter full, from token to slot; and, as the arrays
    `clock`, `integers` (rows, INTEGERS) and `floats` (rows, FLOATS), which share its memory, what `fold` works on.
    """

    def __init__(
        self, tokens: list[int], clock: list[int], integers: list[list[int]], floats: list[list[float]]
    ) -> None:
        parts: list[Any] = [_table(tokens), clock, np.ravel(integers), np.ravel(floats)]
        edges = np.cumsum([_HEAD, *map(len, parts)])
        self.whole = np.zeros(edges[-1], np.int64)
        self.whole[:_HEAD] = edges
        table, self.clock, integers_, floats_ = (self.whole[a:b] for a, b in itertools.pairwise(edges))
        self.integers = integers_.reshape(-1, source.INTEGERS)
        self.floats = floats_.view(np.float64).reshape(-1, source.FLOATS)
        table[:], self.clock[:] = parts[0], clock
        integers_[:], floats_.view(np.float64)[:] = parts[2], parts[3]


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


def outlet(rows: int, ticks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Room for what comes out of `ticks` ticks: all of it, then its rows of integers and of floats, which share memory."""
    integers, floats = rows * source.OUT_INTEGERS, rows * source.FLOATS
    whole = np.zeros(_OUT_HEAD + integers + floats + ticks, np.int64)
    whole[0] = rows
    middle = _OUT_HEAD + integers
    return (
        whole,
        whole[_OUT_HEAD:middle].reshape(rows, source.OUT_INTEGERS),
        whole[middle : middle + floats].view(np.float64).reshape(rows, source.FLOATS),
    )


@numba.njit(cache=True, nogil=True)
def fold_bytes(data: Any, memory: Any, out: Any) -> int:
    """`fold` over the bytes of a TICK array, with a Memory's `whole` and an `outlet` that has room for its ticks."""
    ticks = data.view(TICK)
    rows = out[0]
    middle = _OUT_HEAD + rows * source.OUT_INTEGERS
    end = middle + rows * source.FLOATS
    slots = out[end : end + len(ticks)]
    times, prices, volumes, ois = ticks["ts_event"], ticks["last_price"], ticks["volume"], ticks["oi"]
    clock = memory[memory[_CLOCK] : memory[_INTEGERS]]
    integers = memory[memory[_INTEGERS] : memory[_FLOATS]].reshape((-1, source.INTEGERS))
    floats = memory[memory[_FLOATS] : memory[_END]].view(np.float64).reshape((-1, source.FLOATS))
    _find(ticks["instrument_token"], memory[memory[_TABLE] : memory[_CLOCK]], slots)
    n, i = 0, 0
    while True:
        i = _fold_plain(i, slots, times, prices, volumes, ois, clock, integers, floats)
        if i == len(ticks):
            return n
        n = _fold(
            slots[i : i + 1], times[i : i + 1], prices[i : i + 1], volumes[i : i + 1],
            ticks["last_quantity"][i : i + 1], ois[i : i + 1], ticks["flags"][i : i + 1], clock, integers, floats,
            out[_OUT_HEAD:middle].reshape((rows, source.OUT_INTEGERS)),
            out[middle:end].view(np.float64).reshape((rows, source.FLOATS)), n,
        )  # fmt: skip
        i += 1


@register_jitable
def _fold_plain(
    begin: int, slots: Any, times: Any, prices: Any, volumes: Any, ois: Any, clock: Any, integers: Any, floats: Any
) -> int:
    """Fold ticks as long as they go into open candles and nothing closes; returns the index of the first that doesn't.

    The same as `source.into_candle`, by two indices where that takes rows: numba counts references to each row, which
    is more work than the rest.
    """
    latest = clock[source.LATEST]
    for i in range(begin, len(slots)):
        ts, price = times[i], prices[i]
        if slots[i] < 0 or ts > latest or not price > 0.0:
            return i
        at = np.uint64(slots[i])  # unsigned: no look at whether it counts from the end
        if (
            integers[at, source.START] == source.NONE
            or ts < integers[at, source.START]
            or ts >= integers[at, source.END]
        ):
            return i
        integers[at, source.TICKS] += 1
        floats[at, source.HIGH] = max(floats[at, source.HIGH], price)
        floats[at, source.LOW] = min(floats[at, source.LOW], price)
        if ts < integers[at, source.LAST_TS]:
            continue
        volume = np.int64(volumes[i])
        integers[at, source.LAST_TS] = ts
        floats[at, source.CLOSE] = price
        floats[at, source.OI] = ois[i]
        if volume < integers[at, source.VOLUME]:
            integers[at, source.CORRECTIONS] += 1
            integers[at, source.BASE] = min(integers[at, source.BASE], volume)
        integers[at, source.VOLUME] = volume
    return len(slots)


@register_jitable
def _find(tokens: Any, table: Any, slots: Any) -> None:
    """The slot of each token, -1 for one that isn't in the table."""
    mask = len(table) - 1
    for i in range(len(tokens)):
        token = np.int64(tokens[i])
        at = (token * _SPREAD >> 8) & mask
        while table[at] != 0 and (table[at] >> 32) & 0xFFFFFFFF != token:
            at = (at + 1) & mask
        slots[i] = table[at] & 0xFFFFFFFF if table[at] != 0 else -1
