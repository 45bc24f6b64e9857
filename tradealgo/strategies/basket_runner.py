"""A basket with the contract's exits around each of its instruments: what the Consumer and the event backtest run."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tradealgo.domain.candles import SECOND_NS, Candle
from tradealgo.domain.errors import StrategyError
from tradealgo.domain.hours import ist_text, market_hours
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.signals import Signal
from tradealgo.domain.sizing import Sizing
from tradealgo.strategies.basket import BasketStrategy, Target, checked_targets
from tradealgo.strategies.book import BasketBook
from tradealgo.strategies.guard import Guard


class Decision(NamedTuple):
    """Where one instrument is to be after a minute: the judged signal, signed units, those before, and the close they
    were sized on."""

    instrument: Instrument
    signal: Signal
    units: int
    before: int
    price: float
    group: str


class BasketRunner:
    """Feeds candles that closed together to a basket of its own.

    Args:
        strategy: gives class and parameters; the run uses a fresh instance.
        instruments: what it watches.
        interval: the candles', in seconds.
        capital: rupees.
        intraday: whether each instrument is squared off before its day's close.
    """

    def __init__(
        self, strategy: BasketStrategy, instruments: Iterable[Instrument], interval: int, capital: float,
        *, intraday: bool = True,
    ) -> None:  # fmt: skip
        self.book = BasketBook(instruments, capital)
        self._by_token = {i.instrument_token: i for i in self.book}
        self._interval_ns, self._intraday, self._capital = interval * SECOND_NS, intraday, capital
        self._made_from = strategy
        self._strategy: BasketStrategy | None = None
        self._guards: dict[int, Guard] = {}
        self._wanted: dict[Instrument, Target] = {}
        self._sizes: dict[int, tuple[int, float, int]] = {}
        self._flat_from: dict[int, int] = {}

    def on_candles(self, start: int, candles: Mapping[int, Candle]) -> list[Decision]:
        """Hear the candles, by token, that began at `start`; what it holds now, or has just left.

        Exits come first, bought-back ones before sold ones, so that a hedge outlives what it covers; then entries as the
        basket named them. Raises StrategyError.
        """
        closes = {token: candle.close for token, candle in candles.items()}
        if self.book._hear(start, start + self._interval_ns, closes):
            self._flat_from.clear()
        wanted = self._with_whole_groups(self._asked(candles))
        concerned = dict.fromkeys([*self.book.held, *self._wanted, *wanted])
        self._wanted = wanted
        found = [self._judged(i, candles.get(i.instrument_token), wanted.get(i, Target())) for i in concerned]
        return self._in_order([d for d in found if d is not None])

    def begin_flat(self) -> None:
        """Nothing is held any more, as a session begins; what the basket and its exits remember stays."""
        for instrument in self.book.held:
            self.book._hold(instrument, self._no_units(instrument))
        for guard in self._guards.values():
            guard.target = 0

    def _asked(self, candles: Mapping[int, Candle]) -> dict[Instrument, Target]:
        try:
            if self._strategy is None:
                self._strategy = self._made_from.fresh()  # type: ignore[assignment]
            assert self._strategy is not None
            named = {self._by_token[token]: candle for token, candle in candles.items()}
            return checked_targets(self._strategy.on_candles(named, self.book), self.book)
        except Exception as error:
            raise StrategyError(self._sentence(error)) from error

    def _with_whole_groups(self, wanted: dict[Instrument, Target]) -> dict[Instrument, Target]:
        """Without the entries of a group of which one can't be had now: the others alone would be another position."""
        entering = {i: t for i, t in wanted.items() if t.group and self.book.units(i) * t.side <= 0 and t.side}
        broken = {t.group for i, t in entering.items() if not self._can_enter(i, t)}
        return {i: Target() if t.group in broken and i in entering else t for i, t in wanted.items()}

    def _can_enter(self, instrument: Instrument, target: Target) -> bool:
        """Whether it has traded today, for some time yet, and a lot can be had."""
        price = self.book.price(instrument)
        late = self._intraday and self._is_late(instrument)
        return bool(price and not late and self._sized(instrument, target, price))

    def _judged(self, instrument: Instrument, candle: Candle | None, target: Target) -> Decision | None:
        """After the contract's exits; None for what isn't held, wasn't, and for what had no price today to act on."""
        price = self.book.price(instrument)
        if not price:
            return None
        silent = Candle(self.book.start, price, price, price, price)
        guard = self._guard(instrument)
        wanted = Signal(target.side, target.stop, target.reason)
        signal = guard.judge(candle or silent, wanted, self._intraday and self._is_late(instrument))
        before = self.book.units(instrument)
        units = self._units(instrument, target, price) if signal.target else self._no_units(instrument)
        self.book._hold(instrument, units)
        if not (units or before):
            return None
        return Decision(instrument, signal, units, before, price, target.group)

    def _guard(self, instrument: Instrument) -> Guard:
        token, made = instrument.instrument_token, self._made_from
        if token not in self._guards:
            self._guards[token] = Guard(made.stop_loss, made.take_profit, made.trailing_stop, made.max_candles)
        return self._guards[token]

    def _units(self, instrument: Instrument, target: Target, price: float) -> int:
        """Signed: as before while the target is the same."""
        token = instrument.instrument_token
        lots, weight, units = self._sizes.get(token, (0, 0.0, 0))
        if (lots, weight) != (target.lots, target.weight):
            units = self._sized(instrument, target, price)
            self._sizes[token] = (target.lots, target.weight, units)
        return units

    def _sized(self, instrument: Instrument, target: Target, price: float) -> int:
        sizing = Sizing(lots=abs(target.lots)) if target.lots else Sizing(fraction=abs(target.weight))
        return target.side * sizing.quantity(price, self._capital, instrument.lot_size)

    def _no_units(self, instrument: Instrument) -> int:
        self._sizes.pop(instrument.instrument_token, None)
        return 0

    def _is_late(self, instrument: Instrument) -> bool:
        token = instrument.instrument_token
        if token not in self._flat_from:
            self._flat_from[token] = market_hours(instrument, self.book.day).flat_from(self._interval_ns)
        return self.book.end >= self._flat_from[token]

    @staticmethod
    def _in_order(decisions: list[Decision]) -> list[Decision]:
        left = [d.units * d.before >= 0 and abs(d.units) < abs(d.before) for d in decisions]  # wholly or in part
        exits = [d for d, is_left in zip(decisions, left, strict=True) if is_left]
        others = [d for d, is_left in zip(decisions, left, strict=True) if not is_left]
        return sorted(exits, key=lambda d: d.before > 0) + others

    def _sentence(self, error: Exception) -> str:
        file = type(self._made_from).on_candles.__code__.co_filename
        mine = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        where = f", line {mine[-1].lineno} of {mine[-1].filename.rpartition('/')[2]}" if mine else ""
        if mine and mine[-1].line:
            where += f": {mine[-1].line}"
        when = ist_text(self.book.start, "%Y-%m-%d %H:%M:%S")
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return f"{type(self._made_from).__name__} raised on the candles of {when} IST: {said}{where}"
