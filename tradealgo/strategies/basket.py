"""Baskets: strategies over several instruments at once, by the same rules in the event backtest, on paper and live.

class TwoShares(BasketStrategy):
    def instruments(self, day):
        return [day.find("NSE:INFY"), day.find("NSE:TCS")]

    def on_candles(self, candles, book):
        best = max(book, key=lambda i: candles[i].close / candles[i].open if i in candles else 0.0)
        return {best: Target(weight=0.5)}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tradealgo.domain.candles import Candle
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.signals import Signal
from tradealgo.strategies.base import Strategy
from tradealgo.strategies.book import BasketBook, Listing

#: Beyond these a target is a mistake of its arithmetic; far beyond them its units fit into no message.
MOST_LOTS, MOST_WEIGHT = 1_000_000, 1_000


class Target(NamedTuple):
    """Where a basket wants one instrument to be: so many `lots`, or `weight` as a fraction of capital; negative: short.

    Units are worked out once, when a target is new, and stay while `lots` and `weight` stay. `stop` is a price of this
    instrument in rupees, nan for none. Entries of one `group` in one minute go together, or none of them.
    """

    lots: int = 0
    weight: float = 0.0
    stop: float = math.nan
    reason: str = ""
    group: str = ""

    @property
    def side(self) -> int:
        """1 long, -1 short, 0 flat."""
        size = self.lots or self.weight
        return (size > 0) - (size < 0)


class BasketStrategy(Strategy):
    """Base of strategies over several instruments. Parameters, exits and square-off are those of every `Strategy`.

    `instruments` chooses what a session watches, once, at launch. `on_candles` hears all candles that closed together and
    returns everything it wants to hold: an instrument that isn't in the answer is left, one that stays in it with the
    same lots or weight is kept as it is. `stop_loss` and the other exits are judged on each instrument by itself.
    """

    def instruments(self, day: Listing) -> Iterable[Instrument]:
        """What to watch of a day's listing: all that is traded or looked at, indices included."""
        raise NotImplementedError(
            f"{type(self).__name__} has no instruments(self, day): add one, or launch it with instruments=[…]"
        )

    def on_candles(self, candles: Mapping[Instrument, Candle], book: BasketBook) -> Mapping[Instrument, Target]:
        """Hear a minute's candles (of those that traded in it); say what to hold."""
        raise NotImplementedError(
            f"{type(self).__name__} has no on_candles(self, candles, book): add one that returns targets by instrument"
        )

    def on_candle(self, candle: Candle) -> Signal:
        """A basket hears candles together."""
        raise NotImplementedError(
            f"{type(self).__name__} is a basket, which hears several instruments together: run it with "
            "backtest(…, engine='event') or launch"
        )


def checked_targets(answer: object, book: BasketBook) -> dict[Instrument, Target]:
    """The targets in plain types. Raises TypeError or ValueError with a sentence for what are none."""
    if not isinstance(answer, Mapping):
        raise TypeError(
            f"on_candles returned {answer!r}: expected targets by instrument, as in {{option: Target(lots=-1)}}"
        )
    checked = {}
    for instrument, target in answer.items():
        if not isinstance(instrument, Instrument) or instrument not in book:
            raise ValueError(f"on_candles returned a target for {instrument!r}: expected an instrument that it watches")
        if not isinstance(target, Target):
            raise TypeError(f"on_candles returned {target!r} for {instrument.key}: expected a Target")
        _check(target, instrument)
        lots, weight, stop, reason, group = target
        checked[instrument] = Target(int(lots), float(weight), float(stop), str(reason), str(group))
    return checked


def _check(target: Target, instrument: Instrument) -> None:
    if not instrument.tradable:
        raise ValueError(
            f"on_candles wants {instrument.key}, an index, which can't be traded: trade its options or future"
        )
    if target.lots != int(target.lots) or not math.isfinite(target.weight) or (target.lots and target.weight):
        raise ValueError(
            f"on_candles wants {target.lots!r} lots and weight {target.weight!r} of {instrument.key}: "
            "expected whole lots, or a fraction of the capital, not both"
        )
    if abs(target.lots) > MOST_LOTS or abs(target.weight) > MOST_WEIGHT:
        raise ValueError(
            f"on_candles wants {target.lots!r} lots and weight {target.weight!r} of {instrument.key}: expected at most "
            f"{MOST_LOTS:,} lots, or {MOST_WEIGHT:,} times the capital"
        )
    if not isinstance(target.reason, str) or not isinstance(target.group, str):
        raise TypeError(
            f"on_candles returned reason {target.reason!r} and group {target.group!r} for {instrument.key}: expected str"
        )
    if math.isinf(target.stop) or target.stop <= 0.0:
        raise ValueError(
            f"on_candles returned stop {target.stop!r} for {instrument.key}: expected rupees above 0, or nan"
        )
