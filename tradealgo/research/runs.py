"""One instrument's run of a strategy over its candles: compiled where possible, else interpreted, with the same result."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from tradealgo.domain.errors import NotCompilable, StrategyError, TradeAlgoError
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.signals import Signal
from tradealgo.research.columns import Columns, late_mask
from tradealgo.strategies.base import Strategy
from tradealgo.strategies.runner import Runner


class Signals:
    """What a strategy said, kept as spans: most candles say what the one before said.

    Args:
        size: candles of the run.
        at: the candles that begin a span, with the span's `targets`, `stops` and `reasons` (codes of `texts`).
        error: the sentence of a strategy that raised at candle `said`; from there on it says nothing and is flat.
        refused: why it can't be compiled, where that was asked for.
    """

    def __init__(
        self,
        size: int,
        spans: tuple[np.ndarray, ...],
        texts: dict[int, str],
        said: int,
        error: str | None,
        compiled: bool,
        refused: str = "",
    ) -> None:
        self.size = size
        self.at, self.targets, self.stops, self.reasons = spans
        self.texts = texts
        self.said = said
        self.error = error
        self.compiled = compiled
        self.refused = refused

    def _by_candle(self, values: np.ndarray) -> np.ndarray:
        return np.repeat(values, np.diff(self.at, append=self.size))

    @cached_property
    def target(self) -> np.ndarray:
        """By candle."""
        return self._by_candle(self.targets)

    @cached_property
    def stop(self) -> np.ndarray:
        """By candle, in rupees; nan for none."""
        return self._by_candle(self.stops)

    @cached_property
    def reason(self) -> np.ndarray:
        """Codes by candle."""
        return self._by_candle(self.reasons)

    @property
    def changed(self) -> np.ndarray:
        """The spans that began with another target."""
        return np.flatnonzero(np.diff(self.targets, prepend=np.int8(0)))

    @property
    def changes(self) -> list[int]:
        """The candles that changed the target."""
        return self.at[self.changed].tolist()

    def since(self, k: int) -> Signals:
        """Those of the candles from `k` on."""
        if not k:
            return self
        first = int(np.searchsorted(self.at, k, side="right")) - 1  # the span that `k` is in
        spans = (np.maximum(self.at[first:] - k, 0), self.targets[first:], self.stops[first:], self.reasons[first:])
        said = max(self.said - k, 0)
        return Signals(self.size - k, spans, self.texts, said, self.error, self.compiled, self.refused)


def run(
    strategy: Strategy, instrument: Instrument, data: Columns, *, intraday: bool, engine: str,
    warm_up: Columns | None = None,
) -> Signals:  # fmt: skip
    """The signals of one instrument. `engine`: "compiled" (interpreted where it can't be) or "interpreted".

    Args:
        warm_up: earlier candles, which the strategy hears first; it is flat after them, as a session is when it begins.
    """
    refused = ""
    if engine == "compiled":
        try:
            found = _compiled(strategy, instrument, data, warm_up, intraday)
        except NotCompilable as error:
            refused = str(error)
        else:
            if found is not None:
                return found
    return _interpreted(strategy, instrument, data, warm_up, intraday, refused)


def _compiled(
    strategy: Strategy, instrument: Instrument, data: Columns, warm_up: Columns | None, intraday: bool
) -> Signals | None:
    """None if the strategy raised or said what is no signal: the interpreted run says where."""
    from tradealgo.strategies.compiler import compiled

    try:
        code = compiled(strategy)
    except TradeAlgoError:
        raise
    except Exception:  # its setup() raises
        return None
    warm = warm_up.size if warm_up is not None else 0
    data = data if warm_up is None else data.after(warm_up)
    n = data.size
    # Pages of these that no span reaches are never touched, which is most of them
    spans = np.empty(n, np.int64), np.empty(n, np.int8), np.empty(n), np.empty(n, np.int64)
    late = late_mask(data, instrument, intraday)
    if warm:
        late = late.copy()
        late[warm - 1] = True
    loop = code.signals
    try:
        count = loop(*data.arrays, late, *code.values(strategy), *spans)
    except Exception:
        return None
    if count < 0:
        return None
    at, target, stop, reason = (s[:count] for s in spans)
    return Signals(n, (at, target, stop, reason), code.reasons, n, None, compiled=True).since(warm)


def _interpreted(
    strategy: Strategy, instrument: Instrument, data: Columns, warm_up: Columns | None, intraday: bool, refused: str
) -> Signals:
    codes: dict[str, int] = {"": 0}
    runner, error, said = Runner(strategy, instrument, data.interval, intraday=intraday), None, data.size
    rows: list[tuple[int, int, float, int]] = []
    last: Signal | None = None
    i = 0
    try:
        if warm_up is not None:
            runner.warm_up([*warm_up.candles])
        for i, candle in enumerate(data.candles):
            signal = runner.on_candle(candle)
            if last is None or not _same(signal, last):
                rows.append((i, signal.target, signal.stop, codes.setdefault(signal.reason, len(codes))))
                last = signal
    except StrategyError as raised:
        error, said = str(raised), i
        rows.append((i, 0, np.nan, 0))
    columns = list(zip(*rows, strict=True))
    kinds = (np.int64, np.int8, np.float64, np.int64)
    spans = tuple(np.array(c, k) for c, k in zip(columns, kinds, strict=True))
    return Signals(data.size, spans, {n: t for t, n in codes.items()}, said, error, compiled=False, refused=refused)


def _same(a: Signal, b: Signal) -> bool:
    return (
        a.target == b.target and a.reason == b.reason and (a.stop == b.stop or (a.stop != a.stop and b.stop != b.stop))
    )
