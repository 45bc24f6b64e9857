"""The loop of a sweep: strategy, exits, orders and figures of one point after another, with nothing kept by candle.

Its arithmetic is that of `simulate`, order by order, so that a point's equity is the backtest's to the last bit.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numba
from numba import njit
from numpy import empty as empty  # the template calls these
from numpy import int64 as int64

from tradealgo.research.simulate import Costs, Size, fees_of, fill_price, quantity_at
from tradealgo.strategies.compiler import CANDLES, INTS, Compiled

#: Columns of a sweep's raw figures.
FIGURES = (
    "final equity", "orders", "trades", "won", "sum won", "sum lost", "charges", "max drawdown",
    "days", "sum of returns", "sum of squared returns",
)  # fmt: skip


@njit(nogil=True)
def account(start, open_, close, days, at, to, changes, capital, delay, size, costs, out):  # type: ignore[no-untyped-def]
    """The book of one point. `at` and `to` are its changes of target: candle and new target; `days` where days begin.

    Fills `out`. Between two fills the position stands still, so its value is all that is looked at there.
    """
    n = len(close)
    cash, held, orders, trades, won = capital, 0, 0, 0, 0
    won_sum, lost_sum, charges, entry_price, entry_fees = 0.0, 0.0, 0.0, 0.0, 0.0
    peak, drawdown, day, yesterday, returns, squares = capital, 0.0, 1, capital, 0.0, 0.0
    begin = 0
    for c in range(changes + 1):
        fill = at[c] + delay if c < changes else n
        if fill > n:
            fill = n
        while day < len(days) and days[day] <= fill:
            value = cash + held * close[days[day] - 1]
            change = change_of(value, yesterday)
            yesterday = value
            returns += change
            squares += change * change
            day += 1
        if held != 0:
            peak, drawdown = worst_fall(close, begin, fill, cash, held, peak, drawdown)
        if fill == n:
            break
        begin = fill
        price = open_[fill] if delay == 1 else close[fill]
        for leg in range(2):
            quantity = -held if leg == 0 else to[c] * quantity_at(close[at[c]], size)
            if quantity == 0:
                continue
            paid = fill_price(price, quantity, costs)
            fees = fees_of(paid, quantity, start[fill], costs)
            if leg == 0:
                pnl = (paid - entry_price) * held - (entry_fees + fees)
                trades += 1
                won += 1 if pnl > 0.0 else 0
                won_sum += max(pnl, 0.0)
                lost_sum += min(pnl, 0.0)
            cash = cash + (-quantity * paid - fees)
            held += quantity
            orders += 1
            charges += fees
            entry_price, entry_fees = paid, fees
        if held == 0:
            peak = max(peak, cash)
            if cash < peak * (1.0 + drawdown):
                drawdown = cash / peak - 1.0
    value = cash + held * close[n - 1]
    change = change_of(value, yesterday)
    if held != 0:
        pnl = (close[n - 1] - entry_price) * held - entry_fees
        trades += 1
        won += 1 if pnl > 0.0 else 0
        won_sum += max(pnl, 0.0)
        lost_sum += min(pnl, 0.0)
    out[0], out[1], out[2], out[3], out[4], out[5], out[6] = value, orders, trades, won, won_sum, lost_sum, charges
    out[7], out[8], out[9], out[10] = drawdown, len(days), returns + change, squares + change * change


@njit
def change_of(value, before):  # type: ignore[no-untyped-def]
    """A day's return; nan, as all that follows from it, where the capital is lost."""
    return value / before - 1.0 if value > 0.0 and before > 0.0 else math.nan


@njit(fastmath={"nnan", "nsz"})
def extremes(values, begin, end):  # type: ignore[no-untyped-def]
    """Lowest and highest; prices are never nan, which lets this run in SIMD lanes."""
    low, high = values[begin], values[begin]
    for i in range(begin, end):
        low = values[i] if values[i] < low else low
        high = values[i] if values[i] > high else high
    return low, high


@njit
def worst_fall(close, begin, end, cash, held, peak, drawdown):  # type: ignore[no-untyped-def]
    """Highest value and deepest fall from it after the candles from `begin` to `end`.

    The order of candles within matters only where both a new peak and a fall deep enough are among them.
    """
    low, high = extremes(close, begin, end)
    top = cash + held * (high if held > 0 else low)
    bottom = cash + held * (low if held > 0 else high)
    if top <= peak or bottom >= top * (1.0 + drawdown):
        peak = max(peak, top)
        return peak, min(drawdown, bottom / peak - 1.0) if top <= peak and bottom < peak else drawdown
    for i in range(begin, end):
        value = cash + held * close[i]
        peak = max(peak, value)
        if value < peak * (1.0 + drawdown):
            drawdown = value / peak - 1.0
    return peak, drawdown


_TEMPLATE = """
@njit(forceinline=True)
def changes_of(start, open_, high, low, close, volume, oi, late, {parameters}, at, to):
    {prologue}
    last, count = 0, 0
    for i in range(len(close)):
        candle = Candle(start[i], open_[i], high[i], low[i], close[i], volume[i], oi[i])
        wanted = strategy.on_candle(candle)
        if wanted.target > 1 or wanted.target < -1 or wanted.stop <= 0.0 or wanted.stop == inf:
            count = -1 - i
            break
        said = guard.judge(candle, wanted, late[i])
        if said.target != last:
            last = said.target
            at[count] = i
            to[count] = last
            count += 1
    release(strategy)
    return count


def sweep(start, open_, high, low, close, volume, oi, late, days, {columns}, capital, delay, size, costs, out, wrong):
    at = empty(len(close), int64)
    to = empty(len(close), int64)
    for k in range(len(out)):
        count = changes_of(start, open_, high, low, close, volume, oi, late, {picked}, at, to)
        if count < 0:
            wrong[k] = -1 - count
        else:
            account(start, open_, close, days, at, to, count, capital, delay, size, costs, out[k])
"""

_SIZE = numba.types.NamedTuple([numba.int64, numba.float64, numba.int64], Size)
_COSTS = numba.types.NamedTuple(
    [numba.int64, numba.float64, numba.float64, numba.int64[:, ::1], numba.int64[::1]], Costs
)


def loop(code: Compiled) -> Any:
    """The compiled sweep of a strategy: fills `out` (points by FIGURES) and `wrong` (the candle of a bad signal or -1)."""
    columns = tuple(numba.types.Array(t, 1, "C", readonly=True) for t in code.parameter_types)
    rest = (numba.float64, numba.int64, _SIZE, _COSTS, numba.float64[:, ::1], numba.int64[::1])
    signature = numba.void(*CANDLES, INTS, *columns, *rest)
    return code.kernel("sweep", _TEMPLATE, signature, sys.modules[__name__])
