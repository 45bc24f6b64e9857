"""The compiled simulator: targets in, orders, charges and equity out, with vectorbt's arithmetic to the last bit.

A change of target at a candle's close makes an exit leg, an entry leg or both, sized on that close, filled at the next
candle's open (or at that close). Every order fills whole: capital doesn't bind, because intraday margin is the broker's
matter and the Gatekeeper's limits are tested elsewhere.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from tradealgo.domain.charges import SCHEDULE, Rates, rates_for
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.sizing import Sizing

#: One simulated order. `signal` and `fill` are positions of candles, `quantity` is signed, `price` and `fees` in rupees.
ORDER = np.dtype([("signal", "<i8"), ("fill", "<i8"), ("quantity", "<i8"), ("price", "<f8"), ("fees", "<f8")])

#: Rates are whole numbers of ten-millionths, so that charges in paise are exact.
RATE_UNIT = 10_000_000
CHARGE_KINDS = ("brokerage", "stt", "exchange", "sebi", "stamp", "gst")
NO_FEES, FRACTION, SCHEDULED = 0, 1, 2


class Costs(NamedTuple):
    """What an order costs. `rates` has a row a schedule (brokerage, its cap in paise, STT, exchange, SEBI, stamp, GST in
    percent), newest first, holding from `since` (UTC ns) on."""

    kind: int
    fraction: float
    slippage: float
    rates: np.ndarray
    since: np.ndarray


class Size(NamedTuple):
    """Compiled form of a Sizing: `units` if it is above 0, else a fraction of capital, in whole lots."""

    units: int
    value: float  # rupees for one instrument: capital times fraction
    lot: int


def costs(instrument: Instrument, charges: bool | float, slippage: float) -> Costs:
    """Costs of an instrument. `charges`: True for NSE's and Zerodha's of the day, False for none, or a fraction of turnover."""
    if not 0.0 <= slippage < 1.0:
        raise BadConfig(f"slippage is {slippage!r}: expected a fraction of the price, as in 0.0005")
    rates, since = _schedule(instrument)
    if isinstance(charges, (bool, np.bool_)):
        return Costs(SCHEDULED if charges else NO_FEES, 0.0, float(slippage), rates, since)
    if not isinstance(charges, (int, float, np.number)) or not 0.0 <= charges < 1.0:
        raise BadConfig(f"charges is {charges!r}: expected True, False or a fraction of turnover, as in 0.0003")
    return Costs(FRACTION, float(charges), float(slippage), rates, since)


@lru_cache(maxsize=1_000)
def _schedule(instrument: Instrument) -> tuple[np.ndarray, np.ndarray]:
    since = [at(start, dt.time(0)) for start, _ in SCHEDULE]
    since[-1] = np.iinfo(np.int64).min  # older dates use the oldest row
    rates = [_row(rates_for(instrument, start)) for start, _ in SCHEDULE]
    return np.array(rates, np.int64), np.array(since, np.int64)


def _row(r: Rates) -> list[int]:
    fractions = [int(x * RATE_UNIT) for x in (r.brokerage, r.stt_sell, r.exchange, r.sebi, r.stamp_buy)]
    return [fractions[0], int(r.brokerage_cap * 100), *fractions[1:], int(r.gst * 100)]


def size(sizing: Sizing, capital: float, lot: int) -> Size:
    """The compiled form of a sizing. Raises BadConfig for what is none."""
    if not isinstance(sizing, Sizing):
        raise BadConfig(f"sizing is {sizing!r}: expected a Sizing, as in Sizing(lots=1) or Sizing(fraction=0.5)")
    if sizing.fraction is not None:
        return Size(0, capital * sizing.fraction, lot)
    units = sizing.quantity(1.0, capital, lot)
    return Size(units if units else -1, 0.0, lot)


@njit(cache=True, inline="always")
def quantity_at(close, size):  # type: ignore[no-untyped-def]
    """Units for a target of 1, as `Sizing.quantity`."""
    if size.units != 0:
        return max(size.units, 0)
    return np.int64(np.floor(size.value / (close * size.lot))) * size.lot


@njit(cache=True)
def half_up(numerator, denominator):  # type: ignore[no-untyped-def]
    """A quotient of whole positive numbers, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


