"""The candle: half-open `[start, start + interval)`."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

MINUTE_NS = 60_000_000_000
SECOND_NS = 1_000_000_000


#: Many candles of one instrument, ascending by `start`: what backtests, files and the paper exchange hold.
CANDLE = np.dtype(
    [
        ("start", "<i8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<f8"),
        ("oi", "<f8"),
    ]
)


class Candle(NamedTuple):
    """What a strategy sees. A plain tuple, so that numba compiles code that takes one.

    `start` is UTC nanoseconds of the candle's beginning; prices in rupees; `volume` in units traded within it;
    `oi` open interest at its end.
    """

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float = 0.0
    oi: float = 0.0


class ClosedCandle(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A candle on the bus. `interval` in seconds.

    `ts_event` and `ts_init` are those of the tick that closed it (its watermark), `ts_closed` the wall clock then:
    the first stamps of the tick-to-order chain. `partial`: more than a tenth of its time the feed was away.
    """

    instrument_token: int
    interval: int
    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    oi: float
    ticks: int
    ts_event: int
    ts_init: int
    ts_closed: int
    partial: bool = False

    @property
    def candle(self) -> Candle:
        return Candle(self.start, self.open, self.high, self.low, self.close, self.volume, self.oi)
