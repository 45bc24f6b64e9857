"""All candles of an event backtest on one time axis, and the scan that says for how long nothing can trip the kill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numba import njit

from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.hours import DAY_NS, IST_OFFSET_NS
from tradealgo.research.columns import Columns

#: A candle's prices as the market's path: where within the candle each is shown, as fractions of its length.
PATH = (0.0, 1 / 3, 2 / 3, 1.0)
OPEN, CLOSE = 0, 3
#: The close is shown this much before the candle ends: in it, not after it.
BEFORE_END_NS = 1_000_000


class Timeline:
    """Rows are the times at which any instrument's candle begins; `starts` in UTC nanoseconds.

    `low` and `high` in paise, `[rows, instruments]`: of the candle that begins there, else of the last close before it
    (0: none yet).
    """

    def __init__(self, data: Sequence[Columns]) -> None:
        self.data = data
        self.interval = data[0].interval * SECOND_NS
        same = all(np.array_equal(d.start, data[0].start) for d in data[1:])
        self.starts = data[0].start if same else np.unique(np.concatenate([d.start for d in data]))
        self._aligned, self._opens = same, [d.open for d in data]
        self._at: list[np.ndarray | None] = [
            None if same else np.searchsorted(d.start, self.starts, side="right") - 1 for d in data
        ]
        self._after = [int(self.interval * part) for part in PATH[:CLOSE]] + [self.interval - BEFORE_END_NS]
        self.low = np.empty((len(self.starts), len(data)), np.int64)
        self.high = np.empty_like(self.low)
        for k, columns in enumerate(data):
            self._fill(k, columns)

    def _fill(self, k: int, data: Columns) -> None:
        at = self._at[k]
        low, high = _paise(data.low), _paise(data.high)
        if at is not None:
            close, begins = _paise(data.close), data.start[at] == self.starts
            low, high = (np.where(begins, x[at], np.where(at >= 0, close[at], 0)) for x in (low, high))
        self.low[:, k], self.high[:, k] = low, high

    def days(self) -> Iterator[tuple[int, int]]:
        """First and one past the last row of each Indian day."""
        numbers = (self.starts + IST_OFFSET_NS) // DAY_NS
        begins = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1)).tolist()
        return zip(begins, [*begins[1:], len(self.starts)], strict=True)

    def rows_of(self, starts: np.ndarray) -> list[int]:
        """The rows of candles that begin then."""
        return np.searchsorted(self.starts, starts).tolist()

    def prices(self, row: int, shown: list[int], point: int) -> list[float]:
        """Rupees that instruments (by position) show at a point of the path; the last close where one has no candle; 0.0: none
        yet.
        """
        if self._aligned and point == OPEN:
            return [self._opens[k].item(row) for k in shown]
        return [self._price(row, k, point) for k in shown]

    def _price(self, row: int, k: int, point: int) -> float:
        at, data = self._at[k], self.data[k]
        i = row if at is None else at.item(row)
        if i < 0:
            return 0.0
        if point == CLOSE or (at is not None and data.start.item(i) != self.starts.item(row)):
            return data.close.item(i)
        if point == OPEN:
            return data.open.item(i)
        falls_first = data.close.item(i) >= data.open.item(i)
        return data.low.item(i) if (point == 1) == falls_first else data.high.item(i)

    def next_row(self, row: int, k: int) -> int:
        """The row of an instrument's first candle after `row`; the number of rows if there is none."""
        starts = self.data[k].start
        i = int(np.searchsorted(starts, self.starts[row], side="right"))
        return int(np.searchsorted(self.starts, starts[i])) if i < len(starts) else len(self.starts)

    def made_at(self, row: int, k: int, now: int) -> int:
        """When an instrument's price of a row was made: `now`, or the end of its last candle where it has none there."""
        at = self._at[k]
        if at is None or (i := at.item(row)) < 0:
            return now
        start: int = self.data[k].start.item(i)
        return now if start == self.starts.item(row) else start + self.interval

    def time(self, row: int, point: int) -> int:
        """UTC nanoseconds of a point of the path."""
        return self.starts.item(row) + self._after[point]

    def risky_from(
        self, row: int, until: int, held: list[int], quantities: list[int], rest: int, line: int
    ) -> int:  # fmt: skip
        """The first row from `row` on in which the MTM could reach `line`; `until` if none before it.

        MTM in paise is `rest` plus quantity times price over `held` (instruments' positions); every price of a candle
        lies between its low and high, so the sum of each position's worst is below whatever the path shows.
        """
        return _first_below(
            self.low, self.high, np.array(held, np.int64), np.array(quantities, np.int64), rest, line, row, until
        )


def _paise(prices: np.ndarray) -> np.ndarray:
    """As `domain.portfolio.to_paise`: half to even, of the same product."""
    return np.rint(prices * 100).astype(np.int64)


@njit("int64(int64[:,::1], int64[:,::1], int64[::1], int64[::1], int64, int64, int64, int64)", cache=True)
def _first_below(low, high, columns, quantities, rest, line, begin, end):  # type: ignore[no-untyped-def]
    for row in range(begin, end):
        worst = rest
        for j in range(len(columns)):
            q = quantities[j]
            worst += q * (low[row, columns[j]] if q > 0 else high[row, columns[j]])
        if worst <= line:
            return row
    return end
