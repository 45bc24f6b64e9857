"""Kite's binary market-data packets, written from ticks: the other direction of the Producer's decoder.

A frame is a u16 packet count and, for each packet, a u16 length and a body; all integers are big-endian and unsigned,
prices are rupees times the segment's divisor. Depth is made up around a tick's best bid and ask.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.instruments import PRICE_DIVISORS, SEGMENT_CODES
from tradealgo.domain.ticks import FLAG_INDEX, MODE_FULL, MODE_INDEX_FULL, MODE_INDEX_QUOTE, MODE_LTP, MODE_QUOTE

DEPTH_LEVELS = 5
MAX_PACKETS = 0xFFFF

_DEPTH = [("quantity", ">u4"), ("price", ">u4"), ("orders", ">u2"), ("pad", ">u2")]
_LTP: list[Any] = [("length", ">u2"), ("instrument_token", ">u4"), ("last_price", ">u4")]
_INDEX_QUOTE = [*_LTP, *((name, ">u4") for name in ("high", "low", "open", "close", "change"))]
_INDEX_FULL = [*_INDEX_QUOTE, ("ts_event", ">u4")]
_QUOTE = [
    *_LTP,
    *((name, ">u4") for name in ("last_quantity", "average_price", "volume", "buy_quantity", "sell_quantity")),
    *((name, ">u4") for name in ("open", "high", "low", "close")),
]
_FULL = [
    *_QUOTE,
    *((name, ">u4") for name in ("last_trade_time", "oi", "oi_day_high", "oi_day_low", "ts_event")),
    ("depth", _DEPTH, (2 * DEPTH_LEVELS,)),
]
_LAYOUTS: dict[int, np.dtype[np.void]] = {
    MODE_LTP: np.dtype(_LTP),
    MODE_INDEX_QUOTE: np.dtype(_INDEX_QUOTE),
    MODE_INDEX_FULL: np.dtype(_INDEX_FULL),
    MODE_QUOTE: np.dtype(_QUOTE),
    MODE_FULL: np.dtype(_FULL),
}
assert all(layout.itemsize == length + 2 for length, layout in _LAYOUTS.items())

#: Packet lengths of a subscription mode: (tradable instruments, indices).
_LENGTHS = {
    "ltp": (MODE_LTP, MODE_LTP),
    "quote": (MODE_QUOTE, MODE_INDEX_QUOTE),
    "full": (MODE_FULL, MODE_INDEX_FULL),
}

_PRICES = frozenset({"last_price", "average_price", "open", "high", "low", "close"})
_TIMES = frozenset({"ts_event", "last_trade_time"})
_DIVISORS = np.full(256, 100.0)
for _code, _segment in SEGMENT_CODES.items():
    _DIVISORS[_code] = PRICE_DIVISORS.get(_segment, 100)

#: How many times the best level's quantity stands at each level: whole times, so that what comes in lots stays so.
_LEVEL_SHARE = np.array([1, 2, 3, 2, 4])
SHOWN_SHARE = int(_LEVEL_SHARE.sum())

DEPTH = np.dtype([("quantity", "<i8"), ("price", "<f8"), ("orders", "<i4")])


def depth(ticks: np.ndarray) -> np.ndarray:
    """Five bids, then five asks, best first, of each tick: `DEPTH[n, 10]`, prices in rupees.

    The first level is the tick's own best; the ones behind stand a spread apart. An absent side is all zeros.
    """
    levels = np.zeros((len(ticks), 2 * DEPTH_LEVELS), DEPTH)
    both = (ticks["bid_price"] > 0) & (ticks["ask_price"] > ticks["bid_price"])
    step = np.where(both, ticks["ask_price"] - ticks["bid_price"], 0.05)
    for side, sign, rows in (("bid", -1.0, levels[:, :DEPTH_LEVELS]), ("ask", 1.0, levels[:, DEPTH_LEVELS:])):
        best = ticks[f"{side}_price"][:, None]
        price = np.round(best + sign * step[:, None] * np.arange(DEPTH_LEVELS), 4)
        size = ticks[f"{side}_quantity"].astype(np.int64)[:, None] * _LEVEL_SHARE
        there = (best > 0) & (price > 0)
        rows["price"] = price * there
        rows["quantity"] = size = size * there
        rows["orders"] = (1 + size % 23) * (size > 0)
    return levels


def _write_depth(packets: np.ndarray, ticks: np.ndarray, divisor: np.ndarray) -> None:
    levels = depth(ticks)
    packets["depth"]["quantity"] = levels["quantity"]
    packets["depth"]["price"] = np.rint(levels["price"] * divisor[:, None])
    packets["depth"]["orders"] = levels["orders"]


def _packets(ticks: np.ndarray, length: int) -> bytes:
    layout = _LAYOUTS[length]
    packets = np.zeros(len(ticks), layout)
    packets["length"] = length
    divisor = _DIVISORS[ticks["instrument_token"] & 0xFF]
    for name in layout.names or ():
        if name in _PRICES:
            packets[name] = np.rint(ticks[name] * divisor)
        elif name in _TIMES:
            packets[name] = ticks[name] // SECOND_NS
        elif name in ticks.dtype.fields:  # type: ignore[operator]
            packets[name] = ticks[name]
    if "change" in (layout.names or ()):
        # Kite sends the change in price as two's complement in an unsigned field
        packets["change"] = np.rint((ticks["last_price"] - ticks["close"]) * divisor).astype(np.int64) & 0xFFFFFFFF
    if length == MODE_FULL:
        packets["oi_day_high"] = packets["oi_day_low"] = ticks["oi"]  # a tick doesn't carry the day's range
        _write_depth(packets, ticks, divisor)
    return packets.tobytes()


def encode_packets(ticks: np.ndarray, mode: str = "full") -> bytes:
    """The packets of some `TICK` records, each with its length before it, without a frame's count.

    Join what several modes give behind one `frame_header`. Indices come first; one instrument's ticks keep their order.
    """
    tradable, index = _LENGTHS[mode]
    is_index = (ticks["flags"] & FLAG_INDEX) != 0
    if not is_index.any():
        return _packets(ticks, tradable)
    return _packets(ticks[is_index], index) + _packets(ticks[~is_index], tradable)


def frame_header(packets: int) -> bytes:
    """The count that begins a frame. Raises ValueError above 65,535 packets: send more frames."""
    if packets > MAX_PACKETS:
        raise ValueError(f"{packets} packets don't fit one frame, whose count is 16 bits: send {MAX_PACKETS} at most")
    return packets.to_bytes(2, "big")


def encode_frame(ticks: np.ndarray, mode: str = "full") -> bytes:
    """One binary WebSocket message of these ticks in a subscription mode: "ltp", "quote" or "full"."""
    return frame_header(len(ticks)) + encode_packets(ticks, mode)
