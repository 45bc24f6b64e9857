"""The exits that belong to the contract: stops, targets, time and square-off, the same in every engine.

All are judged on closed candles, and the exit is a FLAT signal like any other, so it fills where a signal fills:

- A stop (the strategy's own `Signal.stop`, the stop-loss, the trailing stop) is hit by a candle whose low (for a long
  position; high for a short one) reaches the level that stood when the candle began. A later candle's stop never
  reaches back. A `stop` that isn't nan replaces the strategy's earlier one; nan leaves it.
- Take-profit is hit by the other extreme. If one candle reaches both, the stop counts: the order within is unknown.
- Entry price is the close of the candle that gave the signal.
- After one of these exits the same target is not taken again until the strategy has said something else.
- From the day's square-off on (`MarketHours.flat_from`: earlier for long candles, so that the exit can still be traded) every
  target is FLAT; the strategy's target holds again the next day.
"""

from __future__ import annotations

import numpy as np

from tradealgo.domain.candles import Candle
from tradealgo.domain.signals import Signal


class Guard:
    """One instrument's exits. Written so that numba compiles it together with the strategy."""

    def __init__(self, stop_loss: float, take_profit: float, trailing_stop: float, max_candles: int) -> None:
        self.stop_loss = stop_loss
        self.take_profit = take_profit
        self.trailing_stop = trailing_stop
        self.max_candles = max_candles
        self.target = 0
        self.barred = 0  # the target that an exit has closed until the strategy says another
        self.watching = stop_loss > 0.0 or take_profit > 0.0 or trailing_stop > 0.0 or max_candles > 0
        self.entry = 0.0
        self.best = 0.0
        self.stop = np.nan
        self.held = 0

    def judge(self, candle: Candle, wanted: Signal, square_off: bool) -> Signal:
        """The signal that counts, given what the strategy wants after this candle."""
        if wanted.target != self.barred:
            self.barred = 0
        if square_off:
            self.target = 0
            return Signal(0, np.nan, "square-off")
        if self.watching and self.target != 0 and wanted.target == self.target:
            if self._stopped(candle):
                self._leave()
                return Signal(0, np.nan, "stop")
            if self.take_profit > 0.0 and self._gain(candle) >= self.take_profit * self.entry:
                self._leave()
                return Signal(0, np.nan, "take-profit")
            if self.max_candles > 0 and self.held >= self.max_candles:
                self._leave()
                return Signal(0, np.nan, "time")
            self.held += 1
            self.best = max(self.best, candle.high) if self.target > 0 else min(self.best, candle.low)
        if self.barred != 0:
            return Signal(0, np.nan, "waits for another signal")
        if wanted.target != self.target:
            self._take(candle, wanted.target)
        if not np.isnan(wanted.stop):
            self.stop = wanted.stop
            self.watching = True
        return Signal(self.target, self.stop, wanted.reason)

    def _take(self, candle: Candle, target: int) -> None:
        self.target = target
        self.entry = candle.close
        self.best = candle.close
        self.stop = np.nan
        self.held = 1

    def _leave(self) -> None:
        self.barred = self.target
        self.target = 0

    def _stopped(self, candle: Candle) -> bool:
        return candle.low <= self.stop_level() if self.target > 0 else candle.high >= self.stop_level()

    def stop_level(self) -> float:
        """The tightest stop in force, in rupees; nan for none."""
        level = self.stop
        if self.stop_loss > 0.0:
            level = self._tighter(level, self.entry * (1.0 - self.target * self.stop_loss))
        if self.trailing_stop > 0.0:
            level = self._tighter(level, self.best * (1.0 - self.target * self.trailing_stop))
        return level

    def _tighter(self, level: float, other: float) -> float:
        if np.isnan(level):
            return other
        if self.target > 0:
            return max(level, other)
        return min(level, other)

    def _gain(self, candle: Candle) -> float:
        return candle.high - self.entry if self.target > 0 else self.entry - candle.low
