"""The packed tick: one fixed-width record, the same in the Producer, on the bus and in every reader."""

from __future__ import annotations

import numpy as np

#: Version of `TICK`. A change of the layout raises it; the bus codec writes it beside each array.
TICK_VERSION = 1

#: 128 bytes. Prices in rupees, quantities in units, times in UTC nanoseconds (0: the packet carried none).
#: `volume` is cumulative for the day. Bid and ask are the best level (0.0: none). `mode` is the packet's length.
TICK = np.dtype(
    [
        ("instrument_token", "<u4"),
        ("mode", "u1"),
        ("flags", "u1"),
        ("pad", "<u2"),
        ("ts_event", "<i8"),
        ("last_price", "<f8"),
        ("volume", "<i8"),
        ("bid_price", "<f8"),
        ("ask_price", "<f8"),
        ("bid_quantity", "<u4"),
        ("ask_quantity", "<u4"),
        ("last_quantity", "<u4"),
        ("oi", "<u4"),
        ("average_price", "<f8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("buy_quantity", "<u4"),
        ("sell_quantity", "<u4"),
        ("last_trade_time", "<i8"),
        ("reserved", "<i8"),
    ]
)
assert TICK.itemsize == 128

#: Bits of `flags`.
FLAG_CACHED = 1  # the first tick after a subscription: a cached, possibly old one
FLAG_INDEX = 2

MODE_LTP, MODE_INDEX_QUOTE, MODE_INDEX_FULL, MODE_QUOTE, MODE_FULL = 8, 28, 32, 44, 184


def empty_ticks(n: int) -> np.ndarray:
    """`n` zeroed ticks."""
    return np.zeros(n, TICK)


def marks(ticks: np.ndarray) -> np.ndarray:
    """What each instrument is worth, in rupees: its last price, no lower than somebody bids and no higher than somebody asks.

    A single freak trade would trip the kill switch, or set an exit's limit where nobody trades; and an option that has not
    traded for minutes is worth what its book says by now. A tick without both sides (an index, another mode, a circuit limit
    reached) or with crossed ones (before the open) counts as it is.
    """
    bids, asks, lasts = ticks["bid_price"], ticks["ask_price"], ticks["last_price"]
    has_book = (bids > 0) & (asks >= bids)
    return np.where(has_book, np.minimum(np.maximum(lasts, bids), asks), lasts)
