"""Shares ranked by momentum."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from tradealgo.domain.candles import Candle
from tradealgo.domain.instruments import Instrument
from tradealgo.strategies.basket import BasketStrategy, Target
from tradealgo.strategies.basket_parameters import check_at_least
from tradealgo.strategies.book import BasketBook, Listing


class Momentum:
    """Each share's rise over the last candles, from closes alone. A share that was silent keeps its last price."""

    def __init__(self, lookback: int) -> None:
        self._lookback = lookback
        self._closes: dict[Instrument, deque[float]] = {}

    def update(self, book: BasketBook) -> dict[Instrument, float]:
        """Take a minute's prices; rises as fractions, of the shares that have `lookback` candles of today."""
        if book.is_first:
            self._closes.clear()
        rises = {}
        for share in book.shares:
            if price := book.price(share):
                closes = self._closes.setdefault(share, deque(maxlen=self._lookback + 1))
                closes.append(price)
                if len(closes) > self._lookback:
                    rises[share] = price / closes[0] - 1.0
        return rises


class MomentumScanner(BasketStrategy):
    """Holds the shares that rose most over the last hour, and looks again every quarter of an hour."""

    lookback: int = 60  # candles over which the rise is measured
    every: int = 15  # candles between two looks
    top: int = 3  # shares held at most
    least: float = 0.001  # rise below which none is held, a fraction
    exposure: float = 0.9  # of capital, in equal parts

    def setup(self) -> None:
        check_at_least(self, 1, "lookback", "every", "top")
        self.momentum = Momentum(self.lookback)
        self.count = 0
        self.chosen: dict[Instrument, Target] = {}

    def instruments(self, day: Listing) -> Iterable[Instrument]:
        return day.shares

    def on_candles(self, candles: Mapping[Instrument, Candle], book: BasketBook) -> Mapping[Instrument, Target]:
        rises = self.momentum.update(book)
        self.count = 0 if book.is_first else self.count + 1
        if book.is_first or not rises:
            self.chosen = {}
        elif self.count % self.every == 0:
            risen = [share for share, rise in rises.items() if rise > self.least]
            best = sorted(risen, key=lambda share: (-rises[share], share.key))[: self.top]
            self.chosen = {share: Target(weight=self.exposure / self.top, reason="momentum") for share in best}
        return self.chosen
