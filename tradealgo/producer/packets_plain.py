"""The packet decoder in plain Python: the reference that `packets` is held to, field by field, by the property tests.

Layouts and divisors: MARKET.md section 2, Kite Connect's WebSocket protocol. Big-endian, unsigned.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tradealgo.domain.instruments import PRICE_DIVISORS, SEGMENT_CODES
from tradealgo.domain.ticks import (
    FLAG_INDEX,
    MODE_FULL,
    MODE_INDEX_FULL,
    MODE_INDEX_QUOTE,
    MODE_LTP,
    MODE_QUOTE,
    TICK,
    empty_ticks,
)

SECOND_NS = 1_000_000_000
KNOWN_LENGTHS = frozenset({MODE_LTP, MODE_INDEX_QUOTE, MODE_INDEX_FULL, MODE_QUOTE, MODE_FULL})
INDEX_SEGMENT = next(code for code, name in SEGMENT_CODES.items() if name == "INDICES")


class DecodeCounts(NamedTuple):
    """What a frame held besides good ticks.

    `unknown`: packets of no known length, skipped. `truncated`: packets that the frame's count promised and whose
    bytes are not all there. `surplus`: bytes behind the last promised packet. `disordered`: ticks whose event time is
    before that of the tick in front of them, which is no fault: see `in_time_order`.
    """

    unknown: int = 0
    truncated: int = 0
    surplus: int = 0
    disordered: int = 0


def decode_frame_plain(data: bytes) -> tuple[np.ndarray, DecodeCounts]:
    """The ticks of one binary frame, shape (n,) of TICK, and what was skipped. Never raises, whatever the bytes."""
    if len(data) < 2:  # a heartbeat is one byte
        return empty_ticks(0), DecodeCounts()
    promised, at, unknown = struct.unpack_from(">H", data)[0], 2, 0
    rows: list[np.void] = []
    for done in range(promised):
        length = int.from_bytes(data[at : at + 2], "big")
        body = data[at + 2 : at + 2 + length]
        if at + 2 > len(data) or len(body) < length:
            return _array(rows), DecodeCounts(unknown, promised - done, 0, _disordered(rows))
        at += 2 + length
        if length in KNOWN_LENGTHS:
            rows.append(_tick(body))
        else:
            unknown += 1
    return _array(rows), DecodeCounts(unknown, 0, len(data) - at, _disordered(rows))


def _disordered(rows: list[np.void]) -> int:
    return sum(int(later["ts_event"] < sooner["ts_event"]) for sooner, later in pairwise(rows))


def _array(rows: list[np.void]) -> np.ndarray:
    return np.array(rows, TICK) if rows else empty_ticks(0)


def _tick(body: bytes) -> np.void:
    words = struct.unpack(f">{len(body) // 4}I", body)
    token = words[0]
    divisor = float(PRICE_DIVISORS.get(SEGMENT_CODES.get(token & 0xFF, ""), 100))
    tick = empty_ticks(1)[0]
    tick["instrument_token"], tick["mode"] = token, len(body)
    tick["flags"] = FLAG_INDEX if token & 0xFF == INDEX_SEGMENT else 0
    tick["last_price"] = words[1] / divisor
    if len(body) in (MODE_INDEX_QUOTE, MODE_INDEX_FULL):
        _fill(tick, ("high", "low", "open", "close"), words[2:6], divisor)
    if len(body) == MODE_INDEX_FULL:
        tick["ts_event"] = words[7] * SECOND_NS
    if len(body) in (MODE_QUOTE, MODE_FULL):
        tick["last_quantity"], tick["volume"] = words[2], words[4]
        tick["buy_quantity"], tick["sell_quantity"] = words[5], words[6]
        tick["average_price"] = words[3] / divisor
        _fill(tick, ("open", "high", "low", "close"), words[7:11], divisor)
    if len(body) == MODE_FULL:
        tick["last_trade_time"], tick["oi"] = words[11] * SECOND_NS, words[12]
        tick["ts_event"] = words[15] * SECOND_NS
        # Depth from word 16: five bids, then five asks, three words each (quantity, price, orders and padding)
        tick["bid_quantity"], tick["bid_price"] = words[16], words[17] / divisor
        tick["ask_quantity"], tick["ask_price"] = words[31], words[32] / divisor
    return tick


def _fill(tick: np.void, names: tuple[str, ...], words: tuple[int, ...], divisor: float) -> None:
    for name, word in zip(names, words, strict=True):
        tick[name] = word / divisor
