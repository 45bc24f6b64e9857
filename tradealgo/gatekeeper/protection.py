"""Protective orders that rest at the broker, so that a position's risk is bounded when nothing here runs any more.

Theory of operation. Off unless `Limits.protect_fraction` or `Limits.brackets` says otherwise. A position that the
strategy's last word wants has an order of intent PROTECT on its closing side, for exactly what is held: `brackets` says
which shape it has at which price. Four rules keep it harmless:

- It is there only while nothing else of ours works or waits in its instrument. Whatever comes (an exit, an entry, a
  turn, the kill) has it cancelled first and waits for that, as it waits for any own order on the way (`intake`,
  `killer`); afterwards it is made anew, for what is held then. So no other order and a protective one can both fill.
- It is never for more than the account holds on that side. What shrinks the position shrinks it: its own partial fills
  by themselves, all else by cancelling and placing anew.
- A different shape is a cancel and then a placement: two shapes are never at work together.
- It is an order like any other: journaled before it leaves, found by its tag, counted in the rate budget (from the
  entries' share), looked up when its answer is lost, reconciled, cancelled by a halt and by the kill.

There is no state to lose: what should rest follows from the position, the strategy's last word and the last price, and
what does rest from the orders. A restart reads the journal and goes on.
"""

from __future__ import annotations

from tradealgo.domain.orders import Intent, Order, Side, tag_for
from tradealgo.domain.state import Level
from tradealgo.gatekeeper.brackets import TABLE, Levels, Shape, levels, prices, shape_of, zone
from tradealgo.gatekeeper.calls import Calls
from tradealgo.gatekeeper.checks.freeze import largest_order, slice_up
from tradealgo.gatekeeper.context import Context
from tradealgo.gatekeeper.intake import Intake
from tradealgo.gatekeeper.killer import Killer
from tradealgo.gatekeeper.lifecycle import Lifecycle
from tradealgo.gatekeeper.orders import AT_WORK, JOURNALED, Orders
from tradealgo.gatekeeper.overrides import Overrides
from tradealgo.gatekeeper.pursuit import Pursuit

SECOND_NS = 1_000_000_000
#: Between two looks while nothing has changed.
LOOK_NS = SECOND_NS // 10
#: Between two placements in one instrument while they fail: doubled each time, up to this.
LONGEST_WAIT_NS = 32 * SECOND_NS
#: Placements that fail before a person is told.
TELL_AFTER = 2


