"""The example strategy."""

from __future__ import annotations

from tradealgo.domain.candles import Candle
from tradealgo.domain.signals import FLAT, LONG, Signal
from tradealgo.strategies.base import Strategy
from tradealgo.strategies.indicators import EMA


class EmaCross(Strategy):
    """Long while the fast EMA is above the slow one."""

    fast: int = 20
    slow: int = 50

    def setup(self) -> None:
        self.fast_ema, self.slow_ema = EMA(self.fast), EMA(self.slow)

    def on_candle(self, candle: Candle) -> Signal:
        fast, slow = self.fast_ema.update(candle.close), self.slow_ema.update(candle.close)
        return LONG if fast > slow else FLAT
