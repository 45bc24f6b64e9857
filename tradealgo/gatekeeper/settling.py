"""Orders whose fate can't be found out: after a while a person is asked, and what that person says is taken down.

The broker's book settles almost every order without an answer: it shows the tag, or, some seconds later, it doesn't.
Two things stop that. The book can't be read; or it shows an order that could be ours and has no tag: same instrument,
side and quantity, first seen after ours left. Such a lookalike is no proof of absence. Meanwhile the order stays
UNKNOWN and counts at its worst; after `ASK_AFTER_NS` trading is REDUCING and somebody must look at the broker's own
terminal and say what is there. The kill doesn't wait for that: it has the broker's positions to go by.
"""

from __future__ import annotations

from tradealgo.domain.order_machine import OrderEvent
from tradealgo.domain.orders import Order, OrderState
from tradealgo.domain.state import Control, Level, TradingState
from tradealgo.gatekeeper.context import Context
from tradealgo.gatekeeper.killer import Killer
from tradealgo.gatekeeper.kite import BrokerOrder
from tradealgo.gatekeeper.orders import Orders
from tradealgo.gatekeeper.overrides import Overrides

SECOND_NS = 1_000_000_000
#: A person is asked about an order that has been UNKNOWN for this long.
ASK_AFTER_NS = 45 * SECOND_NS
SOURCE = "unsettled"


class Settling:
    """Asks, and takes the answer."""

    def __init__(self, context: Context, orders: Orders, killer: Killer, overrides: Overrides) -> None:
        self._context, self._orders, self._killer, self._overrides = context, orders, killer, overrides
        self._book = context.book
        self._rows: list[BrokerOrder] = []  # the last whole book
        self._untagged: dict[str, int] = {}  # others' orders without a tag, and when each was first seen
        self.asked: dict[str, None] = {}  # tags that a person is asked about

    # ------------------------------------------------------------------ the broker's book

    def look(self, rows: list[BrokerOrder]) -> set[str]:
        """Take a whole book; returns the tags whose absence from it proves nothing."""
        self._rows = rows
        loose = [row for row in rows if not row.tag and row.order_id not in self._book.by_order_id]
        self._untagged = {row.order_id: self._untagged.get(row.order_id, self._context.now) for row in loose}
        if not loose or not self._killer.is_armed:
            return set()
        unknown = (o for o in self._book.working.values() if o.state is OrderState.UNKNOWN)
        return {o.tag for o in unknown if any(self._is_alike(row, o) for row in loose)}

    def _is_alike(self, row: BrokerOrder, order: Order) -> bool:
        return self._fits(row, order) and self._untagged[row.order_id] >= (order.ts_sent or order.ts_checked)

    @staticmethod
    def _fits(row: BrokerOrder, order: Order) -> bool:
        theirs = row.instrument, row.side, row.quantity
        return theirs == (order.instrument, order.side, order.quantity)

    # ------------------------------------------------------------------ asking

    def work(self) -> None:
        """Ask about what has been unknown for too long; stop asking about what is settled."""
        for tag in list(self.asked):
            if self._book.orders[tag].state is not OrderState.UNKNOWN:
                self._stop_asking(tag)
        for order in self._book.unknown.values():
            if order.tag not in self.asked and self._is_old(order):
                self._ask(order)

    def _is_old(self, order: Order) -> bool:
        return self._context.now - self._orders.track(order.tag).unknown_since > ASK_AFTER_NS

    def _ask(self, order: Order) -> None:
        self.asked[order.tag] = None
        what = f"{order.side} {order.quantity} {order.instrument} (tag {order.tag})"
        self._overrides.put(SOURCE, TradingState.REDUCING, f"the fate of {what} is unknown: a person must settle it")
        self._context.alert(
            Level.CRITICAL, f"SETTLE:{order.tag}",
            f"{what} can't be settled: look at the broker's own order book, then `tradealgo rearm --settle {order.tag} "
            f"--reason …` if it isn't there, with `--found ORDER_ID` if it is",
        )  # fmt: skip

    def _stop_asking(self, tag: str) -> None:
        del self.asked[tag]
        self._context.resolve(f"SETTLE:{tag}", f"order {tag} is {self._book.orders[tag].state}")
        if not self.asked:
            self._overrides.lift(SOURCE)

    # ------------------------------------------------------------------ the answer

    def settle(self, control: Control) -> None:
        """A person says where an order is: not at the broker, or `control.found`."""
        refusal = self._refusal(control)
        if refusal:
            self._context.note("SETTLE_REFUSED", refusal)
            self._context.alert(Level.WARNING, f"SETTLE_REFUSED:{self._context.now}", f"not settled: {refusal}")
            return
        order = self._named(control.order)[0]
        said = f"settled by {control.source}: {control.reason}"
        self._context.note("SETTLED", said, tag=order.tag, found=control.found)
        if not control.found:
            self._orders.move(order.tag, OrderEvent.EXPIRE, text=said)
            return
        self._book.foreign.pop(control.found, None)
        self._orders.take_row(order.tag, next(row for row in self._rows if row.order_id == control.found))

    def _named(self, name: str) -> list[Order]:
        unknown = (o for o in self._book.working.values() if o.state is OrderState.UNKNOWN)
        return [o for o in unknown if name and o.tag.startswith(name)]

    def _refusal(self, control: Control) -> str:
        found = self._named(control.order)
        if len(found) != 1:
            return f"{len(found)} orders of unknown fate have a tag that begins with {control.order!r}: name one"
        if not control.reason.strip():
            return "to settle an order takes a reason: what was seen at the broker, and by whom"
        if not control.found:
            return ""
        row = next((row for row in self._rows if row.order_id == control.found), None)
        if row is None:
            return f"the broker's order book, as last read, has no order {control.found}"
        if control.found in self._book.by_order_id or not self._fits(row, found[0]):
            return f"order {control.found} is {row.side} {row.quantity} {row.instrument}, tag {row.tag!r}: another one"
        return ""
