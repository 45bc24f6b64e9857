"""How a day is made up: shares that follow the index, futures with a basis, option chains, each with its volume.

Every instrument draws from a generator of its own, seeded by (seed, day, key), so what others are asked for changes
nothing.
"""

from __future__ import annotations

import datetime as dt
import math
from itertools import groupby
from typing import NamedTuple

import numpy as np

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.hours import market_hours
from tradealgo.domain.instruments import PRICE_DIVISORS, SEGMENT_CODES, Instrument, Kind
from tradealgo.exchange.chains import Chain, Underneath, chains, traded_candles, years_to
from tradealgo.exchange.listing import SHARES, UNDERLYINGS, Share, Underlying
from tradealgo.exchange.paths import Path, Returns, day_returns, generator, path, persistent, shape

CARRY = 0.055  # a year: interest less dividends, the futures' basis
TRADING_DAYS = 252  # a year

_FUTURE_PROBE = Instrument(instrument_token=2, exchange="NFO", tradingsymbol="", kind=Kind.FUTURE)
_INDEX_PROBE = Instrument(instrument_token=9, exchange="NSE", tradingsymbol="", kind=Kind.INDEX)
_SPOTS: dict[str, Underlying | Share] = {u.key: u for u in UNDERLYINGS} | {s.key: s for s in SHARES}
_BY_NAME = {u.name: u for u in UNDERLYINGS}


class Business(NamedTuple):
    """Units of the nearest future, and lots of an option at the money, that trade on a usual day and stay open."""

    future_volume: float
    future_oi: float
    option_volume: float
    option_oi: float


_BUSINESS = {
    "NIFTY": Business(6_000_000, 14_000_000, 400_000, 60_000),
    "BANKNIFTY": Business(2_000_000, 2_500_000, 90_000, 25_000),
    "FINNIFTY": Business(60_000, 90_000, 3_000, 2_000),
    "MIDCPNIFTY": Business(400_000, 900_000, 8_000, 4_000),
}
_MONTH_DECAY = 6.0  # each month further has that much less of the futures' business
_OPTION_DECAY = 18.0  # a year: e-folding of options' business with time to expiry
_OPTION_REACH, _OI_REACH = 0.9, 1.5  # standard deviations of business and open interest around the money


class Simulated(NamedTuple):
    """By token: `CANDLE` arrays, previous closes in rupees, spreads as fractions of the price."""

    candles: dict[int, np.ndarray]
    previous_close: dict[int, float]
    spreads: dict[int, float]


def divisor_of(instrument: Instrument) -> float:
    """What a packet's integer price is divided by, from the token's segment."""
    return float(PRICE_DIVISORS.get(SEGMENT_CODES.get(instrument.instrument_token & 0xFF, ""), 100))


def on_tick(prices: np.ndarray | float, tick: float, divisor: float = 100.0) -> np.ndarray:
    """Prices at the nearest tick, at least one; exactly the floats that a packet's integers decode to."""
    unit = max(1, round(tick * divisor))
    return np.maximum(np.rint(np.asarray(prices) * divisor / unit), 1) * unit / divisor


def candles_of(instrument: Instrument, prices: np.ndarray, open_ts: int) -> np.ndarray:
    """`CANDLE` of a path `[minutes, steps]`, on tick; volume and oi 0."""
    ticked = on_tick(prices, instrument.tick_size, divisor_of(instrument))
    candles = np.zeros(len(ticked), CANDLE)
    candles["start"] = open_ts + MINUTE_NS * np.arange(len(ticked))
    candles["open"], candles["close"] = ticked[:, 0], ticked[:, -1]
    candles["high"], candles["low"] = ticked.max(axis=1), ticked.min(axis=1)
    return candles


