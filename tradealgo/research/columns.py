"""Candles of one instrument as contiguous columns: what compiled loops read. Checked once, here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from tradealgo.domain.candles import CANDLE, SECOND_NS, Candle
from tradealgo.domain.errors import BadCandles
from tradealgo.domain.hours import DAY_NS, IST_OFFSET_NS, ist_date, ist_day, ist_text, market_hours
from tradealgo.domain.instruments import Instrument

PRICES = ("open", "high", "low", "close")
DEFAULT_INTERVAL = 60


class Columns(NamedTuple):
    """`start` in UTC nanoseconds, ascending; prices in rupees. `days` are the positions where each day (IST) begins."""

    start: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    oi: np.ndarray
    days: np.ndarray
    interval: int  # seconds

    def candle(self, i: int) -> Candle:
        return Candle(
            self.start.item(i), self.open.item(i), self.high.item(i), self.low.item(i), self.close.item(i),
            self.volume.item(i), self.oi.item(i),
        )  # fmt: skip

    @property
    def size(self) -> int:
        """How many candles."""
        return len(self.start)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """In the order that compiled loops take them."""
        return self[:7]

    @property
    def candles(self) -> Iterator[Candle]:
        """As a strategy hears them."""
        return map(Candle, *(column.tolist() for column in self.arrays))

    def after(self, earlier: Columns) -> Columns:
        """Both in one, the earlier ones first."""
        both = [np.concatenate(pair) for pair in zip(earlier.arrays, self.arrays, strict=True)]
        return Columns._make((*both, np.concatenate([earlier.days, self.days + earlier.size]), self.interval))


def columns(candles: Any, name: str = "candles", interval: int | None = None) -> Columns:
    """Columns of a CANDLE array or of a DataFrame (index "start", columns open high low close, volume and oi if any).

    Raises BadCandles, naming the row, for unordered or repeated starts and for prices that aren't positive numbers.
    """
    raw = _of_array(candles) if isinstance(candles, np.ndarray) else _of_frame(candles, name)
    if not len(raw[0]):
        raise BadCandles(f"{name} is empty: expected at least one candle")
    days = np.empty(len(raw[0]), np.int64)
    start, open_, high, low, close, volume, _ = raw
    bad, step, count = _scan(start, open_, high, low, close, volume, days)
    if bad >= 0:
        raise BadCandles(_what_is_wrong(raw, bad, name))
    if interval is None:
        interval = step // SECOND_NS if step else DEFAULT_INTERVAL
    return Columns._make((*raw, days[:count], interval))


def _of_array(array: np.ndarray) -> tuple[np.ndarray, ...]:
    if array.dtype != CANDLE:
        raise BadCandles(f"candles are an array of {array.dtype}: expected tradealgo.domain.candles.CANDLE")
    return tuple(np.ascontiguousarray(array[name]) for name in CANDLE.names or ())


def _of_frame(frame: Any, name: str) -> tuple[np.ndarray, ...]:
    missing = [c for c in PRICES if c not in getattr(frame, "columns", ())]
    if missing:
        raise BadCandles(
            f"{name} has no column {', '.join(missing)}: expected a DataFrame with open, high, low, close "
            "(volume and oi if known) and the starts of the candles as index, or a CANDLE array"
        )
    names: list[Any] = frame.columns.tolist()
    if twice := [c for c in (*PRICES, "volume", "oi") if names.count(c) > 1]:
        raise BadCandles(f"{name} has several columns {twice[0]!r}: keep one of each name")
    values: Any = None
    if all(kind == np.float64 for kind in frame.dtypes.tolist()) and len({*names}) == len(names):
        values = frame.to_numpy().T  # one block, whose rows are the columns: a tenth of the time of taking each
    found = [
        zeros(len(frame)) if c not in names
        else np.ascontiguousarray(frame[c].to_numpy() if values is None else values[names.index(c)], np.float64)
        for c in (*PRICES, "volume", "oi")
    ]  # fmt: skip
    return (_starts(frame.index, name), *found)


@lru_cache(maxsize=4)
def zeros(count: int, kind: type = np.float64) -> np.ndarray:
    """For a column that isn't there: one for all, so nobody may write to it."""
    made: np.ndarray = np.zeros(count, kind)
    made.flags.writeable = False
    return made


def _starts(index: Any, name: str) -> np.ndarray:
    """UTC nanoseconds; times without a zone are Indian."""
    if not hasattr(index, "as_unit"):
        raise BadCandles(f"{name}'s index is {type(index).__name__}: expected the candles' start times (DatetimeIndex)")
    if index.hasnans:
        raise BadCandles(f"{name}, row {int(index.isna().argmax())} has no start time (NaT): drop it or give its time")
    values = (index if index.unit == "ns" else index.as_unit("ns")).asi8
    return np.ascontiguousarray(values if index.tz is not None else values - IST_OFFSET_NS)


