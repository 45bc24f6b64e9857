"""How a day is made up: an index path with clusters of volatility and trends, shares that follow it, futures with a basis.

Every instrument draws from a generator of its own, seeded by (seed, day, key), so what others are asked for changes
nothing. Levels of successive days join up: a day begins a gap away from where the day before ended.
"""

from __future__ import annotations

import datetime as dt
import math
import zlib
from typing import NamedTuple

import numpy as np

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.hours import market_hours, previous_trading_day
from tradealgo.domain.instruments import PRICE_DIVISORS, SEGMENT_CODES, Instrument, Kind
from tradealgo.exchange.listing import SHARES, UNDERLYINGS, Share, Underlying

STEPS = 8  # of a price path within each minute
CARRY = 0.055  # a year: interest less dividends, the futures' basis
GAP_SHARE = 0.4  # the opening gap's volatility against the day's

_MEMORY = 0.98  # of a level's distance from its base, from one day to the next
_LOOKBACK = 300  # days after which that memory is nil


class Simulated(NamedTuple):
    """By token: `CANDLE` arrays, previous closes in rupees, spreads as fractions of the price."""

    candles: dict[int, np.ndarray]
    previous_close: dict[int, float]
    spreads: dict[int, float]


def _generator(seed: int, key: str, *numbers: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(key.encode()), *numbers])


def on_tick(prices: np.ndarray | float, tick: float, divisor: float = 100.0) -> np.ndarray:
    """Prices at the nearest tick, at least one; exactly the floats that a packet's integers decode to."""
    unit = max(1, round(tick * divisor))
    return np.maximum(np.rint(np.asarray(prices) * divisor / unit), 1) * unit / divisor


