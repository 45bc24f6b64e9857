"""Requests on their way in: journaled at once, decided when nothing of ours stands in their way, answered with a verdict."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tradealgo.domain.orders import DUPLICATE, SUBMIT, Intent, OrderRequest, OrderState, Side, Verdict
from tradealgo.domain.state import KillState, Level, TradingState
from tradealgo.gatekeeper.baskets import ROLLBACK, Baskets
from tradealgo.gatekeeper.breaker import CLOSED, Breaker
from tradealgo.gatekeeper.calls import Calls
from tradealgo.gatekeeper.checks import decide
from tradealgo.gatekeeper.context import Context
from tradealgo.gatekeeper.lifecycle import Lifecycle
from tradealgo.gatekeeper.messages import BadRequest, Kind, Record
from tradealgo.gatekeeper.orders import Orders
from tradealgo.gatekeeper.situation import Denial, Deny, GateState, Submit

SECOND_NS = 1_000_000_000
#: A cover that is kept for longer is told.
COVER_TOLD_NS = 5 * SECOND_NS
#: Read often (see `core`).
ENTRY, EXIT, BUY, SELL, UNKNOWN, ARMED, HALTED, REQUEST, VERDICT = (
    Intent.ENTRY, Intent.EXIT, Side.BUY, Side.SELL, OrderState.UNKNOWN, KillState.ARMED, TradingState.HALTED, Kind.REQUEST,
    Kind.VERDICT,
)  # fmt: skip
#: Denials of what this session's strategy never said, or not today: no word of it.
VOID = frozenset(
    {DUPLICATE, "BAD_ID", "BAD_QUANTITY", "BAD_PRICE", "BAD_INTENT", "WRONG_SESSION", "NO_LEASE", "UNKNOWN_INSTRUMENT",
     "NOT_TRADABLE", "OLD_REQUEST", "MALFORMED"}
)  # fmt: skip


class Word(msgspec.Struct, frozen=True, gc=False):
    """A strategy's last request for an instrument, and why it was denied, if it was."""

    request: OrderRequest
    denial: str


