"""Hypothesis strategies that make candles, and trading strategies that use every part of the contract."""

import datetime as dt

import numpy as np
from hypothesis import strategies as st

from tradealgo.domain.candles import CANDLE, MINUTE_NS, Candle
from tradealgo.domain.hours import at
from tradealgo.strategies import ATR, EMA, FLAT, LONG, RSI, SHORT, SMA, VWAP, Signal, Strategy

DAYS = [dt.date(2026, 7, 30), dt.date(2026, 7, 31), dt.date(2026, 8, 3), dt.date(2026, 11, 8)]
BREAKOUT = Signal(1, 90.0, "breakout")


@st.composite
def candles(draw, most=120):
    """A CANDLE array of prices around 100 in whole paise, over days of different market hours, some minutes missing."""
    count = draw(st.integers(1, most))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    array = np.zeros(count, CANDLE)
    array["start"] = np.sort(rng.choice(_minutes(), count, replace=False))
    closes = 100.0 + np.cumsum(rng.integers(-80, 81, count)) / 100.0 * draw(st.sampled_from([0.1, 1.0, 3.0]))
    array["close"] = np.round(np.maximum(closes, 5.0), 2)
    array["open"] = np.round(
        np.maximum(np.r_[100.0, array["close"][:-1]] + rng.integers(-20, 21, count) / 100.0, 5.0), 2
    )
    top, bottom = np.maximum(array["open"], array["close"]), np.minimum(array["open"], array["close"])
    array["high"] = np.round(top + rng.integers(0, 50, count) / 100.0, 2)
    array["low"] = np.round(np.maximum(bottom - rng.integers(0, 50, count) / 100.0, 1.0), 2)
    array["volume"] = rng.integers(0, 3, count) * 100.0
    return array


def _minutes():
    return np.concatenate([at(d, dt.time(9, 15)) + np.arange(375) * MINUTE_NS for d in DAYS])


class Everything(Strategy):
    """All indicators, a helper method, a branch each way, stops and reasons."""

    span: int = 3
    edge: float = 0.2
    shorts: bool = True

    def setup(self):
        self.ema, self.sma = EMA(self.span), SMA(self.span)
        self.rsi, self.atr, self.vwap = RSI(self.span), ATR(self.span), VWAP()
        self.ups = 0
        self.recent = np.zeros(4)

    def on_candle(self, candle: Candle) -> Signal:
        ema, sma = self.ema.update(candle.close), self.sma.update(candle.close)
        rsi, atr, vwap = self.rsi.update(candle.close), self.atr.update(candle), self.vwap.update(candle)
        self.remember(candle.close - candle.open)
        if np.isnan(sma) or np.isnan(atr):
            return FLAT
        if ema > sma + self.edge and rsi > 50.0:
            self.ups += 1
            return Signal(1, stop=max(vwap - 3.0 * atr, 0.05), reason="trend up")
        if self.shorts and ema < sma - self.edge and self.recent.sum() < 0.0:
            return Signal(target=-1, stop=vwap + 3.0 * atr, reason="trend down" if rsi < 30.0 else "drift")
        if self.ups > 5 and candle.volume > 0.0:
            self.ups = 0
            return BREAKOUT
        return SHORT if self.shorts and rsi < 20.0 else FLAT

    def remember(self, change):
        for i in range(3):
            self.recent[i] = self.recent[i + 1]
        self.recent[3] = change


def crossed(fast, slow, edge=0.0):
    return fast > slow + edge


class Helpers(Strategy):
    """A module function, a str parameter, a class constant."""

    LIMIT = 3
    mode: str = "both"
    fast: int = 2

    def setup(self):
        self.quick, self.slow = EMA(self.fast), EMA(2 * self.fast + 1)
        self.count = 0

    def on_candle(self, candle):
        up = crossed(self.quick.update(candle.close), self.slow.update(candle.close), edge=0.01)
        self.count = self.count + 1 if up else 0
        if up and self.count <= self.LIMIT:
            return LONG
        return SHORT if self.mode == "both" and not up else FLAT