def _log_level(seed: int, key: str, day: dt.date, volatility: float) -> float:
    """Where a slowly reverting walk of daily volatility `volatility` stands at the end of `day`."""
    block, total = day.toordinal(), 0.0
    # one draw a calendar day, from a generator a block of 64 days, so that any day costs a few generators
    for number in range(block // 64, (block - _LOOKBACK) // 64 - 1, -1):
        ordinals = number * 64 + np.arange(64)
        draws = _generator(seed, key, 1, number).standard_normal(64)
        age = block - ordinals
        total += float(np.sum(np.where(age >= 0, draws * _MEMORY ** np.maximum(age, 0), 0.0)))
    return volatility * total


def _shape(minutes: int) -> np.ndarray:
    """How busy each minute is: high after the open and before the close; its square's mean is 1."""
    t = np.arange(minutes)
    shape = 0.65 + 1.3 * np.exp(-t / 22) + 0.6 * np.exp(-(minutes - t) / 25)
    return shape / math.sqrt(float(np.mean(shape**2)))


def _persistent(draws: np.ndarray, memory: float) -> np.ndarray:
    """A stationary AR(1) of unit variance."""
    out = np.empty_like(draws)
    state, scale = draws[0], math.sqrt(1 - memory**2)
    for i, draw in enumerate(draws):
        state = memory * state + scale * draw if i else draw
        out[i] = state
    return out


class Returns(NamedTuple):
    """One source of a day's movement, in logs: level at yesterday's end, the gap, then steps `[minutes, STEPS]`.

    `activity` is each minute's volatility against the usual.
    """

    level: float
    gap: float
    steps: np.ndarray
    activity: np.ndarray


def day_returns(seed: int, key: str, day: dt.date, volatility: float, minutes: int, spot_minutes: int) -> Returns:
    """A day of one source: GARCH-like clusters, fat tails, drifts that last about an hour.

    The next day's level is where it stands after `spot_minutes`, when the index stops; futures go on to `minutes`.
    """
    yesterday = previous_trading_day(day - dt.timedelta(days=1))
    level = _log_level(seed, key, yesterday, volatility)
    total = _log_level(seed, key, day, volatility) - level
    random = _generator(seed, key, 2, day.toordinal())
    gap = GAP_SHARE * volatility * float(random.standard_normal())
    clusters = np.exp(0.45 * _persistent(random.standard_normal(minutes), 0.96) - 0.1)
    activity = _shape(minutes) * clusters
    step_volatility = volatility / math.sqrt(minutes * STEPS)
    noise = random.standard_t(5, (minutes, STEPS)) / math.sqrt(5 / 3)
    drift = 0.10 * _persistent(random.standard_normal(minutes), 0.98)
    steps = step_volatility * activity[:, None] * (noise + drift[:, None])
    spot = steps[:spot_minutes]
    steps += (total - gap - spot.sum()) / spot.size
    return Returns(level, gap, steps, activity)


class _Path(NamedTuple):
    """Prices `[minutes, STEPS]` in rupees, yesterday's close, and each minute's activity."""

    prices: np.ndarray
    previous_close: float
    activity: np.ndarray


def _path(base: float, parts: list[tuple[float, Returns]]) -> _Path:
    level = sum(weight * r.level for weight, r in parts)
    gap = sum(weight * r.gap for weight, r in parts)
    steps = sum((weight * r.steps for weight, r in parts), np.zeros_like(parts[0][1].steps))
    activity = np.mean([r.activity for _, r in parts], axis=0)
    logs = level + gap + np.cumsum(steps.ravel()).reshape(steps.shape)
    return _Path(base * np.exp(logs), base * math.exp(level), activity)


class Simulator:
    """Paths of one (day, seed), made when first asked for."""

    def __init__(self, day: dt.date, seed: int) -> None:
        self.day, self.seed = day, seed
        longest = market_hours(_PROBE, day)
        self.open = longest.open
        self.minutes = (longest.close - longest.open) // MINUTE_NS
        spot = market_hours(_INDEX_PROBE, day)
        self.spot_minutes = (spot.close - spot.open) // MINUTE_NS
        self._returns: dict[str, Returns] = {}
        self._paths: dict[str, _Path] = {}

    def returns(self, key: str, volatility: float) -> Returns:
        if key not in self._returns:
            self._returns[key] = day_returns(self.seed, key, self.day, volatility, self.minutes, self.spot_minutes)
        return self._returns[key]

    def path(self, key: str) -> _Path:
        """The path of an index or a share."""
        if key not in self._paths:
            fact = _SPOTS[key]
            market = UNDERLYINGS[0]
            own = (1.0, self.returns(key, fact.daily_volatility))
            parts = (
                [own] if key == market.key else [(fact.beta, self.returns(market.key, market.daily_volatility)), own]
            )
            self._paths[key] = _path(fact.base, parts)
        return self._paths[key]

    def future_prices(self, instrument: Instrument) -> tuple[np.ndarray, float]:
        """A future's path and yesterday's close: the index, the cost of carry and a little noise of its own."""
        spot = self.path(_BY_NAME[instrument.name].key)
        assert instrument.expiry is not None
        years = (instrument.expiry - self.day).days / 365
        wander = 0.00006 * _persistent(
            _generator(self.seed, instrument.key, 3, self.day.toordinal()).standard_normal(self.minutes), 0.9
        )
        prices = spot.prices * np.exp(CARRY * years + wander)[:, None]
        return prices, spot.previous_close * math.exp(CARRY * (years + 1 / 365))

    def volumes(self, instrument: Instrument, a_day: float, activity: np.ndarray) -> np.ndarray:
        """Units traded a minute, whole lots."""
        random = _generator(self.seed, instrument.key, 4, self.day.toordinal())
        busy = _shape(len(activity)) ** 1.5 * activity**0.7 * np.exp(0.35 * random.standard_normal(len(activity)))
        lots = np.rint(a_day / instrument.lot_size * busy / self.minutes)
        return np.maximum(lots, 1) * instrument.lot_size

    def open_interest(self, instrument: Instrument, around: float) -> np.ndarray:
        """Units open at each minute's end, whole lots."""
        random = _generator(self.seed, instrument.key, 5, self.day.toordinal())
        lots = around / instrument.lot_size * np.exp(np.cumsum(0.0012 * random.standard_normal(self.minutes)))
        return np.maximum(np.rint(lots), 1) * instrument.lot_size


_PROBE = Instrument(instrument_token=2, exchange="NFO", tradingsymbol="", kind=Kind.FUTURE)
_INDEX_PROBE = Instrument(instrument_token=9, exchange="NSE", tradingsymbol="", kind=Kind.INDEX)
_SPOTS: dict[str, Underlying | Share] = {u.key: u for u in UNDERLYINGS} | {s.key: s for s in SHARES}
_BY_NAME = {u.name: u for u in UNDERLYINGS}
#: Units of a nearest index future that change hands and stay open on a usual day; each month further has a sixth of it.
_FUTURE_VOLUME, _FUTURE_OI = {"NIFTY": 6_000_000, "BANKNIFTY": 2_000_000}, {"NIFTY": 14_000_000, "BANKNIFTY": 2_500_000}


def divisor_of(instrument: Instrument) -> float:
    """What a packet's integer price is divided by, from the token's segment."""
    return float(PRICE_DIVISORS.get(SEGMENT_CODES.get(instrument.instrument_token & 0xFF, ""), 100))


def candles_of(instrument: Instrument, prices: np.ndarray, open_ts: int, minutes: int) -> np.ndarray:
    """`CANDLE[minutes]` of a path, on tick; volume and oi 0."""
    ticked = on_tick(prices[:minutes], instrument.tick_size, divisor_of(instrument))
    candles = np.zeros(len(ticked), CANDLE)
    candles["start"] = open_ts + MINUTE_NS * np.arange(len(ticked))
    candles["open"], candles["close"] = ticked[:, 0], ticked[:, -1]
    candles["high"], candles["low"] = ticked.max(axis=1), ticked.min(axis=1)
    return candles


def _one(simulator: Simulator, instrument: Instrument) -> tuple[np.ndarray, float]:
    hours = market_hours(instrument, simulator.day)
    minutes = (hours.close - hours.open) // MINUTE_NS
    if instrument.kind is Kind.FUTURE:
        activity = simulator.path(_BY_NAME[instrument.name].key).activity
        prices, previous = simulator.future_prices(instrument)
        months = max(0, ((instrument.expiry or simulator.day) - simulator.day).days // 30)
        volume = simulator.volumes(instrument, _FUTURE_VOLUME[instrument.name] / 6**months, activity)
        oi = simulator.open_interest(instrument, _FUTURE_OI[instrument.name] / 6**months)
    else:
        prices, previous, activity = simulator.path(instrument.key)
        oi = volume = np.zeros(simulator.minutes)
        fact = _SPOTS[instrument.key]
        if isinstance(fact, Share):
            volume = simulator.volumes(instrument, fact.daily_volume, activity)
    candles = candles_of(instrument, prices, hours.open, minutes)
    candles["volume"], candles["oi"] = volume[:minutes], oi[:minutes]
    return candles, float(on_tick(previous, instrument.tick_size, divisor_of(instrument)))


def simulate(day: dt.date, seed: int, instruments: list[Instrument]) -> Simulated:
    """The day of these instruments, all of them of `listing(day)`."""
    simulator, out = Simulator(day, seed), Simulated({}, {}, {})
    for instrument in instruments:
        token = instrument.instrument_token
        out.candles[token], out.previous_close[token] = _one(simulator, instrument)
    return out