class Intake:
    """Takes each request once.

    Args:
        state: what checks see of the gate; its `seen` is kept here.
        look: brings `state` up to now.
    """

    def __init__(
        self, context: Context, orders: Orders, calls: Calls, lifecycle: Lifecycle, breaker: Breaker,
        state: GateState, look: Callable[[], GateState],
    ) -> None:  # fmt: skip
        self.context, self.orders, self.calls, self.lifecycle = context, orders, calls, lifecycle
        self.breaker, self.state, self.look = breaker, state, look
        self.book, self.limits = context.book, context.limits
        self.pending: dict[str, OrderRequest] = {}  # journaled, not decided
        self.words: dict[int, Word] = {}  # by instrument token
        self.entries: dict[int, OrderRequest] = {}  # the last that was let through, by instrument token
        self._held_since: dict[str, int] = {}
        self.baskets = Baskets(self)

    def take(self, request: OrderRequest) -> None:
        """Journal a request. One that was heard before (a restarted Consumer, an entry that wasn't acknowledged) is known."""
        name, seen = request.request_id, self.state.seen
        before = seen.get(name)
        if before is not None:
            if before != request:
                text = f"request {name} was here before: {before.side} {before.quantity} {before.instrument}"
                self._answer(request, Deny(Denial(DUPLICATE, text, {"request_id": name})))
            return
        seen[name] = self.pending[name] = request
        self._held_since[name] = self.context.now
        if request.group:
            self.baskets.hear(request)
        self.context.commands.append(Record(REQUEST, request))

    def take_bad(self, event: BadRequest) -> None:
        """Say no to an entry that isn't a request."""
        verdict = Verdict(
            request_id=f"?{event.entry_id}", instrument="", code="MALFORMED", text=event.text, figures={},
            ts=self.context.now,
        )  # fmt: skip
        self.context.record(Kind.VERDICT, verdict)

    def restore_request(self, request: OrderRequest) -> None:
        """Take a request that the journal holds."""
        self.state.seen[request.request_id] = self.pending[request.request_id] = request
        self.baskets.hear(request)

    def restore(self, verdict: Verdict) -> None:
        """Take a verdict that the journal holds."""
        if verdict.code != DUPLICATE:
            self.pending.pop(verdict.request_id, None)
        self._hear(verdict, self.state.seen.get(verdict.request_id))

    def _hear(self, verdict: Verdict, request: OrderRequest | None) -> None:
        self.baskets.heard(verdict)
        if request is None or verdict.code in VOID or (ROLLBACK in request.request_id and self._is_overtaken(request)):
            return
        token, denial = request.instrument_token, "" if verdict.code == SUBMIT else verdict.text
        if denial and request.group and request.intent is ENTRY and self._is_more(request):
            # Its basket is broken. What the instrument was to hold before stands, or what an exit has left there would be
            # taken for wanted
            self.book.unsettled.add(token)
            return
        self.words[token] = Word(request, denial)
        self.book.unsettled.add(token)
        if request.intent is ENTRY and not denial:
            self.entries[token] = request

    def _is_more(self, request: OrderRequest) -> bool:
        """Whether it asks for more, on the same side, than the word before it."""
        word = self.words.get(request.instrument_token)
        before, after = word.request.position_after if word else 0, request.position_after
        return before * after >= 0 and abs(after) > abs(before)

    def _is_overtaken(self, rollback: OrderRequest) -> bool:
        """Whether the strategy has said something else since the leg that this exit rolls back."""
        word = self.words.get(rollback.instrument_token)
        leg = rollback.request_id.partition(ROLLBACK)[0]
        return word is not None and word.request.request_id.partition(ROLLBACK)[0] != leg

    def decide_pending(self) -> None:
        """Decide what may be decided, for each instrument in the order of arrival."""
        if self.baskets.open:
            self.look()
            self.baskets.work()
        if not self.pending:
            return
        waiting: set[int] = set()
        for request in list(self.pending.values()):
            state, token, group = self.look(), request.instrument_token, request.group
            in_turn = token not in waiting and not (group and self.baskets.must_wait(request))
            if not in_turn or self._must_wait(request) or self.covers(request):
                waiting.add(token)
                if in_turn:
                    self._tell_cover(request)
                continue
            if self.context.raised:
                self.context.resolve(f"COVER:{token}", f"{request.instrument} covers nothing any more")
            refusal = self.baskets.refuses(request) if group else None
            answer = Deny(refusal) if refusal else decide(request, self.book, self.limits, state, self.context.now)
            del self.pending[request.request_id]
            self._held_since.pop(request.request_id, None)
            self._answer(request, answer)

    def _must_wait(self, request: OrderRequest) -> bool:
        """While an own order works on the other side, which may fill yet and must not trade with this one; and an entry
        while an exit works on its own side, so that the exit can't end as an entry nor the entry as an exit. An exit waits
        for no entry whose fate is unknown: that may last, and what it fills is got rid of once it is known.
        """
        working = self.book.working_in(request.instrument_token)
        if not working or self.state.kill is not ARMED or self._age_s(request) > self.limits.entry_max_age_s:
            return False
        side, intent = request.side, request.intent
        blocking = [o for o in working if o.side is not side or o.intent is not intent]
        if intent is not ENTRY and self.book.unknown and self.book.position(request.instrument_token) * side.sign < 0:
            lost = [o for o in blocking if o.state is UNKNOWN and o.intent is ENTRY and o.side is not side]
            for order in lost:
                self.lifecycle.want_cancelled(order)  # once it is known where it is
            blocking = [o for o in blocking if o not in lost]
        held_since = self._held_since.setdefault(request.request_id, self.context.now)
        if self.context.now - held_since > self.limits.superseded_after_s * SECOND_NS:
            for order in blocking:
                if order.side is not side or order.intent is Intent.ENTRY:
                    self.lifecycle.want_cancelled(order)
        for order in blocking:
            if order.intent is Intent.PROTECT:
                self.lifecycle.want_cancelled(order)
        return bool(blocking)

    def covers(self, request: OrderRequest) -> bool:
        """Whether it sells a bought option while a sold one that this one covers is still to be bought back. Side by side, the
        sale would leave that one naked wherever its own exit is rejected, or can't fill in a fast market.
        """
        state = self.state
        if request.side is not SELL or request.intent is not EXIT or state.kill is not ARMED or state.trading is HALTED:
            return False
        token = request.instrument_token
        sold = self.book.covered_by(token) if self.book.position(token) > 0 else ()
        asked = (
            {r.instrument_token for r in self.pending.values() if r.side is BUY and r.intent is EXIT} if sold else ()
        )
        return any(t in asked or self.left(t) for t in sold)

    def _tell_cover(self, request: OrderRequest) -> None:
        """People must hear what holds up an exit, and why."""
        since = self._held_since.setdefault(request.request_id, self.context.now)
        if self.context.now - since > COVER_TOLD_NS and self.covers(request):
            text = f"{request.instrument} is kept: it covers sold options that are still to be bought back"
            self.context.alert(Level.WARNING, f"COVER:{request.instrument_token}", text)

    def left(self, token: int) -> int:
        """Units held beyond what the strategy's last word says; never more than is held."""
        held = self.book.position(token)
        word = self.words.get(token) if held else None
        wanted = word.request.position_after if word else held
        if held == wanted:
            return 0
        return abs(held) if held * wanted <= 0 else max(0, abs(held) - abs(wanted))

    def _age_s(self, request: OrderRequest) -> float:
        """Seconds since an entry was asked for; 0 for an exit, which never grows stale."""
        entry = request.intent is Intent.ENTRY and request.ts_requested
        return (self.context.now - request.ts_requested) / SECOND_NS if entry else 0.0

    def _answer(self, request: OrderRequest, answer: Submit | Deny) -> None:
        if isinstance(answer, Deny):
            code, text, figures = answer.denial.code, answer.denial.text, dict(answer.denial.figures)
        else:
            code, figures = SUBMIT, {
                "quantity": answer.quantity, "asked": request.quantity, "price": answer.price, "last_price": answer.last,
                "position": answer.held, "exposure": round(self.book.gross_exposure, 2), "mtm": self.state.mtm,
                "slices": len(answer.slices),
            }  # fmt: skip
            text = f"{request.side} {answer.quantity} {request.instrument} at {answer.price:g} or better"
        verdict = Verdict(
            request_id=request.request_id, instrument=request.instrument, code=code, text=text, figures=figures,
            ts=self.context.now,
        )  # fmt: skip
        self.context.commands.append(Record(VERDICT, verdict))
        self._hear(verdict, request)
        if isinstance(answer, Submit):
            for number, quantity in enumerate(answer.slices):
                order = self.orders.add(self.orders.from_request(request, quantity, answer.price, number))
                self.calls.place(order)
            if request.intent is ENTRY and self.breaker.state is not CLOSED:
                self.breaker.trial(self.context.now)
