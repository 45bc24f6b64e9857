"""`check_lookahead(strategy, candles)`: does a strategy's signal depend on nothing but the candles that it has heard?

`on_candle` is handed closed candles only, so a strategy looks ahead by another way: a global, a file, the state of an
earlier run. Four probes run it again in a world where such a way shows:

- again: the same candles, a second time: no random numbers, nothing kept by the class.
- future: what has not been heard is replaced, in the caller's own array or frame, and put right as it is heard.
- date: the same candles, dated four weeks later: who looks prices up by time finds others, or none.
- start: from later candles on: once warm, the targets are those of the full run. Who counts candles to look ahead never gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tradealgo.domain.candles import Candle
from tradealgo.domain.errors import BadConfig, StrategyError
from tradealgo.domain.hours import DAY_NS, ist_text
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.signals import Signal
from tradealgo.research.backtest import only_key, paired
from tradealgo.research.columns import PRICES, Columns, columns
from tradealgo.strategies.base import Strategy
from tradealgo.strategies.basket import BasketStrategy
from tradealgo.strategies.runner import checked

if TYPE_CHECKING:
    import pandas as pd

PROBES = ("again", "future", "date", "start")
FOUR_WEEKS_NS = 28 * DAY_NS  # keeps the day of the week
_RAISED = 9  # no target: stands where a run ended
FACTORS = (2.0, 0.5)  # up and down, so that who looks at a direction only is found as soon as it looks
_STARTS = (8, 4, 2)  # later starts: after an eighth, a quarter, half of the candles
COLUMNS = ("start", *PRICES, "volume", "oi")

_MEANING = {
    "again": "a second run over the same candles gave another signal: it keeps state in the class or draws random numbers",
    "future": "candles after it were changed and its signal changed: it sees candles that it has not been given",
    "date": "the same candles dated four weeks later gave another signal: it looks something up by date. If that is a "
    "calendar of expiries or events, leave the probe out; if prices, it looks ahead",
    "start": "a later start changed it for good: it counts candles to look something up, or never forgets how it began",
}


class Finding(NamedTuple):
    """The first candle whose signal changed. `start` is UTC nanoseconds; signals as (target, stop, reason)."""

    probe: str
    instrument: str
    candle: int  # its number in the candles given
    start: int
    was: Signal
    became: Signal

    @property
    def text(self) -> str:
        when = ist_text(self.start, "%Y-%m-%d %H:%M")
        was, became = _words(self.was), _words(self.became)
        return f"{self.instrument}, candle {self.candle} of {when} IST, {was} became {became}: {_MEANING[self.probe]}"


class LookaheadCheck(NamedTuple):
    """What the probes found. `warm_up` is how many candles a later start took to say the same, by instrument."""

    strategy: str
    findings: list[Finding]
    warm_up: dict[str, int]
    candles: int
    probes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.findings

    @property
    def reading(self) -> str:
        """One sentence."""
        if self.findings:
            return f"{self.strategy} fails: {self.findings[0].text}."
        warm = f"; it is warm after {max(self.warm_up.values())} candles" if self.warm_up else ""
        return f"{self.strategy} passes {', '.join(self.probes)}: its signals come from the candles it has heard{warm}."

    def check(self) -> LookaheadCheck:
        """Itself, or StrategyError with the sentence."""
        if self.findings:
            raise StrategyError(self.reading)
        return self

    @property
    def table(self) -> pd.DataFrame:
        """One row a probe and instrument that failed: the first candle that did."""
        import pandas as pd

        rows = [(f.probe, f.instrument, f.candle, ist_text(f.start, "%Y-%m-%d %H:%M"), f.text) for f in self.findings]
        return pd.DataFrame(rows, columns=["probe", "instrument", "candle", "start", "finding"])

    def __repr__(self) -> str:
        return self.reading

    def _repr_html_(self) -> str:
        import html

        mark = "✓" if self.passed else "✗"
        return f"<b>{mark} Look-ahead and warm-up</b><br>{html.escape(self.reading)}"


def check_lookahead(
    strategy: Strategy | type[Strategy], candles: Any, *, instruments: Any = None, cuts: int = 100,
    warm_up: int | None = None, probes: tuple[str, ...] = PROBES, seed: int = 0,
) -> LookaheadCheck:  # fmt: skip
    """Run the strategy, interpreted and without the contract's exits, in the worlds of `probes`.

    Args:
        candles, instruments: as in `backtest`. While the future is probed, an array or frame given here is changed in
            place, so that a global which is the same data changes with it; it is put back whatever happens.
        cuts: how many places the future is probed at.
        warm_up: candles that a later start may take; None for half of those that are left.
        probes: some of "again", "future", "date", "start"; of a basket, whose candles are a dict by instrument, the first two.

    Raises:
        StrategyError: the strategy raised in the plain run.
    """
    strategy = strategy() if isinstance(strategy, type) else strategy
    if not isinstance(strategy, Strategy) or not set(probes) <= set(PROBES) or cuts < 1:
        raise BadConfig(
            f"check_lookahead got {strategy!r}, probes {probes!r}, cuts {cuts!r}: "
            f"it takes a Strategy, some of {', '.join(PROBES)}, and at least 1 cut"
        )
    if isinstance(strategy, BasketStrategy):
        return _check_basket(strategy, candles, cuts, probes, seed)
    named = candles if isinstance(candles, Mapping) else {only_key(instruments): candles}
    findings, warm, total = [], {}, 0
    for instrument, given in paired(named, instruments):
        bench = _Bench(strategy, instrument, given, cuts, np.random.default_rng(seed))
        found = [f for p in probes if p != "start" for f in [getattr(bench, p)()] if f]
        if "start" in probes:
            late, warm[instrument.key] = bench.start(warm_up)
            found += [late] if late else []
        findings += found
        total += bench.data.size
    return LookaheadCheck(repr(strategy), findings, warm, total, tuple(probes))


def _check_basket(
    basket: BasketStrategy, candles: Mapping[Instrument, Any], cuts: int, probes: tuple[str, ...], seed: int
) -> LookaheadCheck:
    from tradealgo.research.basket_lookahead import BASKET_PROBES, BasketBench

    bench = BasketBench(basket, candles, cuts, np.random.default_rng(seed))
    fit = tuple(p for p in probes if p in BASKET_PROBES)
    findings = [f for p in fit for f in [getattr(bench, p)()] if f]
    return LookaheadCheck(repr(basket), findings, {}, sum(d.size for d in bench.data.values()), fit)


class _Bench:
    """One instrument's candles, the signals of the plain run over them, and the probes."""

    def __init__(
        self, strategy: Strategy, instrument: Instrument, given: Any, cuts: int, rng: np.random.Generator
    ) -> None:
        read = columns(given, instrument.key)
        self.data = read._replace(**{n: getattr(read, n).copy() for n in COLUMNS})
        self.strategy, self.instrument, self.given, self.rng = strategy, instrument, given, rng
        self.cuts = cuts
        self.said = self._run(self.data)
        if self.said[-1].target == _RAISED:
            self._raise_plain()

    def again(self) -> Finding | None:
        return self._first_change("again", self._run(self.data))

    def future(self) -> Finding | None:
        found = []
        for factor in FACTORS:
            with unheard(self.given, factor, self.rng) as reveal:
                found.append(self._first_change("future", self._run(self.data, reveal)))
        return min((f for f in found if f), key=lambda f: f.candle, default=None)

    def date(self) -> Finding | None:
        moved = self.data._replace(start=self.data.start + FOUR_WEEKS_NS)
        return self._first_change("date", self._run(moved))

    def start(self, allowed: int | None) -> tuple[Finding | None, int]:
        """The first target that never became the full run's, and the candles that the slowest start took."""
        slowest = 0
        for cut in sorted({self.data.size // k for k in _STARTS} - {0}):
            part = self.data._replace(**{n: getattr(self.data, n)[cut:] for n in COLUMNS})
            later = self._run(part)
            wrong = [i for i, s in enumerate(later) if s.target != self.said[cut + i].target]
            took = wrong[-1] + 1 if wrong else 0
            if later[-1].target == _RAISED:
                return self._finding("start", cut + len(later) - 1, later[-1]), took
            bound = part.size // 2 if allowed is None else allowed
            if took > bound:
                first = next(i for i in wrong if i >= bound)
                return self._finding("start", cut + first, later[first]), took
            slowest = max(slowest, took)
        return None, slowest

    def _run(self, data: Columns, reveal: Callable[[int, int], None] | None = None) -> list[Signal]:
        """The signals; one of target _RAISED ends them where the strategy raised. `reveal` is told what is heard next."""
        said: list[Signal] = []
        parts = self.cuts + 1 if reveal else 1
        try:
            fresh = self.strategy.fresh()
            for begin, end in pairwise(sorted({data.size * k // parts for k in range(parts + 1)})):
                if reveal:
                    reveal(begin, end)
                heard = map(Candle, *(c[begin:end].tolist() for c in data.arrays))
                said.extend(checked(fresh.on_candle(candle)) for candle in heard)
        except Exception as error:
            said.append(Signal(_RAISED, np.nan, f"raised {type(error).__name__}: {error}"))
        return said

    def _first_change(self, probe: str, other: list[Signal]) -> Finding | None:
        for i, (was, became) in enumerate(zip(self.said, other, strict=False)):
            if is_other(was, became):
                return self._finding(probe, i, became)
        return None

    def _finding(self, probe: str, i: int, became: Signal) -> Finding:
        return Finding(probe, self.instrument.key, i, int(self.data.start[i]), self.said[i], became)

    def _raise_plain(self) -> None:
        when = ist_text(int(self.data.start[len(self.said) - 1]), "%Y-%m-%d %H:%M")
        raise StrategyError(
            f"{self.strategy!r} on {self.instrument.key}, candle of {when} IST, {self.said[-1].reason}: "
            "mend that first, then check again"
        )


def _words(signal: Signal) -> str:
    if signal.target == _RAISED:
        return f"one that {signal.reason}"
    stop = "" if np.isnan(signal.stop) else f" stop {signal.stop:,.2f}"
    return ("SHORT", "FLAT", "LONG")[signal.target + 1] + stop + (f" ({signal.reason})" if signal.reason else "")


def is_other(was: Signal, became: Signal) -> bool:
    """Whether two signals differ."""
    return was != became and _key(was) != _key(became)


def _key(signal: Signal) -> tuple[int, str, str]:
    return signal.target, repr(signal.stop), signal.reason  # repr, because nan is no nan's equal


@contextmanager
def unheard(given: Any, factor: float, rng: np.random.Generator) -> Iterator[Callable[[int, int], None]]:
    """All rows are others, shuffled and `factor` times as high, but those revealed; at the end all are put right."""
    is_array = isinstance(given, np.ndarray)
    if is_array and not given.flags.writeable:
        yield lambda begin, end: None
        return
    present = given.dtype.names if is_array else given.columns
    kept = {n: np.array(given[n]) for n in COLUMNS[1:] if n in present}
    order = rng.permutation(len(given))

    def reveal(begin: int, end: int) -> None:
        for name, column in kept.items():
            _put(given, name, begin, end, column[begin:end], is_array)

    try:
        for name, column in kept.items():
            _put(given, name, 0, len(given), np.asarray(column[order] * factor, column.dtype), is_array)
        yield reveal
    finally:
        reveal(0, len(given))


def _put(given: Any, name: str, begin: int, end: int, values: np.ndarray, is_array: bool) -> None:
    if is_array:
        given[name][begin:end] = values
    else:
        given.iloc[begin:end, given.columns.get_loc(name)] = values