class Simulator:
    """One (day, seed): paths are made when first asked for."""

    def __init__(self, day: dt.date, seed: int) -> None:
        self.day, self.seed = day, seed
        longest, spot = market_hours(_FUTURE_PROBE, day), market_hours(_INDEX_PROBE, day)
        self.open = longest.open
        self.minutes = (longest.close - longest.open) // MINUTE_NS
        self.spot_minutes = (spot.close - spot.open) // MINUTE_NS
        self._returns: dict[str, Returns] = {}
        self._paths: dict[str, Path] = {}

    def _own(self, key: str, *purpose: int) -> np.random.Generator:
        return generator(self.seed, key, *purpose, self.day.toordinal())

    def _return(self, fact: Underlying | Share) -> Returns:
        if fact.key not in self._returns:
            self._returns[fact.key] = day_returns(
                self.seed, fact.key, self.day, fact.daily_volatility, self.minutes, self.spot_minutes
            )
        return self._returns[fact.key]

    def path(self, key: str) -> Path:
        """The path of an index or a share: its own movement, and its beta's worth of NIFTY's."""
        if key not in self._paths:
            fact, market = _SPOTS[key], UNDERLYINGS[0]
            parts = [(1.0, self._return(fact))]
            if fact is not market:
                parts.append((fact.beta, self._return(market)))
            self._paths[key] = path(fact.base, parts)
        return self._paths[key]

    def _volumes(self, instrument: Instrument, a_day: float, activity: np.ndarray) -> np.ndarray:
        """Units traded a minute, whole lots, at least one."""
        noise = np.exp(0.35 * self._own(instrument.key, 4).standard_normal(len(activity)))
        lots = np.rint(a_day / instrument.lot_size * self._busy(activity) * noise / self.minutes)
        return np.maximum(lots, 1) * instrument.lot_size

    @staticmethod
    def _busy(activity: np.ndarray) -> np.ndarray:
        return shape(len(activity)) ** 1.5 * activity**0.7

    def _open_interest(self, instrument: Instrument, around: float) -> np.ndarray:
        """Units open at each minute's end, whole lots."""
        steps = 0.0012 * self._own(instrument.key, 5).standard_normal(self.minutes)
        return np.maximum(np.rint(around / instrument.lot_size * np.exp(np.cumsum(steps))), 1) * instrument.lot_size

    def spot(self, instrument: Instrument) -> tuple[np.ndarray, float]:
        """An index's or a share's candles and previous close."""
        hours = market_hours(instrument, self.day)
        minutes = (hours.close - hours.open) // MINUTE_NS
        prices, previous, activity = self.path(instrument.key)
        candles = candles_of(instrument, prices[:minutes], hours.open)
        fact = _SPOTS[instrument.key]
        if isinstance(fact, Share):
            candles["volume"] = self._volumes(instrument, fact.daily_volume, activity)[:minutes]
        return candles, previous

    def future(self, instrument: Instrument) -> tuple[np.ndarray, float]:
        """A future's: the index, the cost of carry and a little noise of its own."""
        assert instrument.expiry is not None
        prices, previous, activity = self.path(_BY_NAME[instrument.name].key)
        years = years_to(instrument.expiry, self.open + MINUTE_NS * np.arange(self.minutes))
        wander = 0.00006 * persistent(self._own(instrument.key, 3).standard_normal(self.minutes), 0.9)
        candles = candles_of(instrument, prices * np.exp(CARRY * years + wander)[:, None], self.open)
        business = _BUSINESS[instrument.name]
        share = _MONTH_DECAY ** -((instrument.expiry - self.day).days // 30)
        candles["volume"] = self._volumes(instrument, business.future_volume * share, activity)
        candles["oi"] = self._open_interest(instrument, business.future_oi * share)
        return candles, previous * math.exp(CARRY * float(years[0] + 1 / 365))

    def underneath(self, underlying: Underlying, expiry: dt.date) -> Underneath:
        """What the options of an expiry are priced off."""
        prices, previous, activity = self.path(underlying.key)
        ohlc = np.stack([prices[:, 0], prices.max(axis=1), prices.min(axis=1), prices[:, -1]], axis=1)
        key = f"{underlying.key} {expiry}"
        wander = np.exp(0.012 * persistent(self._own(key, 6).standard_normal(self.minutes), 0.97))
        market = UNDERLYINGS[0]
        shared = 0.0 if underlying is market else underlying.beta * market.daily_volatility
        a_year = math.hypot(shared, underlying.daily_volatility) * math.sqrt(TRADING_DAYS)
        return Underneath(ohlc, previous, a_year, CARRY, wander, activity, self.open)

    def option_candles(self, chain: Chain, under: Underneath) -> list[np.ndarray]:
        """Candles of the minutes in which each option of a chain traded; far ones trade seldom."""
        business = _BUSINESS[chain.options[0].name]
        liquidity = math.exp(-_OPTION_DECAY * chain.years)
        near = np.exp(-0.5 * (chain.distance / _OPTION_REACH) ** 2)
        held = np.exp(-0.5 * (chain.distance / _OI_REACH) ** 2) * business.option_oi * liquidity
        busy, prices = self._busy(under.activity) / self.minutes, on_tick(chain.prices, chain.options[0].tick_size)
        found = []
        for number, option in enumerate(chain.options):
            round_strike = 2.5 if option.strike % 500 == 0 else 1.0
            lots = self._own(option.key, 4).poisson(business.option_volume * liquidity * near[number] * busy)
            oi = self._open_interest(option, held[number] * round_strike * option.lot_size)
            found.append(traded_candles(prices[number], lots * option.lot_size, oi, self.open))
        return found


def _chain_of(option: Instrument) -> tuple[str, dt.date]:
    assert option.expiry is not None
    return option.name, option.expiry


def simulate(day: dt.date, seed: int, instruments: list[Instrument]) -> Simulated:
    """The day of these instruments, all of them of `listing(day)`."""
    simulator, out = Simulator(day, seed), Simulated({}, {}, {})
    for instrument in instruments:
        if not instrument.is_option:
            made = simulator.future if instrument.kind is Kind.FUTURE else simulator.spot
            candles, previous = made(instrument)
            out.candles[instrument.instrument_token] = candles
            _note_close(out, instrument, previous)
    options = sorted((i for i in instruments if i.is_option), key=_chain_of)
    for (name, expiry), group in groupby(options, key=_chain_of):
        under = simulator.underneath(_BY_NAME[name], expiry)
        for chain in chains(list(group), expiry, under):
            for number, candles in enumerate(simulator.option_candles(chain, under)):
                option = chain.options[number]
                out.candles[option.instrument_token] = candles
                out.spreads[option.instrument_token] = float(chain.spreads[number])
                _note_close(out, option, float(chain.previous_close[number]))
    return out


def _note_close(out: Simulated, instrument: Instrument, previous: float) -> None:
    close = on_tick(previous, instrument.tick_size, divisor_of(instrument))
    out.previous_close[instrument.instrument_token] = float(close)
