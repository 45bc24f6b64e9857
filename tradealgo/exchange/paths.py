"""Paths of simulated prices: clusters of volatility, drifts that last about an hour, gaps, days that join up."""

from __future__ import annotations

import datetime as dt
import math
import zlib
from typing import NamedTuple

import numpy as np

from tradealgo.domain.hours import previous_trading_day

STEPS = 8  # of a price path within each minute
#: Chosen so that a day's range, against its return, is that of NIFTY in 2022: medians of 1.2 % and 1.1 %.
GAP_SHARE, DAYTIME_SHARE = 0.4, 0.75  # of the day's volatility: in the opening gap, and in the minutes' noise
DRIFT = 0.04  # of trends that last about an hour, against a step's noise

_MEMORY = 0.98  # of a level's distance from its base, from one day to the next
_LOOKBACK = 300  # days after which that memory is nil


def generator(seed: int, key: str, *numbers: int) -> np.random.Generator:
    """A generator of one purpose's own, so that nothing else that is drawn changes it."""
    return np.random.default_rng([seed, zlib.crc32(key.encode()), *numbers])


def _log_level(seed: int, key: str, day: dt.date, volatility: float) -> float:
    """Where a slowly reverting walk of daily volatility `volatility` stands at the end of `day`."""
    block, total = day.toordinal(), 0.0
    # one draw a calendar day, from a generator a block of 64 days, so that any day costs a few generators
    for number in range(block // 64, (block - _LOOKBACK) // 64 - 1, -1):
        ordinals = number * 64 + np.arange(64)
        draws = generator(seed, key, 1, number).standard_normal(64)
        age = block - ordinals
        total += float(np.sum(np.where(age >= 0, draws * _MEMORY ** np.maximum(age, 0), 0.0)))
    return volatility * total


def shape(minutes: int) -> np.ndarray:
    """How busy each minute is: high after the open and before the close; its square's mean is 1."""
    t = np.arange(minutes)
    busy = 0.65 + 1.3 * np.exp(-t / 22) + 0.6 * np.exp(-(minutes - t) / 25)
    return busy / math.sqrt(float(np.mean(busy**2)))


def persistent(draws: np.ndarray, memory: float) -> np.ndarray:
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
    random = generator(seed, key, 2, day.toordinal())
    gap = GAP_SHARE * volatility * float(random.standard_normal())
    clusters = np.exp(0.45 * persistent(random.standard_normal(minutes), 0.96) - 0.1)
    activity = shape(minutes) * clusters
    step_volatility = DAYTIME_SHARE * volatility / math.sqrt(minutes * STEPS)
    noise = random.standard_t(5, (minutes, STEPS)) / math.sqrt(5 / 3)
    drift = DRIFT * persistent(random.standard_normal(minutes), 0.98)
    steps = step_volatility * activity[:, None] * (noise + drift[:, None])
    spot = steps[:spot_minutes]
    steps += (total - gap - spot.sum()) / spot.size
    return Returns(level, gap, steps, activity)


class Path(NamedTuple):
    """Prices `[minutes, STEPS]` in rupees, yesterday's close, and each minute's activity."""

    prices: np.ndarray
    previous_close: float
    activity: np.ndarray


def path(base: float, parts: list[tuple[float, Returns]]) -> Path:
    level = sum(weight * r.level for weight, r in parts)
    gap = sum(weight * r.gap for weight, r in parts)
    steps = sum((weight * r.steps for weight, r in parts), np.zeros_like(parts[0][1].steps))
    activity = np.mean([r.activity for _, r in parts], axis=0)
    logs = level + gap + np.cumsum(steps.ravel()).reshape(steps.shape)
    return Path(base * np.exp(logs), base * math.exp(level), activity)
