"""One instrument's run of a strategy over its candles: compiled where possible, else interpreted, with the same result."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from tradealgo.domain.errors import NotCompilable, StrategyError
from tradealgo.domain.instruments import Instrument
from tradealgo.research.columns import Columns, late_mask
from tradealgo.strategies.base import Strategy
from tradealgo.strategies.runner import Runner


class Signals(NamedTuple):
    """What a strategy said. Arrays by candle; `reason` are codes of `texts`; `changes` of target.

    `error` is the sentence of a strategy that raised; then `said` candles have signals, and the target is flat after.
    """

    target: np.ndarray
    stop: np.ndarray
    reason: np.ndarray
    texts: dict[int, str]
    changes: int
    said: int
    error: str | None = None
    compiled: bool = True


def run(strategy: Strategy, instrument: Instrument, data: Columns, *, intraday: bool, engine: str) -> Signals:
    """The signals of one instrument. `engine`: "compiled" (interpreted where it can't be, with a warning) or "interpreted"."""
    if engine == "compiled":
        try:
            found = _compiled(strategy, instrument, data, intraday)
        except NotCompilable as error:
            warnings.warn(f"{error}; it runs interpreted, which is slower and gives the same result", stacklevel=4)
        else:
            if found is not None:
                return found
    return _interpreted(strategy, instrument, data, intraday)


def _compiled(strategy: Strategy, instrument: Instrument, data: Columns, intraday: bool) -> Signals | None:
    """None if the strategy raised or said what is no signal: the interpreted run says where."""
    from tradealgo.strategies.compiler import compiled

    code = compiled(strategy)
    n = data.size
    target, stop, reason = np.empty(n, np.int8), np.empty(n), np.empty(n, np.int64)
    late = late_mask(data, instrument, intraday)
    loop = code.signals()
    try:
        changes = loop(*data.arrays, late, *code.values(strategy), target, stop, reason)
    except Exception:
        return None
    return Signals(target, stop, reason, code.reasons, changes, n) if changes >= 0 else None


def _interpreted(strategy: Strategy, instrument: Instrument, data: Columns, intraday: bool) -> Signals:
    n = data.size
    target, stop, reason = np.zeros(n, np.int8), np.full(n, np.nan), np.zeros(n, np.int64)
    codes: dict[str, int] = {"": 0}
    runner, error, said = Runner(strategy, instrument, data.interval, intraday=intraday), None, n
    for i, candle in enumerate(_candles(data)):
        try:
            signal = runner.on_candle(candle)
        except StrategyError as raised:
            error, said = str(raised), i
            break
        target[i], stop[i] = signal.target, signal.stop
        reason[i] = codes.setdefault(signal.reason, len(codes))
    changes = int(np.count_nonzero(np.diff(target, prepend=np.int8(0))))
    texts = {number: text for text, number in codes.items()}
    return Signals(target, stop, reason, texts, changes, said, error, compiled=False)


def _candles(data: Columns) -> Any:
    from tradealgo.domain.candles import Candle

    return map(Candle, *(column.tolist() for column in data.arrays))
