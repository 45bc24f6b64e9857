"""`consumer.fold` compiled by numba and cached on disk. Importing this costs a second or two: only big sessions do."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable

from tradealgo.consumer import fold as source
from tradealgo.domain.ticks import TICK

for _helper in (
    source.close_candle, source.close_due, source.open_candle, source.into_candle, source.unusable, source.kept_out,
    source.late, source.base_of_first,
):  # fmt: skip
    register_jitable(_helper)
_fold = register_jitable(source.fold)

_SPREAD = 2_654_435_761  # Knuth's multiplier: tokens differ in their upper bytes


def token_table(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An open hash table from token to slot, at most a quarter full: (keys, 0 for empty; slots), int64."""
    size = 1 << max(4, (4 * len(tokens) - 1).bit_length())
    keys, slots = np.zeros(size, np.int64), np.full(size, -1, np.int64)
    for slot, token in enumerate(tokens.tolist()):
        at = (token * _SPREAD >> 8) & (size - 1)
        while keys[at]:
            at = (at + 1) & (size - 1)
        keys[at], slots[at] = token, slot
    return keys, slots


@numba.njit(cache=True, nogil=True)
def fold_bytes(
    data: Any, keys: Any, table: Any, slots: Any, clock: Any, integers: Any, floats: Any, out_integers: Any,
    out_floats: Any,
) -> int:  # fmt: skip
    """`fold` over the bytes of a TICK array. `slots` is room for at least as many integers as there are ticks."""
    ticks = data.view(TICK)
    mask = len(keys) - 1
    tokens = ticks["instrument_token"]
    n = len(ticks)
    for i in range(n):
        token = np.int64(tokens[i])
        at = (token * _SPREAD >> 8) & mask
        while keys[at] != 0 and keys[at] != token:
            at = (at + 1) & mask
        slots[i] = table[at]
    return _fold(
        slots[:n], ticks["ts_event"], ticks["last_price"], ticks["volume"], ticks["last_quantity"], ticks["oi"],
        ticks["flags"], clock, integers, floats, out_integers, out_floats,
    )  # fmt: skip
