"""Each answer of the broker's positions is compared with ours; what stays unexplained means REDUCING, an alert, then the kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tradealgo.domain.state import KillCause, Level, TradingState
from tradealgo.gatekeeper.kite import BrokerPosition, Query
from tradealgo.gatekeeper.messages import PositionsSeen
from tradealgo.gatekeeper.reconcile import is_lagging, is_quiet, mismatches, not_ours, outside, told

if TYPE_CHECKING:
    from tradealgo.gatekeeper.core import Gate

SECOND_NS = 1_000_000_000


class Comparison:
    """Compares, and counts what doesn't match."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._context, self._book, self._queries = gate.context, gate.book, gate.queries
        self.unmatched = 0  # mismatches in a row
        self._next_count = 0
        self._unjudged: PositionsSeen | None = None  # waits for an order book

    def judge(self, event: PositionsSeen) -> None:
        """Compare positions with ours. Where they differ while orders work, one of these may have filled: the order book, asked
        for afterwards, says it first.
        """
        self._unjudged, book, gate = None, self._book, self._gate
        net = gate.own_net()
        found = mismatches(net, book)
        if is_quiet(book, event.asked):
            others, doubted = outside(event.rows, book, event.asked)
            if book.working and (others != book.outside or found) and gate.killer.orders_asked <= event.asked:
                self._unjudged = event
                self._queries.want(Query.ORDERS)
                return
            book.doubted = doubted
            if others != book.outside:
                book.outside = others
                self._queries.want(Query.TRADES, Query.POSITIONS)
        is_clear = gate.ready and is_quiet(book, min(event.asked, gate.trades_asked))
        if not is_clear or is_lagging(net, book, event.asked):
            if is_clear or self.unmatched or "start" in gate.overrides:
                self._queries.want(Query.TRADES, Query.POSITIONS, at=self._context.now + SECOND_NS)
        elif not found:
            self._match(event.rows)
        elif self._context.now >= self._next_count:
            self._count(found)

    def judge_again(self) -> None:
        """An order book has come."""
        if self._unjudged is not None:
            self.judge(self._unjudged)

    def _match(self, rows: list[BrokerPosition]) -> None:
        self.unmatched, overrides = 0, self._gate.overrides
        self._context.resolve("POSITIONS", "the broker's positions match ours again")
        overrides.lift("reconciliation")
        if "start" in overrides:
            for name, units in not_ours(rows, self._book).items():
                text = f"the account holds {units:+d} {name} that this session did not trade: nothing here guards it"
                self._context.alert(Level.CRITICAL, f"NOT_OURS:{name}", text)
            overrides.lift("start")

    def _count(self, found: dict[str, tuple[int, int]]) -> None:
        self.unmatched += 1
        wait = min(1 << self.unmatched, 60) * SECOND_NS
        self._next_count = self._context.now + wait
        self._queries.want(Query.ORDERS, Query.TRADES, Query.POSITIONS, at=self._next_count)
        self._context.note("MISMATCH", told(found), count=self.unmatched)
        if self.unmatched >= 2:
            self._gate.overrides.put("reconciliation", TradingState.REDUCING, told(found))
            self._context.alert(Level.CRITICAL, "POSITIONS", f"positions can't be explained: {told(found)}")
        if self.unmatched >= self._gate.limits.reconcile_failures:
            self._gate.trip(KillCause.RECONCILIATION, told(found))