@njit(cache=True)
def charge_kinds(price, quantity, ts, costs):  # type: ignore[no-untyped-def]
    """Paise of each of CHARGE_KINDS for one order, as `domain.charges.order_charges`."""
    row = 0
    while ts < costs.since[row]:
        row += 1
    rates = costs.rates[row]
    turnover = np.int64(np.rint(price * 100.0)) * abs(quantity)
    brokerage = min(half_up(turnover * rates[0], RATE_UNIT), rates[1]) if rates[0] else rates[1]
    stt = half_up(turnover * rates[2], RATE_UNIT) if quantity < 0 else 0
    exchange = half_up(turnover * rates[3], RATE_UNIT)
    sebi = half_up(turnover * rates[4], RATE_UNIT)
    stamp = half_up(turnover * rates[5], RATE_UNIT) if quantity > 0 else 0
    gst = half_up((brokerage + exchange + sebi) * rates[6], 100)
    return brokerage, stt, exchange, sebi, stamp, gst


@njit(cache=True)
def fees_of(price, quantity, ts, costs):  # type: ignore[no-untyped-def]
    """Rupees that one order costs."""
    if costs.kind == NO_FEES:
        return 0.0
    if costs.kind == FRACTION:
        return abs(quantity) * price * costs.fraction
    brokerage, stt, exchange, sebi, stamp, gst = charge_kinds(price, quantity, ts, costs)
    return (brokerage + stt + exchange + sebi + stamp + gst) / 100.0


@njit(cache=True)
def fill_price(price, quantity, costs):  # type: ignore[no-untyped-def]
    """The price after slippage, always to our harm."""
    return price * (1.0 + costs.slippage) if quantity > 0 else price * (1.0 - costs.slippage)


@njit(cache=True, nogil=True)
def simulate(start, open_, close, at, targets, delay, size, costs, orders):  # type: ignore[no-untyped-def]
    """Fills `orders` and returns their number. `at` are candles and `targets` the targets from there on; `delay` 1 fills
    at the next open, 0 at the signal's close."""
    last, held, count = 0, 0, 0
    for j in range(len(at)):
        if targets[j] == last:
            continue
        last = targets[j]
        i = at[j]
        fill = i + delay
        if fill >= len(close):
            break
        price = open_[fill] if delay else close[i]
        for leg in range(2):
            quantity = -held if leg == 0 else last * quantity_at(close[i], size)
            if quantity == 0:
                continue
            held += quantity
            paid = fill_price(price, quantity, costs)
            orders[count].signal = i
            orders[count].fill = fill
            orders[count].quantity = quantity
            orders[count].price = paid
            orders[count].fees = fees_of(paid, quantity, start[fill], costs)
            count += 1
    return count


@njit(cache=True, nogil=True)
def equity_curve(close, orders, capital, out):  # type: ignore[no-untyped-def]
    """Cash and position at each candle's close, as vectorbt's `value()`. Fills `out`."""
    cash, held, k = capital, 0, 0
    for i in range(len(close)):
        while k < len(orders) and orders[k].fill == i:
            cash = cash + (-orders[k].quantity * orders[k].price - orders[k].fees)
            held += orders[k].quantity
            k += 1
        out[i] = cash + held * close[i]


@njit(cache=True)
def charge_table(start, orders, costs, out):  # type: ignore[no-untyped-def]
    """Paise by order and kind. Fills `out`."""
    for k in range(len(orders)):
        kinds = charge_kinds(orders[k].price, orders[k].quantity, start[orders[k].fill], costs)
        for j in range(6):
            out[k, j] = kinds[j]


@njit(cache=True)
def last_value(close, orders, capital):  # type: ignore[no-untyped-def]
    """The last point of `equity_curve`."""
    cash, held = capital, 0
    for k in range(len(orders)):
        cash = cash + (-orders[k].quantity * orders[k].price - orders[k].fees)
        held += orders[k].quantity
    return cash + held * close[-1]


def simulated(data: Any, at: np.ndarray, targets: np.ndarray, delay: int, size: Size, costs: Costs) -> np.ndarray:
    """The orders of spans of targets."""
    orders = np.empty(2 * len(at), ORDER)
    return orders[: simulate(data.start, data.open, data.close, at, targets, delay, size, costs, orders)]
