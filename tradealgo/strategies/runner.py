"""One instrument's strategy with the contract's exits around it: what the Consumer and the interpreted backtest run."""

from __future__ import annotations

import math
import traceback
from collections.abc import Sequence

from tradealgo.domain.candles import SECOND_NS, Candle
from tradealgo.domain.errors import StrategyError
from tradealgo.domain.hours import DAY_NS, IST_OFFSET_NS, ist_date, ist_text, market_hours
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.signals import Signal
from tradealgo.strategies.base import Strategy
from tradealgo.strategies.guard import Guard


class Runner:
    """Feeds one instrument's candles to a strategy of its own.

    Args:
        strategy: gives class and parameters; the run uses a fresh instance.
        interval: the candles', in seconds.
        intraday: whether positions are squared off before each day's close.
    """

    def __init__(self, strategy: Strategy, instrument: Instrument, interval: int, *, intraday: bool = True) -> None:
        self.instrument = instrument
        self._interval_ns = interval * SECOND_NS
        self._intraday = intraday
        self._day_ends = 0
        self._flat_from = 0
        self._strategy_file = type(strategy).on_candle.__code__.co_filename
        self._name = type(strategy).__name__
        self._guard = Guard(strategy.stop_loss, strategy.take_profit, strategy.trailing_stop, strategy.max_candles)
        self._strategy: Strategy | None = None
        self._made_from = strategy

    def warm_up(self, candles: Sequence[Candle]) -> None:
        """Hear candles of before the run. None is traded: after the last one it is flat, as a session is when it begins."""
        last = len(candles) - 1
        for i, candle in enumerate(candles):
            self.on_candle(candle, square_off=i == last)

    def on_candle(self, candle: Candle, square_off: bool = False) -> Signal:
        """The signal that counts after this candle. Raises StrategyError, which names candle, exception and line."""
        try:
            if self._strategy is None:
                self._strategy = self._made_from.fresh()
            wanted = checked(self._strategy.on_candle(candle))
        except Exception as error:
            raise StrategyError(self._sentence(candle, error)) from error
        return self._guard.judge(candle, wanted, square_off or (self._intraday and self._is_late(candle)))

    def _is_late(self, candle: Candle) -> bool:
        end = candle.start + self._interval_ns
        if candle.start >= self._day_ends:
            hours = market_hours(self.instrument, ist_date(candle.start))
            self._flat_from, self._day_ends = hours.flat_from(self._interval_ns), next_midnight(candle.start)
        return end >= self._flat_from

    def _sentence(self, candle: Candle, error: Exception) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        mine = [f for f in frames if f.filename == self._strategy_file]
        where = ""
        if mine:
            where = f", line {mine[-1].lineno} of {mine[-1].filename.rpartition('/')[2]}"
            where += f": {mine[-1].line}" if mine[-1].line else ""
        when = ist_text(candle.start, "%Y-%m-%d %H:%M:%S")
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return f"{self._name} raised on {self.instrument.key}, candle of {when} IST: {said}{where}"


def next_midnight(ts: int) -> int:
    """UTC nanoseconds of the end of `ts`'s Indian day."""
    return ((ts + IST_OFFSET_NS) // DAY_NS + 1) * DAY_NS - IST_OFFSET_NS


def checked(signal: object) -> Signal:
    """The signal in plain types. Raises TypeError or ValueError with a sentence for what is none."""
    if not isinstance(signal, Signal):
        raise TypeError(f"on_candle returned {signal!r}: expected LONG, FLAT, SHORT or a Signal")
    target, stop, reason = signal
    if isinstance(target, float) or target not in (-1, 0, 1):
        raise ValueError(f"on_candle returned target {target!r}: expected 1 (long), 0 (flat) or -1 (short)")
    if not isinstance(reason, str):
        raise TypeError(f"on_candle returned reason {reason!r}: expected a str")
    if math.isinf(stop) or stop <= 0.0:
        raise ValueError(f"on_candle returned stop {stop!r}: expected a price in rupees above 0, or nan for none")
    return Signal(int(target), float(stop), str(reason))  # numpy's str is one too, but can't be published
