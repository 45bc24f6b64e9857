"""What the kill switch does in each of its states, until the broker itself says flat."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tradealgo.domain.orders import Intent, OrderState, Side
from tradealgo.domain.state import KillCause, KillState, Level, SessionState
from tradealgo.gatekeeper.calls import Calls
from tradealgo.gatekeeper.checks.freeze import largest_order, slice_up
from tradealgo.gatekeeper.context import Context
from tradealgo.gatekeeper.kill import KillEvent, next_kill_state
from tradealgo.gatekeeper.kite import BrokerPosition, Query
from tradealgo.gatekeeper.lifecycle import Lifecycle
from tradealgo.gatekeeper.orders import Orders
from tradealgo.gatekeeper.pricing import marketable_limit
from tradealgo.gatekeeper.queries import Queries
from tradealgo.gatekeeper.reconcile import is_lagging

SECOND_NS = 1_000_000_000
LONGEST_WAIT_NS = 30 * SECOND_NS
#: The kill's first exits wait this long for the broker's positions.
LOOK_FIRST_NS = SECOND_NS
#: A bought option is kept this long at most for the sold ones that it covers to be bought back.
COVER_NS = 3 * SECOND_NS
#: After a start the kill waits this long for all of the broker's books.
BOOKS_NS = 5 * SECOND_NS
#: Between two looks at what a person must close.
LOOK_AGAIN_NS = 5 * SECOND_NS
#: Exits of one instrument that fail before a person is told.
TELL_AFTER = 3
ACTIVE_STATES = frozenset({KillState.TRIPPED, KillState.CANCELLING, KillState.FLATTENING})


class KillStatus(msgspec.Struct):
    """The latch. `number` counts trips; wall times in UTC nanoseconds."""

    state: KillState = KillState.ARMED
    cause: KillCause | None = None
    reason: str = ""
    ts_tripped: int = 0
    ts_flat: int = 0


class Killer:
    """Runs the kill. Everything that it does is an order call or a question to the broker, never an assumption."""

    def __init__(
        self, context: Context, orders: Orders, calls: Calls, queries: Queries, lifecycle: Lifecycle,
        own_net: Callable[[], dict[str, int]], unproven: Callable[[], dict[str, int]],
    ) -> None:  # fmt: skip
        self._context, self._orders, self._calls = context, orders, calls
        self._queries, self._lifecycle = queries, lifecycle
        self._own_net, self._unproven = own_net, unproven
        self._book = context.book
        self.status = KillStatus()
        self.is_armed = True
        self.orders_asked = 0  # when the newest order book that came was asked for
        self.positions_asked = 0
        self.positions: list[BrokerPosition] = []
        self._attempts: dict[int, int] = {}
        self._rounds: dict[int, int] = {}
        self._not_before: dict[int, int] = {}
        self._judged = 0
        self._is_unread = False

    @property
    def is_active(self) -> bool:
        """Whether there is something left to do."""
        return self.status.state in ACTIVE_STATES

    def restore(self, told: SessionState) -> None:
        """Stand where the journal says."""
        armed = told.kill is KillState.ARMED  # then the reason is some override's, not the kill's
        self.status = (
            KillStatus() if armed else KillStatus(told.kill, told.cause, told.reason, told.ts_tripped, told.ts_flat)
        )
        self.is_armed = armed
        self._context.is_state_told = False

    def _take(self, event: KillEvent) -> None:
        self.status.state = next_kill_state(self.status.state, event)
        self._context.is_state_told = False
        self.is_armed = self.status.state is KillState.ARMED

    def trip(self, cause: KillCause, reason: str) -> bool:
        """Latch. False if it was latched before."""
        was = self.status.state
        self._take(KillEvent.TRIP)
        if was is not KillState.ARMED:
            return False
        self.status.cause, self.status.reason = cause, reason
        self.status.ts_tripped, self.status.ts_flat = self._context.now, 0
        self._context.alert(Level.CRITICAL, "KILL", f"the kill switch has tripped ({cause}): {reason}")
        return True

    def rearm(self) -> None:
        """Back to ARMED. Raises IllegalTransition unless LOCKED."""
        self._take(KillEvent.REARM)
        self.status = KillStatus()
        self._attempts.clear()
        self._rounds.clear()
        self._not_before.clear()
        self._context.resolve("KILL", "the kill switch is armed again")

    # ------------------------------------------------------------------ each moment

    def work(self) -> None:
        """Go on from wherever it stands."""
        state = self.status.state
        if state is KillState.ARMED:
            return
        if state is KillState.TRIPPED:
            self._take(KillEvent.BEGIN)
        if state in (KillState.LOCKED, KillState.VERIFIED_FLAT):
            self._watch()
            return
        held = set(self._book.open_tokens())
        # An exit waits for the orders of its own instrument: those are cancelled first
        risky = sorted(self._book.working_risk(), key=lambda o: o.instrument_token not in held)
        for order in risky:
            self._lifecycle.want_cancelled(order, Intent.KILL)
        self._calls.hasten()
        # What is short first, so that a hedge outlives what it covers: sold before, the margin asked for the rest would rise
        for token in sorted(self._book.open_tokens(), key=self._book.position):
            self._flatten(token)
        if self.status.state is KillState.CANCELLING and not risky:
            self._take(KillEvent.NONE_WORKING)
        elif self.status.state is KillState.FLATTENING and risky:
            self._take(KillEvent.FOUND_WORKING)
        if self.status.state is KillState.FLATTENING:
            self._prove()

    def goes_on(self, started: int) -> bool:
        """Whether the kill goes on although not all of the broker's books could be read since the start: some seconds later,
        if positions were. What was closed meanwhile nobody knows without them: so unseen it exits nothing.
        """
        self._is_unread = self.is_active and self._context.now - started >= BOOKS_NS
        if not self._is_unread:
            return False
        if self.positions_asked < started:
            text = "the kill sells nothing unseen: the account's positions can't be read since the start; close them yourself"
            self._context.alert(Level.CRITICAL, "KILL_BLIND", text)
            return False
        text = (
            "the kill goes on, though the broker's orders or trades can't be read since the start: look at the account"
        )
        self._context.alert(Level.CRITICAL, "KILL_UNREAD", text)
        return True

    def all_read(self) -> None:
        """All of the broker's books have been read since the start."""
        self._is_unread = False
        for code in ("KILL_BLIND", "KILL_UNREAD"):
            self._context.resolve(code, "the broker's books have been read")

    def _watch(self) -> None:
        """Locked is not asleep: a late fill, a late order or a late sight of a position starts it again. What our own book
        held at the proof, the broker's did not.
        """
        changed = self._book.changed_at > self.status.ts_flat
        if self._book.working or (changed and self._book.open_tokens()) or self._is_shown():
            self._take(KillEvent.FOUND_WORKING)
            self.status.ts_flat = 0
            self._context.alert(Level.CRITICAL, "KILL_AGAIN", "an order or a position turned up after the kill")

    def _is_shown(self) -> bool:
        """Whether positions asked for since the proof show something that our own book holds: those of the proof lagged."""
        if self.positions_asked <= max(self.status.ts_flat, self._judged):
            return False
        self._judged = self.positions_asked
        return self._has_exits()

    def _has_exits(self) -> bool:
        """Whether there is something to exit of what our own book holds."""
        held = ((t, self._book.position(t)) for t in self._book.open_tokens())
        return any(self.believed(t, abs(n), Side.SELL if n > 0 else Side.BUY) > 0 for t, n in held)

    def _is_lagging(self) -> bool:
        return is_lagging(self._own_net(), self._book, self.positions_asked)

    # ------------------------------------------------------------------ flattening

    def _flatten(self, token: int) -> None:
        """Exit what is held, less what exits already work; wait while an order on the other side could cross it."""
        held = self._book.position(token)
        side = Side.SELL if held > 0 else Side.BUY
        if self._context.now < self._not_before.get(token, 0) or self._crossing(token, side.opposite):
            return
        if held > 0 and self._context.now - self.status.ts_tripped < COVER_NS and self._book.covered_by(token):
            return
        if (
            self.positions_asked <= self.status.ts_tripped
            and self._context.now - self.status.ts_tripped < LOOK_FIRST_NS
        ):
            self._queries.want(Query.POSITIONS)  # who closed it by hand before the kill must not be sold short
            return
        quantity = self.believed(token, abs(held), side) - self._book.pending(token, side)
        last = self._last_price(token)
        if quantity <= 0 or last <= 0:
            return
        instrument = self._book.instruments[token]
        price = marketable_limit(instrument, side, last, self._context.limits.slippage_fraction)
        for size in slice_up(quantity, largest_order(instrument)):
            order = self._orders.killing(self._next_id(token), token, side, size, price)
            self._calls.place(self._orders.add(order))
        self._pace(token)

    def _next_id(self, token: int) -> str:
        """Never one that was used, also before a restart: an id is a tag, and a tag is one order."""
        prefix = f"kill:{self.status.ts_tripped}:{token}:"
        if token not in self._attempts:
            self._attempts[token] = sum(o.request_id.startswith(prefix) for o in self._book.orders.values())
        self._attempts[token] += 1
        return f"{prefix}{self._attempts[token]}"

    def believed(self, token: int, ours: int, side: Side) -> int:
        """No more than the account holds on that side: as last seen, and what the broker says of ours where that is newer
        than our last fill. Where its books can't be read, only what newer positions show.
        """
        if self._is_unread and (self.positions_asked <= self._book.changed_at or self._is_lagging()):
            self._queries.want(Query.POSITIONS)
            return 0
        seen = self._book.in_account(token) + self._book.doubted.get(token, 0)
        most = min(ours, max(seen * -side.sign, 0))
        if self.positions_asked <= self._book.changed_at:
            return most
        theirs = self._own_net().get(self._book.instruments[token].key, 0) * -side.sign
        return min(most, max(theirs, 0))

    def _crossing(self, token: int, side: Side) -> bool:
        """An order on `side` that is known to work would trade with our exit; one without an answer can't be waited for."""
        return any(o.side is side and o.state is not OrderState.UNKNOWN for o in self._book.working_in(token))

    def _last_price(self, token: int) -> float:
        last = self._book.last_price(token)
        if last > 0:
            return last
        name = self._book.instruments[token].key
        self._queries.want(Query.POSITIONS)
        return next((p.last_price for p in self.positions if p.instrument == name), 0.0)

    def _pace(self, token: int) -> None:
        """The first exits follow at once; those after failures ever more slowly."""
        rounds = self._rounds[token] = self._rounds.get(token, 0) + 1  # of slices, which go together
        if rounds > TELL_AFTER:
            wait = min(SECOND_NS << min(rounds - TELL_AFTER - 1, 8), LONGEST_WAIT_NS)
            self._not_before[token] = self._context.now + wait
            self._context.alert(
                Level.CRITICAL,
                f"KILL_EXIT:{token}",
                f"{self._attempts[token]} exits of {self._book.instruments[token].key} have not made it flat yet",
            )

    # ------------------------------------------------------------------ proof

    def _prove(self) -> None:
        """Flat is what the broker's positions say, asked after our last fill, with none of our orders in its book."""
        if self._book.working:
            return
        seen = max(
            self._book.changed_at, self.status.ts_tripped
        )  # an answer from before this kill proves nothing of it
        if self.orders_asked <= seen:
            self._queries.want(Query.ORDERS)
        if self.positions_asked <= seen:
            self._queries.want(Query.POSITIONS)
        if min(self.orders_asked, self.positions_asked) <= seen or self.positions_asked == self._judged:
            return
        if self._is_lagging():
            self._queries.want(Query.POSITIONS, at=self._context.now + SECOND_NS // 4)
            return
        self._judged = self.positions_asked
        held = self._unproven()
        if held:
            self._context.note("NOT_FLAT", "the broker still shows positions", **held)
            wait = SECOND_NS // 2
            if not self._has_exits():
                wait = LOOK_AGAIN_NS
                self._context.alert(
                    Level.CRITICAL, "KILL_NOT_OURS",
                    f"not flat: the account holds {held}, which no order of ours explains, or which was converted to another product "
                    "and which no order of ours closes; close it yourself",
                )  # fmt: skip
            self._queries.want(Query.TRADES, Query.ORDERS, Query.POSITIONS, at=self._context.now + wait)
            return
        self._take(KillEvent.PROVEN_FLAT)
        self._context.resolve("KILL_NOT_OURS", "the account is flat in our instruments")
        self.status.ts_flat = self._context.now

    def lock(self) -> None:
        """VERIFIED_FLAT has been told: lock."""
        if self.status.state is KillState.VERIFIED_FLAT:
            self._take(KillEvent.LOCK)
