"""`check_lookahead(strategy, candles)`: does a strategy's signal depend on nothing but the candles that it has heard?

`on_candle` is handed closed candles only, so a strategy looks ahead by another way: a global, a file, the state of an
earlier run. Four probes run it again in a world where such a way shows:

- again: the same candles, a second time: no random numbers, nothing kept by the class.
- future: what has not been heard is replaced, in the caller's own array or frame, and put right as it is heard.
- date: the same candles, dated four weeks later: who looks prices up by time finds others, or none.
- start: from later candles on: once warm, the targets are those of the full run. Who counts candles to look ahead never gets there.

Few candles are no time to forget: an EMA(50) that starts at noon is a hair off at the close. Who differs late by the last
probe is therefore asked two things apart. Does it count: the first candle, heard some times more, moves each count and hardly
an average. Does it forget: one candle of another price, then thousands of the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tradealgo.domain.candles import SECOND_NS, Candle
from tradealgo.domain.errors import BadConfig, StrategyError
from tradealgo.domain.hours import DAY_NS, ist_text
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.signals import Signal
from tradealgo.research.backtest import by_instrument
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
_MORE = (1, 2, 4, 8, 16, 32)  # how often the first candle is heard again
_ENOUGH = 180  # candles on which a count and a warm-up look different
_LONG = 5_000  # candles after which what forgets at all has forgotten: an EMA(200) to 22 digits
_ROUNDING = 0.01  # of candles that a rounding error may decide: prices have ticks, so averages are often equal
COUNTS = "a later start changed it for good: it counts candles to look something up"
KEEPS = "a later start changed it for good: it never forgets how it began"
FEW = (
    "a later start changed it, and {} candles are too few to judge whether it counts them to look something up, or was "
    "only getting warm: give about {}"
)
COLUMNS = ("start", *PRICES, "volume", "oi")

MEANING = {
    "again": "a second run over the same candles gave another signal: it keeps state in the class or draws random numbers",
    "future": "candles after it were changed and its signal changed: it sees candles that it has not been given",
    "date": "the same candles dated four weeks later gave another signal: it looks something up by date. If that is a "
    "calendar of expiries or events, leave the probe out; if prices, it looks ahead",
    "start": "a later start changed it for longer than the warm-up that was allowed",
}


class Finding(NamedTuple):
    """The first candle whose signal changed. `start` is UTC nanoseconds; signals as (target, stop, reason)."""

    probe: str
    instrument: str
    candle: int  # its number in the candles given
    start: int
    was: Signal
    became: Signal
    meaning: str  # what it says of the strategy

    @property
    def text(self) -> str:
        when = ist_text(self.start, "%Y-%m-%d %H:%M")
        was, became = _words(self.was), _words(self.became)
        return f"{self.instrument}, candle {self.candle} of {when} IST, {was} became {became}: {self.meaning}"


class LookaheadCheck(NamedTuple):
    """What the probes found.

    `warm_up` is how many candles a later start took to say the same, by instrument; empty where one had too few to show it.
    """

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
        warm_up: candles that a later start may take; None for as many as it takes, as long as it forgets how it began and
            doesn't count.
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
    findings, warm, total = [], {}, 0
    for instrument, given in by_instrument(candles, instruments).items():
        bench = _Bench(strategy, instrument, given, cuts, np.random.default_rng(seed))
        found = [f for p in probes if p != "start" for f in [getattr(bench, p)()] if f]
        if "start" in probes:
            late, took = bench.start(warm_up)
            found += [late] if late else []
            warm[instrument.key] = took
        findings += found
        total += bench.data.size
    shown = warm if all(took >= 0 for took in warm.values()) else {}
    return LookaheadCheck(repr(strategy), findings, shown, total, tuple(probes))


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
        """The first target that never became the full run's, and the candles that the slowest start took; -1 for too many."""
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
                late = self._finding("start", cut + first, later[first])
                if allowed is not None:
                    return late, took
                meaning = self._counts() or self._keeps()
                return (late._replace(meaning=meaning), took) if meaning else (None, -1)
            slowest = max(slowest, took)
        return None, slowest

    def _counts(self) -> str:
        """COUNTS, FEW or nothing, by the late candles whose target changed as others came before the first.

        Who is not warm yet changes once for each number of others, who counts changes all the time.
        """
        half, stretches = self.data.size // 2, 0
        plain = np.array([s.target for s in self.said])
        for more in _MORE:
            targets = self._targets(repeated(self.data, more))
            if targets is None:
                return COUNTS
            changed = targets[more:] != plain
            stretches += int((np.diff(changed[half:].astype(int), prepend=0) > 0).sum())
        size, few = self.data.size, len(_MORE) * (1 + _ROUNDING * half)
        if not stretches or (size >= _ENOUGH and stretches <= few):
            return ""
        return COUNTS if size >= _ENOUGH and stretches > 2 * few else FEW.format(size, max(_ENOUGH, 2 * size))

    def _keeps(self) -> str:
        """KEEPS or nothing, by the candles whose target depends on the price of one that came thousands earlier."""
        tiled, most = lengthened(self.data), 0
        plain = self._targets(tiled)
        for factor in FACTORS:
            world = repeated(tiled, 1)
            for name in PRICES:
                getattr(world, name)[0] *= factor
            other = self._targets(world)
            if plain is None or other is None:
                return COUNTS  # it ran out of what it looks up
            most = max(most, int((other[1:] != plain)[-self.data.size :].sum()))
        return KEEPS if most > 1 + 2 * _ROUNDING * self.data.size else ""

    def _targets(self, data: Columns) -> np.ndarray | None:
        """By candle; None where it raised."""
        found = np.array([s.target for s in self._run(data)])
        return None if found[-1] == _RAISED else found

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
        return Finding(probe, self.instrument.key, i, int(self.data.start[i]), self.said[i], became, MEANING[probe])

    def _raise_plain(self) -> None:
        when = ist_text(int(self.data.start[len(self.said) - 1]), "%Y-%m-%d %H:%M")
        raise StrategyError(
            f"{self.strategy!r} on {self.instrument.key}, candle of {when} IST, {self.said[-1].reason}: "
            "mend that first, then check again"
        )


def repeated(data: Columns, count: int) -> Columns:
    """The first candle `count` times, some whole weeks earlier, then all."""
    early = np.repeat(data.start[:1], count) + np.arange(count) * data.interval * SECOND_NS
    early -= _whole_weeks(count * data.interval * SECOND_NS)
    heads = {n: np.repeat(getattr(data, n)[:1], count) for n in COLUMNS} | {"start": early}
    return _with(data, {n: np.concatenate([head, getattr(data, n)]) for n, head in heads.items()})


def lengthened(data: Columns) -> Columns:
    """At least `_LONG` candles more: the same ones some whole weeks earlier, again and again, then all."""
    times = -(-_LONG // data.size)
    step = _whole_weeks(int(data.start[-1] - data.start[0]) + data.interval * SECOND_NS)
    starts = np.concatenate([data.start - k * step for k in range(times, -1, -1)])
    return _with(data, {n: np.tile(getattr(data, n), times + 1) for n in COLUMNS} | {"start": starts})


def _with(data: Columns, arrays: dict[str, np.ndarray]) -> Columns:
    return Columns(**arrays, days=data.days, interval=data.interval)


def _whole_weeks(ns: int) -> int:
    """Nanoseconds, rounded up to weeks."""
    return -(-ns // (7 * DAY_NS)) * 7 * DAY_NS


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