@njit(cache=True, nogil=True)
def _scan(start, open_, high, low, close, volume, days):  # type: ignore[no-untyped-def]
    """(first bad row or -1, smallest step, number of days); fills `days`."""
    bad = _bad_price(open_, high, low, close, volume)
    if bad >= 0:
        return bad, np.int64(0), 0
    bad, step = _steps(start)
    return bad, step, _days(start, days) if bad < 0 else 0


@njit(cache=True, nogil=True)
def _bad_price(open_, high, low, close, volume):  # type: ignore[no-untyped-def]
    for block in range(0, len(close), 256):  # without a branch within a block, so that SIMD lanes do the comparing
        good = True
        for i in range(block, min(block + 256, len(close))):
            good &= (low[i] > 0.0) & (high[i] < np.inf) & (low[i] <= open_[i]) & (open_[i] <= high[i])
            good &= (low[i] <= close[i]) & (close[i] <= high[i]) & (volume[i] >= 0.0)
        if not good:
            for i in range(block, len(close)):
                inside = low[i] <= open_[i] <= high[i] and low[i] <= close[i] <= high[i]
                if not (inside and low[i] > 0.0 and high[i] < np.inf and volume[i] >= 0.0):
                    return i
    return -1


@njit(cache=True, nogil=True)
def _steps(start):  # type: ignore[no-untyped-def]
    """(first row that doesn't come after the one before or -1, smallest step)."""
    step = start[1] - start[0] if len(start) > 1 else np.int64(0)
    for block in range(1, len(start), 256):
        for i in range(block, min(block + 256, len(start))):
            gap = start[i] - start[i - 1]
            step = gap if gap < step else step
        if step <= 0:
            for i in range(block, len(start)):
                if start[i] <= start[i - 1]:
                    return i, step
    return -1, step


@njit(cache=True, nogil=True)
def _days(start, days):  # type: ignore[no-untyped-def]
    """Fills `days`; returns how many there are. Starts ascend: it looks ever farther for the day's end, then goes back."""
    i, count = 0, 0
    while i < len(start):
        days[count] = i
        count += 1
        until = ((start[i] + IST_OFFSET_NS) // DAY_NS + 1) * DAY_NS - IST_OFFSET_NS
        stride = 1
        while i + stride < len(start) and start[i + stride] < until:
            i += stride
            stride *= 2
        while stride > 1:
            stride //= 2
            if i + stride < len(start) and start[i + stride] < until:
                i += stride
        i += 1
    return count


def _what_is_wrong(raw: tuple[np.ndarray, ...], i: int, name: str) -> str:
    when = ist_text(int(raw[0][i]), "%Y-%m-%d %H:%M:%S")
    place = f"{name}, row {i} ({when} IST)"
    if i and raw[0][i] <= raw[0][i - 1]:
        before = ist_text(int(raw[0][i - 1]), "%Y-%m-%d %H:%M:%S")
        return f"{place} comes after {before}: sort the candles and drop repeated starts"
    prices = ", ".join(f"{n} {float(c[i])!r}" for n, c in zip((*PRICES, "volume"), raw[1:6], strict=True))
    return f"{place} has {prices}: expected positive prices, low <= open, close <= high, and volume of at least 0"


def late_mask(data: Columns, instrument: Instrument, intraday: bool) -> np.ndarray:
    """For each candle, whether it ends at or after the time from which its day is flat (`MarketHours.flat_from`)."""
    if not intraday:
        return zeros(data.size, np.bool_)
    late, width = np.empty(data.size, np.bool_), data.interval * SECOND_NS
    ends = np.array([_flat_from(instrument, ist_day(s), width) for s in data.start[data.days].tolist()], np.int64)
    _fill_late(data.start, width, data.days, ends, late)
    return late


@lru_cache(maxsize=100_000)
def _flat_from(instrument: Instrument, day_number: int, interval_ns: int) -> int:
    return market_hours(instrument, ist_date(day_number * DAY_NS)).flat_from(interval_ns)


@njit(cache=True, nogil=True)
def _fill_late(start, interval, days, ends, late):  # type: ignore[no-untyped-def]
    for d in range(len(days)):
        last = days[d + 1] if d + 1 < len(days) else len(start)
        for i in range(days[d], last):
            late[i] = start[i] + interval >= ends[d]
