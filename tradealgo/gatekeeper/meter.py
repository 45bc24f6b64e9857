"""The session's MTM on its way to people: at most ten times a second, and never on the way of an order."""

from __future__ import annotations

from tradealgo.bus.keys import Stream
from tradealgo.domain.state import MtmPoint
from tradealgo.gatekeeper.context import Context

#: Between two points on the bus.
GAP_NS = 100_000_000


class Meter:
    """Publishes an `MtmPoint` when prices or the book have moved; remembers the day's best."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._peak = 0
        self._told = 0
        self.is_stale = True  # a price has come since

    def tell(self, loss_line: int) -> None:
        """Publish, if there is something new and it is time. `loss_line` in paise."""
        context, book = self._context, self._context.book
        if context.now - self._told < GAP_NS or not (self.is_stale or book.changed_at >= self._told):
            return
        portfolio, mtm = book.portfolio, book.mtm
        self._peak = max(self._peak, mtm)
        self._told, self.is_stale = context.now, False
        point = MtmPoint(
            ts_event=book.ts_event, ts=context.now, realised=portfolio.realised, unrealised=portfolio.unrealised,
            charges=portfolio.charges.total, mtm=mtm, drawdown=self._peak - mtm, limit=loss_line,
        )  # fmt: skip
        context.publish(Stream.MTM, point)
