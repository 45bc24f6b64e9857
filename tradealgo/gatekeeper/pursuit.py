"""Exits that didn't come off. What is held beyond the strategy's last word is said aloud and asked for again.

The rule looks at where things stand, not at what led there: the last request of an instrument that was heard says
which position the strategy believes in. Where more than that is held, and nothing of ours works or waits, an exit was
rejected, denied, cancelled or filled in part; so it is also found after a restart. Each new asking is a request of its
own (`<first id>~<n>`, hence a tag of its own) and goes through all checks, which cut it to the position.
"""

from __future__ import annotations

import msgspec

from tradealgo.domain.orders import Intent, Order, OrderRequest, Side
from tradealgo.domain.state import Level, TradingState
from tradealgo.gatekeeper.checks.freeze import largest_order
from tradealgo.gatekeeper.context import Context
from tradealgo.gatekeeper.intake import Intake
from tradealgo.gatekeeper.killer import Killer
from tradealgo.gatekeeper.kite import Query
from tradealgo.gatekeeper.overrides import Overrides
from tradealgo.gatekeeper.queries import Queries

SECOND_NS = 1_000_000_000
#: Between two looks.
LOOK_NS = SECOND_NS // 10
#: Before each further asking; after the last one a person is needed.
WAITS_NS = tuple(s * SECOND_NS for s in (1, 2, 4, 8, 16))
#: The most slices that one request may be.
SLICES = 10
SOURCE = "exits"
PROTECT = Intent.PROTECT


class Undone(msgspec.Struct):
    """One instrument's exit that is pursued. `first` is the id of the strategy's own request."""

    first: str
    tries: int
    not_before: int


class Pursuit:
    """Pursues exits until the position is what the strategy's last word says, or a person must look."""

    def __init__(
        self, context: Context, intake: Intake, killer: Killer, queries: Queries, overrides: Overrides
    ) -> None:
        self._context, self._intake, self._killer = context, intake, killer
        self._queries, self._overrides = queries, overrides
        self._book = context.book
        self._undone: dict[int, Undone] = {}
        self.next_look = 0

    def work(self) -> None:
        """Look at every instrument that is unsettled since the last look, and at what is pursued. Not before `next_look`."""
        self.next_look = self._context.now + LOOK_NS
        unsettled = self._book.unsettled
        if not (unsettled or self._undone):
            return
        asked = {r.instrument_token for r in self._intake.pending.values()}
        for token in sorted(unsettled | self._undone.keys()):
            working = self._book.working_in(token)
            if working and any(o.intent is not PROTECT for o in working):
                unsettled.discard(token)  # its end is a change
            elif token not in asked:
                self._tend(token)

    def again(self) -> None:
        """A person says: try once more."""
        for token, undone in self._undone.items():
            undone.tries, undone.not_before = 0, self._context.now
            self._context.resolve(f"EXIT_GIVEN_UP:{token}", "a person asked for more tries")
        self._overrides.lift(SOURCE)

    def _tend(self, token: int) -> None:
        left = self._intake.left(token)
        if left and not self._killer.is_armed:
            return  # the kill flattens; what it leaves is looked at again
        self._book.unsettled.discard(token)
        if left:
            self._pursue(token, left)
        elif token in self._undone:
            self._close(token)

    def _close(self, token: int) -> None:
        name = self._book.instruments[token].key
        for code in ("EXIT", "EXIT_GIVEN_UP"):
            self._context.resolve(f"{code}:{token}", f"{name} is where its strategy believes it to be")
        del self._undone[token]
        if not self._undone:
            self._overrides.lift(SOURCE)

    def _pursue(self, token: int, left: int) -> None:
        now, word = self._context.now, self._intake.words[token].request
        first = word.request_id.partition("~")[0]
        undone = self._undone.get(token)
        if undone is None or undone.first != first:
            undone = self._undone[token] = Undone(first, self._asked_before(first), now + WAITS_NS[0])
            self._queries.want(Query.ORDERS, Query.TRADES, Query.POSITIONS)
            self._tell("EXIT", token, left, "it is asked for again")
        if now < undone.not_before or self._overrides.is_halted_by("person"):
            return
        if undone.tries >= len(WAITS_NS):
            self._give_up(token, left)
            return
        quantity = self._wise(token, left)
        if quantity:
            undone.not_before = now + WAITS_NS[undone.tries]
            undone.tries += 1
            self._intake.take(self._request(word, f"{first}~{self._asked_before(first) + 1}", quantity))

    def _asked_before(self, first: str) -> int:
        """Also before a restart: the journal's requests are all here."""
        return sum(i.startswith(f"{first}~") for i in self._intake.state.seen)

    def _wise(self, token: int, left: int) -> int:
        """No more than the broker says is there: ours, and the account's, in case somebody closed it by hand."""
        side = self._side(token)
        largest = largest_order(self._book.instruments[token])
        most = min(left, largest * SLICES) if largest else left
        return self._killer.believed(token, most, side)

    def _side(self, token: int) -> Side:
        return Side.SELL if self._book.position(token) > 0 else Side.BUY

    def _request(self, word: OrderRequest, request_id: str, quantity: int) -> OrderRequest:
        token, now = word.instrument_token, self._context.now
        last = self._book.last_price(token)
        return msgspec.structs.replace(
            word, request_id=request_id, side=self._side(token), quantity=quantity, intent=Intent.EXIT, stop=None,
            reference_price=last if last > 0 else word.reference_price, reason="the exit did not come off",
            ts_requested=now,
        )  # fmt: skip

    def _give_up(self, token: int, left: int) -> None:
        self._tell(
            "EXIT_GIVEN_UP", token, left, f"given up after {len(WAITS_NS)} more tries: close it, or RESUME or kill"
        )
        name = self._book.instruments[token].key
        self._overrides.put(SOURCE, TradingState.REDUCING, f"{left} {name} can't be got rid of")

    def _tell(self, code: str, token: int, left: int, then: str) -> None:
        name = self._book.instruments[token].key
        self._context.alert(
            Level.CRITICAL,
            f"{code}:{token}",
            f"{left} {name} are held that the strategy believes closed ({self._why(token)}): {then}",
        )

    def _why(self, token: int) -> str:
        """What became of the last exit, in the broker's words or ours."""
        word = self._intake.words[token]
        if word.denial:
            return f"denied: {word.denial}"
        mine = (o for o in reversed(self._book.orders.values()) if o.instrument_token == token)
        last: Order | None = next((o for o in mine if o.request_id == word.request.request_id), None)
        return (
            f"order {last.tag} is {last.state}: {last.text or 'no reason given'}" if last else "no order of it is left"
        )
