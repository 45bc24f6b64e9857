"""The packet decoder: one binary WebSocket frame in, one packed tick array out. Pure; compiled by numba, cached on disk.

`packets_plain` is the same in plain Python, and the reference. Layouts: MARKET.md section 2.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable

from tradealgo.domain.ticks import FLAG_INDEX, TICK
from tradealgo.producer.packets_plain import INDEX_SEGMENT, DecodeCounts
from tradealgo.sources import stamp

_SECOND_NS = 1_000_000_000
_SHORTEST = 10  # an ltp packet with its length
_CLEAN = DecodeCounts()
_BYTE = np.dtype(np.uint8)


def decode_frame(data: bytes | memoryview) -> tuple[np.ndarray, DecodeCounts]:
    """The ticks of one binary frame, shape (n,) of TICK, and what was skipped. Never raises, whatever the bytes.

    Prices are the packet's integer divided by the segment's divisor in float64; times UTC nanoseconds, 0 if none.
    """
    if len(data) < 2:  # a heartbeat is one byte
        return np.empty(0, TICK), _CLEAN
    most = min((data[0] << 8) | data[1], (len(data) - 2) // _SHORTEST)
    ticks = np.ndarray(most, TICK, np.empty(most * TICK.itemsize, _BYTE))  # np.empty takes thrice as long over records
    n, *counts = _decode(data, ticks)
    return ticks if n == most else ticks[:n], DecodeCounts(*counts) if any(counts) else _CLEAN


def in_time_order(ticks: np.ndarray) -> np.ndarray:
    """A frame's ticks by event time, those of the same time in their order.

    Kite packs a frame by kind of instrument, not by time. At 600 times real time a frame spans many seconds, and an
    index far ahead of the shares behind it would close their candles too early.
    """
    rows = ticks.view(np.uint8).reshape(len(ticks), TICK.itemsize)  # indexing records copies them field by field
    order = np.argsort(ticks["ts_event"], kind="stable")
    return np.ndarray(len(ticks), TICK, rows[order])


@numba.njit(inline="always")
def _u16(data: Any, at: int) -> Any:
    i = np.uint64(at)  # unsigned: no look at whether it counts from the end, and the bytes are read as one word
    return (np.int64(data[i]) << 8) | np.int64(data[i + np.uint64(1)])


@numba.njit(inline="always")
def _u32(data: Any, at: int) -> Any:
    i = np.uint64(at)
    return (
        (np.int64(data[i]) << 24)
        | (np.int64(data[i + np.uint64(1)]) << 16)
        | (np.int64(data[i + np.uint64(2)]) << 8)
        | np.int64(data[i + np.uint64(3)])
    )


@numba.njit(inline="always")
def _divisor(token: int) -> float:
    segment = token & 0xFF
    if segment == 3:  # CDS
        return 10_000_000.0
    if segment == 6 or segment == 12:  # BCD, NCO
        return 10_000.0
    return 100.0


@numba.njit(inline="always")
def _head(data: Any, p: int, length: int, tick: Any) -> float:
    """The fields that every kind has; returns the divisor."""
    token = _u32(data, p)
    divisor = _divisor(token)
    tick.instrument_token = token
    tick.mode = length
    tick.flags = FLAG_INDEX if token & 0xFF == INDEX_SEGMENT else 0
    tick.pad = 0
    tick.last_price = _u32(data, p + 4) / divisor
    tick.reserved = 0
    return divisor


@numba.njit(inline="always")
def _no_depth(tick: Any) -> None:
    tick.last_trade_time = 0
    tick.oi = 0
    tick.bid_price = 0.0
    tick.ask_price = 0.0
    tick.bid_quantity = 0
    tick.ask_quantity = 0


@numba.njit
def _quote(data: Any, p: int, length: int, tick: Any) -> None:
    divisor = _head(data, p, length, tick)
    tick.last_quantity = _u32(data, p + 8)
    tick.average_price = _u32(data, p + 12) / divisor
    tick.volume = _u32(data, p + 16)
    tick.buy_quantity = _u32(data, p + 20)
    tick.sell_quantity = _u32(data, p + 24)
    tick.open = _u32(data, p + 28) / divisor
    tick.high = _u32(data, p + 32) / divisor
    tick.low = _u32(data, p + 36) / divisor
    tick.close = _u32(data, p + 40) / divisor
    if length == 44:
        tick.ts_event = 0
        _no_depth(tick)
        return
    tick.last_trade_time = _u32(data, p + 44) * _SECOND_NS
    tick.oi = _u32(data, p + 48)
    tick.ts_event = _u32(data, p + 60) * _SECOND_NS
    tick.bid_quantity = _u32(data, p + 64)  # depth: five bids from 64, five asks from 124, 12 bytes each
    tick.bid_price = _u32(data, p + 68) / divisor
    tick.ask_quantity = _u32(data, p + 124)
    tick.ask_price = _u32(data, p + 128) / divisor


@numba.njit
def _ltp_or_index(data: Any, p: int, length: int, tick: Any) -> None:
    divisor = _head(data, p, length, tick)
    _no_depth(tick)
    tick.volume = 0
    tick.last_quantity = 0
    tick.buy_quantity = 0
    tick.sell_quantity = 0
    tick.average_price = 0.0
    tick.ts_event = _u32(data, p + 28) * _SECOND_NS if length == 32 else 0
    index = length != 8
    tick.high = _u32(data, p + 8) / divisor if index else 0.0
    tick.low = _u32(data, p + 12) / divisor if index else 0.0
    tick.open = _u32(data, p + 16) / divisor if index else 0.0
    tick.close = _u32(data, p + 20) / divisor if index else 0.0


@register_jitable
def _decode_into(data: Any, ticks: Any) -> tuple[int, int, int, int, int]:
    """Fill `ticks`, which are enough, from `data`; returns the ticks filled and the fields of DecodeCounts."""
    end = len(data)
    promised = _u16(data, 0)
    at, n, unknown, disordered, latest = 2, 0, 0, 0, np.int64(0)
    for done in range(promised):
        if at + 2 > end:
            return n, unknown, promised - done, 0, disordered
        length = _u16(data, at)
        p = at + 2
        at = p + length
        if at > end:
            return n, unknown, promised - done, 0, disordered
        if length == 184 or length == 44:
            _quote(data, p, length, ticks[n])
        elif length == 8 or length == 32 or length == 28:
            _ltp_or_index(data, p, length, ticks[n])
        else:
            unknown += 1
            continue
        disordered += ticks[n].ts_event < latest
        latest = ticks[n].ts_event
        n += 1
    return n, unknown, 0, end - at, disordered


_BYTES = numba.types.MemoryView(numba.uint8, 1, "C", readonly=True)  # bytes are taken as well
_TICKS = numba.types.Array(numba.from_dtype(TICK), 1, "C")
_SIGNATURE = numba.types.UniTuple(numba.int64, 5)(_BYTES, _TICKS)


def _decoder(made_of: int) -> Any:
    """`_decode_into`, to be compiled. What a function encloses is part of its name in numba's cache on disk."""

    def decode(data: Any, ticks: Any) -> tuple[int, int, int, int, int]:
        return _decode_into(data, ticks) if made_of else (0, 0, 0, 0, 0)

    return decode


#: Without numba's look at the types of its arguments, which `decode_frame` vouches for.
_decode = numba.njit(_SIGNATURE, cache=True)(_decoder(stamp(__name__))).get_overload(_SIGNATURE)
