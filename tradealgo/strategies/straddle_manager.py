"""A sold straddle or strangle, looked after."""

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


class StraddleManager(BasketStrategy):
    """Sells a call and a put of the nearest expiry, stops each leg by itself, and moves after the index.

    Sold options lose without bound where `hedge` is 0: the Gatekeeper's loss line is then all that stands behind the leg
    stops. No leg is sold again after its stop until the straddle is moved.
    """

    underlying: str = "NIFTY"
    enter_at: str = "09:30"  # IST, end of a candle
    exit_at: str = "15:15"
    lots: int = 1
    width: int = 0  # strikes from the money: 0 a straddle, else a strangle
    leg_stop: float = 0.4  # a leg leaves once it costs this fraction more than when it was sold; 0: never
    recentre: int = 3  # strikes that the index moves away before the straddle moves after it; 0: never
    hedge: int = 10  # strikes further out, where a leg each is bought; 0: none
    reach: int = 20  # strikes watched on each side of yesterday's close

    def setup(self) -> None:
        check_times(self, "enter_at", "exit_at")
        check_at_least(self, 1, "lots")
        check_at_least(self, 0, "hedge", "recentre")
        check_fraction(self, MOST_LEG_STOP, "leg_stop")
        check_reach(self)
        if self.hedge:
            check_legs_stay_together(self)
        self.centre = 0.0
        self.legs: dict[Instrument, Target] = {}

    def instruments(self, day: Listing) -> Iterable[Instrument]:
        return day.near_the_money(self.underlying, self.reach)

    def on_candles(self, candles: Mapping[Instrument, Candle], book: BasketBook) -> Mapping[Instrument, Target]:
        spot = book.price(book.index(self.underlying))
        if book.is_first or not self.enter_at <= book.clock < self.exit_at or not spot:
            self.centre, self.legs = 0.0, {}
        elif (chain := book.chain(self.underlying)).covers(spot) and (not self.legs or self._has_moved(book, spot)):
            self.centre = chain.at_the_money(spot)
            self.legs = self._sold(book)
        return self.legs

    def _has_moved(self, book: BasketBook, spot: float) -> bool:
        strikes = book.chain(self.underlying).strikes
        moved = abs(strikes.index(book.chain(self.underlying).at_the_money(spot)) - strikes.index(self.centre))
        return 0 < self.recentre <= moved

    def _sold(self, book: BasketBook) -> dict[Instrument, Target]:
        """Hedges first, so that nothing is ever sold without them; nothing where a leg has no price or no strike."""
        chain, legs = book.chain(self.underlying), {}
        for steps, lots in ((self.width + self.hedge, self.lots), (self.width, -self.lots)):
            for right in (Kind.PUT, Kind.CALL):
                option = chain.away(right, self.centre, steps)
                if option is None or not book.price(option):
                    return {}
                if lots < 0 or self.hedge:
                    legs[option] = self._leg(book, option, lots)
        return legs

    def _leg(self, book: BasketBook, option: Instrument, lots: int) -> Target:
        if lots > 0:
            return Target(lots=lots, reason="hedge", group="straddle")
        stop = book.price(option) * (1.0 + self.leg_stop) if self.leg_stop else float("nan")
        return Target(lots=lots, stop=stop, reason="straddle", group="straddle")