class Protection:
    """Keeps each position's protective order what it should be."""

    def __init__(
        self, context: Context, orders: Orders, calls: Calls, lifecycle: Lifecycle, intake: Intake,
        pursuit: Pursuit, killer: Killer, overrides: Overrides,
    ) -> None:  # fmt: skip
        self._context, self._orders, self._calls, self._lifecycle = context, orders, calls, lifecycle
        self._intake, self._pursuit, self._killer, self._overrides = intake, pursuit, killer, overrides
        self._book, self._limits = context.book, context.limits
        self.is_on = context.limits.protect_fraction > 0 or context.limits.brackets
        self._resting: dict[str, None] = {}
        self._tries: dict[int, int] = {}
        self._not_before: dict[int, int] = {}
        self._looked = self._looked_at = -1

    def work(self) -> None:
        """Look at every position, at once after a change and ten times a second."""
        now, changed = self._context.now, self._book.changed_at
        if not self.is_on or (changed == self._looked_at and now - self._looked < LOOK_NS):
            return
        self._looked, self._looked_at = now, changed
        self._watch()
        if self.refusal():
            return
        asked = {r.instrument_token for r in self._intake.pending.values()}
        for token in self._book.own_tokens():
            if token not in asked:
                self._tend(token)

    def refusal(self) -> str:
        """Why no protective order may be made or sent now, or an empty string."""
        if not self._killer.is_armed:
            return f"the kill switch is {self._killer.status.state}"
        return "a person has halted trading" if self._overrides.is_halted_by("person") else ""

    def refuses(self, order: Order) -> str:
        """Why a queued protective order may not leave any more. Asked right before it would."""
        working = list(self._book.working_in(order.instrument_token))
        if any(o.intent is not Intent.PROTECT for o in working):
            return "another order works in the instrument"
        held = max(self._book.in_account(order.instrument_token) * -order.side.sign, 0)
        if sum(o.pending_quantity for o in working) > min(held, self._held(order)):
            return "the position is smaller by now"
        return self.refusal()

    def _held(self, order: Order) -> int:
        return max(self._book.position(order.instrument_token) * -order.side.sign, 0)

    # ------------------------------------------------------------------ one instrument

    def _tend(self, token: int) -> None:
        working = list(self._book.working_in(token))
        if any(o.intent is not Intent.PROTECT for o in working):
            return
        held = self._book.position(token)
        if not working and not held:
            return
        shape, quantity, at = self._wanted(token, held, working)
        if working and self._fits(working, shape, quantity):
            self._rests(token, working)
        elif working:
            for order in working:
                self._lifecycle.want_cancelled(order)
        elif quantity and self._context.now >= self._not_before.get(token, 0):
            self._place(token, shape, quantity, at)

    def _wanted(self, token: int, held: int, working: list[Order]) -> tuple[Shape, int, Levels]:
        """Shape and units of what should rest."""
        word, last = self._intake.words.get(token), self._book.last_price(token)
        sign = 1 if held > 0 else -1
        nothing = Shape.NONE, 0, Levels(sign, 0.0, None, None)
        if word is None or not held or last <= 0 or not self._book.all_booked or self._intake.left(token):
            return (shape_of(working[0]), self._quantity(token, held), nothing[2]) if working and held else nothing
        said = self._intake.entries.get(token, word.request)  # an exit of a part says nothing of the rest's prices
        opened = said if said.position_after * sign > 0 else word.request
        at = levels(sign, self._book.portfolio.position(token).average_price, opened, self._limits)
        if not at.any:
            return nothing
        before = shape_of(working[0]) if working else Shape.NONE
        return TABLE[before, zone(at, last)], self._quantity(token, held), at

    def _quantity(self, token: int, held: int) -> int:
        """No more than the account was last seen to hold."""
        sign = 1 if held > 0 else -1
        return min(abs(held), max(self._book.in_account(token) * sign, 0))

    @staticmethod
    def _fits(working: list[Order], shape: Shape, quantity: int) -> bool:
        return sum(o.pending_quantity for o in working) == quantity and all(shape_of(o) is shape for o in working)

    def _rests(self, token: int, working: list[Order]) -> None:
        if self._tries.get(token) and all(o.state in AT_WORK for o in working):
            self._tries[token] = 0
            name = self._book.instruments[token].key
            self._context.resolve(f"UNPROTECTED:{token}", f"{name} has its protective order at the broker again")

    # ------------------------------------------------------------------ placing

    def _place(self, token: int, shape: Shape, quantity: int, at: Levels) -> None:
        instrument = self._book.instruments[token]
        if not self._book.hours(instrument).is_open(self._book.ts_event):
            return
        side = Side.SELL if at.sign > 0 else Side.BUY
        quantity = self._killer.believed(token, quantity, side)
        if not quantity:
            return
        self._pace(token)
        last = self._book.last_price(token)
        price, trigger = prices(shape, at, instrument, side, last, self._limits.slippage_fraction)
        for size in slice_up(quantity, largest_order(instrument)):
            order = self._order(token, side, size, price, trigger, shape)
            self._calls.place(self._orders.add(order))

    def _pace(self, token: int) -> None:
        """The first at once; after failures ever more slowly, and a person is told."""
        tries = self._tries[token] = self._tries.get(token, 0) + 1
        self._not_before[token] = self._context.now + min(SECOND_NS << min(tries - 1, 8), LONGEST_WAIT_NS)
        if tries > TELL_AFTER:
            name = self._book.instruments[token].key
            text = f"{name} is held without a protective order at the broker: {tries - 1} did not come to rest ({self._why(token)})"
            self._context.alert(Level.CRITICAL, f"UNPROTECTED:{token}", text)

    def _why(self, token: int) -> str:
        mine = (o for o in reversed(self._book.orders.values()) if o.instrument_token == token)
        last = next((o for o in mine if o.intent is Intent.PROTECT), None)
        return (last.text or last.state.value) if last else "none was made"

    def _order(self, token: int, side: Side, size: int, price: float, trigger: float, shape: Shape) -> Order:
        request = self._intake.words[token].request
        prefix = f"{request.request_id}+"
        number = sum(o.request_id.startswith(prefix) for o in self._book.orders.values()) + 1
        return Order(
            tag=tag_for(f"{prefix}{number}"), request_id=f"{prefix}{number}", session_id=request.session_id,
            instrument_token=token, instrument=request.instrument, side=side, quantity=size, price=price,
            trigger=trigger, intent=Intent.PROTECT, state=JOURNALED, reason=shape.value, start=request.start,
            ts_event=self._book.ts_event, ts_checked=self._context.now, ts_updated=self._context.now,
        )  # fmt: skip

    # ------------------------------------------------------------------ what became of them

    def recover(self) -> None:
        """After a restart: what rested before is watched, so that a fill of the meantime is told."""
        self._resting.update((o.tag, None) for o in self._book.working.values() if o.intent is Intent.PROTECT)

    def _watch(self) -> None:
        """Tell of what has filled: the strategy doesn't hear of it by itself."""
        for tag in list(self._resting):
            order = self._book.orders[tag]
            if order.is_done:
                del self._resting[tag]
                self._tell_filled(order)
        self.recover()

    def _tell_filled(self, order: Order) -> None:
        if order.filled_quantity:
            self._context.alert(
                Level.WARNING, f"PROTECTED:{order.tag}",
                f"the {order.reason} of {order.instrument} has filled: {order.side} {order.filled_quantity} at "
                f"{self._book.fill_price(order):g}; the strategy may still believe that it holds them",
            )  # fmt: skip
