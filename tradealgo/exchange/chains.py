"""Option chains priced off the simulated index: Black-76 on the forward, a smile, decay to expiry, wide quotes far out.

Volatility of a strike is fixed by its distance from the forward at yesterday's close; the whole smile rises as the
index falls. All figures of an option follow from its own strike and the shared path, never from its neighbours.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument, Kind

RATE = 0.065  # a year
YEAR_NS = 365 * 86_400 * 1_000_000_000
EXPIRES_AT = dt.time(15, 30)  # settlement on the index's close
_LEAST_YEARS = 30 / (365 * 86_400)  # an option keeps half a minute of life, so that no formula divides by zero

SMILE_SLOPE, SMILE_CURVE = -0.045, 0.03  # per standard deviation of strike from forward, and its square
LEVERAGE = 3.0  # how many percent volatility rises for each percent that the index falls
_FURTHEST = 4.0  # standard deviations beyond which the smile is flat

WIDEST_SPREAD = 0.0006  # of the forward: deep in the money a quote is wide, but bounded by the future's hedge

#: Options priced at once: bounds memory.
_BATCH = 256


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """The standard normal distribution function, to 7.5e-8 (Abramowitz and Stegun 26.2.17)."""
    z = np.abs(x)
    t = 1 / (1 + 0.2316419 * z)
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail = np.exp(-z * z / 2) * 0.3989422804014327 * series
    return np.where(x >= 0, 1 - tail, tail)


def black76(
    forward: np.ndarray, strike: np.ndarray, years: np.ndarray, sigma: np.ndarray, put: np.ndarray
) -> np.ndarray:
    """Premiums in rupees of European options on a forward; arguments broadcast. `put` is True for puts."""
    deviation = sigma * np.sqrt(years)
    d1 = np.log(forward / strike) / deviation + deviation / 2
    sign = np.where(put, -1.0, 1.0)
    undiscounted = sign * (forward * normal_cdf(sign * d1) - strike * normal_cdf(sign * (d1 - deviation)))
    return np.exp(-RATE * years) * np.maximum(undiscounted, 0.0)


def smile(strike: np.ndarray, forward: float, years: float, at_the_money: float) -> np.ndarray:
    """Volatility a year by strike: puts far below the forward cost most."""
    x = distance(strike, forward, years, at_the_money)
    return at_the_money * (1 + SMILE_SLOPE * x + SMILE_CURVE * x * x)


def distance(strike: np.ndarray, forward: float, years: float, at_the_money: float) -> np.ndarray:
    """Standard deviations between forward and strike, at most 4."""
    spread = at_the_money * np.sqrt(max(years, 1 / 365))
    return np.clip(np.log(strike / forward) / spread, -_FURTHEST, _FURTHEST)


class Underneath(NamedTuple):
    """What a chain is priced off: the index's prices at open, high, low and close of each minute `[minutes, 4]`.

    `at_the_money` is its volatility a year, `wander` each minute's factor on it; `activity` each minute's volatility.
    """

    prices: np.ndarray
    previous_close: float
    at_the_money: float
    carry: float
    wander: np.ndarray
    activity: np.ndarray
    open_ts: int


class Chain(NamedTuple):
    """Options of one underlying and expiry: OHLC `[options, minutes, 4]` in rupees, previous closes, spreads as fractions
    of the premium, distance in standard deviations, and years to expiry at yesterday's close."""

    options: list[Instrument]
    prices: np.ndarray
    previous_close: np.ndarray
    spreads: np.ndarray
    distance: np.ndarray
    years: float


def years_to(expiry: dt.date, instants: np.ndarray | int) -> np.ndarray:
    """Years from instants (UTC ns) to settlement; never less than half a minute."""
    return np.maximum((at(expiry, EXPIRES_AT) - np.asarray(instants)) / YEAR_NS, _LEAST_YEARS)


def chains(options: list[Instrument], expiry: dt.date, under: Underneath) -> Iterator[Chain]:
    """Price the options of one underlying and expiry, some hundreds at a time."""
    for first in range(0, len(options), _BATCH):
        yield _priced(options[first : first + _BATCH], expiry, under)


def _priced(options: list[Instrument], expiry: dt.date, under: Underneath) -> Chain:
    strike = np.array([o.strike for o in options])
    put = np.array([o.kind is Kind.PUT for o in options])
    minutes = under.open_ts + MINUTE_NS * np.arange(len(under.prices)) + MINUTE_NS // 2
    years = years_to(expiry, minutes)[:, None]
    yesterday = float(years_to(expiry, under.open_ts)) + 17.75 / (24 * 365)  # 15:30 to 09:15
    forward_then = under.previous_close * float(np.exp(under.carry * yesterday))
    sigma = smile(strike, forward_then, yesterday, under.at_the_money)
    level = (under.previous_close / under.prices[:, -1:]) ** LEVERAGE * under.wander[:, None]
    forward = under.prices * np.exp(under.carry * years)
    raw = black76(
        forward[None], strike[:, None, None], years[None], sigma[:, None, None] * level[None], put[:, None, None]
    )
    prices = np.stack([raw[..., 0], raw.max(axis=2), raw.min(axis=2), raw[..., 3]], axis=2)
    then = black76(np.array(forward_then), strike, np.array(yesterday), sigma, put)
    x = distance(strike, forward_then, yesterday, under.at_the_money)
    far = (0.0015 + 0.0025 * x * x) * (1 + 3 * yesterday)
    spreads = np.minimum(far, WIDEST_SPREAD * forward_then / np.maximum(then, 0.05))
    return Chain(options, prices, then, spreads, x, yesterday)


def traded_candles(prices: np.ndarray, volume: np.ndarray, oi: np.ndarray, open_ts: int) -> np.ndarray:
    """`CANDLE` of the minutes in which an option traded; `prices` is `[minutes, 4]`, on tick."""
    candles = np.zeros(len(prices), CANDLE)
    candles["start"] = open_ts + MINUTE_NS * np.arange(len(prices))
    for column, name in enumerate(("open", "high", "low", "close")):
        candles[name] = prices[:, column]
    candles["volume"], candles["oi"] = volume, oi
    return candles[volume > 0]
