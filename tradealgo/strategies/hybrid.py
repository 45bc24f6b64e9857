"""The house strategy: the momentum of shares finds the trend, sold options execute it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tradealgo.domain.candles import Candle
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.strategies.basket import BasketStrategy, Target
from tradealgo.strategies.basket_parameters import (
    MOST_LEG_STOP,
    check_at_least,
    check_fraction,
    check_legs_stay_together,
    check_reach,
    check_times,
)
from tradealgo.strategies.book import BasketBook, Listing
from tradealgo.strategies.momentum_scanner import Momentum


class Hybrid(BasketStrategy):
    """Sells a put spread on the index while most shares rise, a call spread while most fall.

    The sold leg is near the money, the bought one further out, so that the most a spread can lose is the distance of its
    strikes less what was received. One lot of NIFTY, six strikes apart: at most Rs 19,500.
    """

    underlying: str = "NIFTY"
    lookback: int = 30  # candles over which a share's momentum is measured
    enter_breadth: float = 0.65  # fraction of shares on one side that makes a trend
    leave_breadth: float = 0.5  # fraction on that side below which it is over
    lots: int = 1
    width: int = 1  # strikes out of the money of the sold leg
    hedge: int = 6  # strikes further out of the bought one
    leg_stop: float = (
        0.6  # the spread leaves once its sold leg costs this fraction more than when it was sold; 0: never
    )
    enter_until: str = "14:45"  # IST; no new spread from then on
    exit_at: str = "15:15"
    reach: int = 20  # strikes watched on each side of yesterday's close

    def setup(self) -> None:
        check_times(self, "enter_until", "exit_at")
        check_at_least(self, 1, "lookback", "lots", "hedge")
        check_fraction(self, 1.0, "enter_breadth", "leave_breadth")
        check_fraction(self, MOST_LEG_STOP, "leg_stop")
        check_reach(self)
        check_legs_stay_together(self)
        self.momentum = Momentum(self.lookback)
        self.trend = 0
        self.spent = 0  # the trend whose spread was stopped: not sold again until it is over
        self.spread: dict[Instrument, Target] = {}

    def instruments(self, day: Listing) -> Iterable[Instrument]:
        return [*day.shares, *day.near_the_money(self.underlying, self.reach)]

    def on_candles(self, candles: Mapping[Instrument, Candle], book: BasketBook) -> Mapping[Instrument, Target]:
        trend = self._trend(book)
        if trend != self.trend:
            self.trend, self.spent, self.spread = trend, 0, {}
        if not trend or book.clock >= self.exit_at or self._is_stopped(book):
            self.spread = {}
        elif not self.spread and self.spent != trend and book.clock < self.enter_until:
            self.spread = self._sold(book)
        return self.spread

    def _trend(self, book: BasketBook) -> int:
        """1, -1 or 0, by the fraction of shares that rose and fell; what holds is left later than it is entered."""
        rises = self.momentum.update(book).values()
        if not rises:
            return 0
        for side in (self.trend, 1, -1):
            share = sum(rise * side > 0.0 for rise in rises) / len(rises)
            if side and share >= (self.leave_breadth if side == self.trend else self.enter_breadth):
                return side
        return 0

    def _is_stopped(self, book: BasketBook) -> bool:
        sold = [i for i, target in self.spread.items() if target.lots < 0]
        if not sold or not self.leg_stop or book.price(sold[0]) < book.entry(sold[0]) * (1.0 + self.leg_stop):
            return False
        self.spent = self.trend
        return True

    def _sold(self, book: BasketBook) -> dict[Instrument, Target]:
        """The bought leg first; nothing where a leg has no strike or no price today."""
        right, chain = (Kind.PUT if self.trend > 0 else Kind.CALL), book.chain(self.underlying)
        spot = book.price(book.index(self.underlying))
        legs = [chain.away(right, spot, self.width + steps) for steps in (self.hedge, 0)] if chain.covers(spot) else []
        if not legs or any(leg is None or not book.price(leg) for leg in legs):
            return {}
        bought, sold = legs
        assert bought is not None
        assert sold is not None
        return {
            bought: Target(lots=self.lots, reason="hedge", group="spread"),
            sold: Target(lots=-self.lots, reason="trend up" if self.trend > 0 else "trend down", group="spread"),
        }
