"""Indicators, one value at a time: each sees a candle once and keeps what it needs, so that a strategy can't look ahead.

Plain classes whose attributes each keep one type: numba compiles the same source, to the same bits. `value` is nan
until there is one; `update` returns it.
"""

from __future__ import annotations

import numpy as np

from tradealgo.domain.candles import Candle
from tradealgo.domain.hours import DAY_NS, IST_OFFSET_NS


class EMA:
    """Exponential moving average of span `span`, weight 2 / (span + 1), seeded by the first value."""

    def __init__(self, span: int) -> None:
        if span < 1:
            raise ValueError("EMA's span must be at least 1")
        self.alpha = 2.0 / (span + 1.0)
        self.keep = 1.0 - self.alpha
        self.value = np.nan

    def update(self, x: float) -> float:
        """Take the next value; returns the average."""
        if np.isnan(self.value):
            self.value = x
        else:
            self.value = self.alpha * x + self.keep * self.value
        return self.value


class SMA:
    """Simple moving average of the last `span` values; nan until there are as many.

    The sum is renewed from the window once a turn, so that rounding errors don't pile up over a year of minutes.
    """

    def __init__(self, span: int) -> None:
        if span < 1:
            raise ValueError("SMA's span must be at least 1")
        self.window = np.zeros(span)
        self.next = 0
        self.count = 0
        self.total = 0.0
        self.value = np.nan

    def update(self, x: float) -> float:
        """Take the next value; returns the average."""
        span = len(self.window)
        self.total += x - self.window[self.next]
        self.window[self.next] = x
        self.next += 1
        if self.next == span:
            self.next = 0
            self.total = 0.0
            for i in range(span):
                self.total += self.window[i]
        if self.count < span:
            self.count += 1
        if self.count == span:
            self.value = self.total / span
        return self.value


class RSI:
    """Relative strength index in 0 to 100 over `span` changes, with Wilder's smoothing; nan before; 50 where nothing moved."""

    def __init__(self, span: int = 14) -> None:
        if span < 1:
            raise ValueError("RSI's span must be at least 1")
        self.span = span
        self.count = 0
        self.last = np.nan
        self.gain = 0.0
        self.loss = 0.0
        self.value = np.nan

    def update(self, x: float) -> float:
        """Take the next value; returns the index."""
        if self.count == 0:
            self.last = x
            self.count = 1
            return self.value
        change = x - self.last
        self.last = x
        gain = change if change > 0.0 else 0.0
        loss = -change if change < 0.0 else 0.0
        if self.count <= self.span:  # the first average is a plain mean of `span` changes
            self.count += 1
            self.gain += gain / self.span
            self.loss += loss / self.span
        else:
            self.gain += (gain - self.gain) / self.span
            self.loss += (loss - self.loss) / self.span
        if self.count > self.span:
            moved = self.gain + self.loss
            self.value = 100.0 * self.gain / moved if moved > 0.0 else 50.0
        return self.value


class ATR:
    """Average true range over `span` candles, in rupees, with Wilder's smoothing; nan before."""

    def __init__(self, span: int = 14) -> None:
        if span < 1:
            raise ValueError("ATR's span must be at least 1")
        self.span = span
        self.count = 0
        self.last_close = np.nan
        self.average = 0.0
        self.value = np.nan

    def update(self, candle: Candle) -> float:
        """Take the next candle; returns the range."""
        true_range = candle.high - candle.low
        if self.count > 0:
            true_range = max(true_range, abs(candle.high - self.last_close), abs(candle.low - self.last_close))
        self.last_close = candle.close
        if self.count < self.span:
            self.count += 1
            self.average += true_range / self.span
        else:
            self.average += (true_range - self.average) / self.span
        if self.count == self.span:
            self.value = self.average
        return self.value


class VWAP:
    """Volume-weighted average of the typical price since the day (IST) began; the typical price while volume is 0."""

    def __init__(self) -> None:
        self.day = 0
        self.turnover = 0.0
        self.volume = 0.0
        self.value = np.nan

    def update(self, candle: Candle) -> float:
        """Take the next candle; returns the average."""
        day = (candle.start + IST_OFFSET_NS) // DAY_NS
        if day != self.day:
            self.day = day
            self.turnover = 0.0
            self.volume = 0.0
        typical = (candle.high + candle.low + candle.close) / 3.0
        self.turnover += typical * candle.volume
        self.volume += candle.volume
        self.value = self.turnover / self.volume if self.volume > 0.0 else typical
        return self.value
