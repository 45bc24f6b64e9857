"""Baskets: the entries of one group stand or fall together.

Theory of operation. A strategy that wants several instruments at once (a straddle, a spread) gives its entries one
`group` and says how many there are. Nothing of it leaves before all legs are here and each would pass its checks. Buying
legs go first and selling ones when those have filled, so that a spread never asks for a naked position's margin. If a leg
is denied, rejected, let go unfilled or doesn't come in time, the group is broken: a verdict under the group's own name
says so, legs that wait are denied, what works is cancelled, and what has filled is closed again by an exit of its own
(`<leg's id>^`), which is pursued like any exit that doesn't come off.

Where a group stands follows from its legs' requests, verdicts and orders, all of which the journal has; only that it is
broken is a record of its own, that verdict. A restart therefore goes on where the process ended, and a kill, which makes
flat anyway, needs nothing from here.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import count, takewhile
from typing import TYPE_CHECKING

import msgspec

from tradealgo.domain.errors import IllegalTransition
from tradealgo.domain.orders import DUPLICATE, SUBMIT, Intent, Order, OrderRequest, Side, Verdict, tag_for
from tradealgo.domain.state import KillState, Level, TradingState
from tradealgo.gatekeeper.checks import decide
from tradealgo.gatekeeper.messages import Kind
from tradealgo.gatekeeper.situation import Denial, Deny

if TYPE_CHECKING:
    from tradealgo.gatekeeper.intake import Intake

SECOND_NS = 1_000_000_000
#: Ends the request id of the exit that rolls a leg back.
ROLLBACK = "^"
#: Codes of a group's own verdict, and of the verdicts of its legs that didn't go.
ROLLED_BACK, BROKEN = "ROLLED_BACK", "BASKET"


class Phase(StrEnum):
    GATHERING = "GATHERING"  # not all legs are here
    BUYING = "BUYING"  # the buying legs are on their way, the selling ones wait
    SELLING = "SELLING"
    WHOLE = "WHOLE"  # every leg has filled
    BROKEN = "BROKEN"  # a leg failed; what has filled is to be closed
    UNDONE = "UNDONE"  # … and its exits are asked for


class Turn(StrEnum):
    COMPLETE = "COMPLETE"  # all legs are here, and each would pass
    BOUGHT = "BOUGHT"  # every buying leg has filled
    FILLED = "FILLED"  # every leg has
    FAIL = "FAIL"  # a leg can't be had
    ROLL_BACK = "ROLL_BACK"


_P, _T = Phase, Turn
TABLE: dict[tuple[Phase, Turn], Phase] = {
    (_P.GATHERING, _T.COMPLETE): _P.BUYING,
    (_P.GATHERING, _T.FAIL): _P.BROKEN,
    (_P.BUYING, _T.BOUGHT): _P.SELLING,
    (_P.BUYING, _T.FAIL): _P.BROKEN,
    (_P.SELLING, _T.FILLED): _P.WHOLE,
    (_P.SELLING, _T.FAIL): _P.BROKEN,
    (_P.BROKEN, _T.ROLL_BACK): _P.UNDONE,
}


class Basket:
    """One group."""

    __slots__ = ("legs", "name", "phase", "since", "size", "why")

    def __init__(self, name: str, size: int, now: int) -> None:
        self.name, self.size, self.since = name, size, now
        self.legs: dict[str, OrderRequest] = {}
        self.phase, self.why = Phase.GATHERING, ""

    def take(self, turn: Turn) -> None:
        """Raises IllegalTransition."""
        after = TABLE.get((self.phase, turn))
        if after is None:
            raise IllegalTransition(f"a basket that is {self.phase} can't take {turn}")
        self.phase = after


class Baskets:
    """All groups of a session."""

    def __init__(self, intake: Intake) -> None:
        self._intake, self._context, self._book = intake, intake.context, intake.book
        self._groups: dict[str, Basket] = {}
        self.open: dict[str, Basket] = {}
        self._codes: dict[str, str] = {}  # verdicts, by leg

    # ------------------------------------------------------------------ in

    def hear(self, request: OrderRequest) -> None:
        """Take a leg, now or from the journal; what isn't an entry of a group is none."""
        if not request.group or request.intent is not Intent.ENTRY:
            return
        basket = self._groups.get(request.group)
        if basket is None:
            # Of a journaled one the wait begins when it is first looked at
            basket = Basket(request.group, request.group_size, self._context.now)
            self._groups[basket.name] = self.open[basket.name] = basket
        basket.legs[request.request_id] = request

    def heard(self, verdict: Verdict) -> None:
        """Take a verdict on a leg or on a group, now or from the journal."""
        if not self._groups:
            return
        basket = self._groups.get(verdict.request_id)
        if basket is not None:
            basket.phase, basket.why = Phase.BROKEN, verdict.text
        elif verdict.code != DUPLICATE:
            request = self._intake.state.seen.get(verdict.request_id)
            if request is not None and request.group in self._groups:
                self._codes[verdict.request_id] = verdict.code

    def must_wait(self, request: OrderRequest) -> bool:
        """Whether a leg's time hasn't come: not all are here, or it sells and the buying ones haven't filled."""
        basket = self._basket_of(request)
        if basket is None:
            return False
        return basket.phase is Phase.GATHERING or (basket.phase is Phase.BUYING and request.side is Side.SELL)

    def refuses(self, request: OrderRequest) -> Denial | None:
        """The denial of a leg whose group is broken."""
        basket = self._basket_of(request)
        if basket is None or basket.phase not in (Phase.BROKEN, Phase.UNDONE):
            return None
        return Denial(BROKEN, f"basket {basket.name} is broken: {basket.why}", {"group": basket.name})

    def _basket_of(self, request: OrderRequest) -> Basket | None:
        armed = self._intake.state.kill is KillState.ARMED  # else the checks say no by themselves
        return self._groups.get(request.group) if armed and request.intent is Intent.ENTRY else None

    # ------------------------------------------------------------------ each moment

    def work(self) -> None:
        """Bring every open group as far as it has come."""
        for basket in list(self.open.values()):
            while (turn := self._turn(basket)) is not None:
                basket.take(turn)
                self._act(basket, turn)
            if basket.phase in (Phase.WHOLE, Phase.UNDONE):
                del self.open[basket.name]

    def _turn(self, basket: Basket) -> Turn | None:
        """What has happened to a group since."""
        if basket.phase is Phase.BROKEN:
            held_back = self._intake.state.kill is not KillState.ARMED or self._is_halted()
            return None if held_back else Turn.ROLL_BACK
        if basket.phase in (Phase.WHOLE, Phase.UNDONE):
            return None
        basket.why = self._failure(basket)
        if basket.why:
            return Turn.FAIL
        legs = basket.legs.values()
        if basket.phase is Phase.GATHERING:
            return Turn.COMPLETE if len(legs) == basket.size else None
        if basket.phase is Phase.BUYING:
            return Turn.BOUGHT if all(self._is_filled(leg) for leg in legs if leg.side is Side.BUY) else None
        return Turn.FILLED if all(self._is_filled(leg) for leg in legs) else None

    def _act(self, basket: Basket, turn: Turn) -> None:
        if turn is Turn.FAIL:
            self._tell_broken(basket)
        elif turn is Turn.ROLL_BACK:
            for leg in basket.legs.values():
                self._close(basket, leg)

    def _is_halted(self) -> bool:
        """A person's halt keeps positions as they are."""
        return self._intake.state.trading is TradingState.HALTED

    # ------------------------------------------------------------------ legs

    def _failure(self, basket: Basket) -> str:
        """Why a group can't become whole any more, or an empty string."""
        if len(basket.legs) > basket.size:
            return f"{len(basket.legs)} legs came, {basket.size} were announced"
        for leg in basket.legs.values():
            why = self._leg_failure(leg)
            if why:
                return f"{leg.side} {leg.quantity} {leg.instrument}: {why}"
        if basket.phase is not Phase.GATHERING:
            return ""
        limit, basket.since = self._intake.limits.entry_max_age_s, basket.since or self._context.now
        if self._context.now - basket.since > limit * SECOND_NS:
            return f"only {len(basket.legs)} of {basket.size} legs came within {limit:g} s"
        return self._first_denial(basket) if len(basket.legs) == basket.size else ""

    def _leg_failure(self, leg: OrderRequest) -> str:
        code = self._codes.get(leg.request_id)
        if code is None:
            return ""
        if code != SUBMIT:
            return f"denied, {code}"
        short = next((o for o in self._orders(leg) if o.is_done and o.filled_quantity < o.quantity), None)
        return f"{short.state}, {short.filled_quantity} filled: {short.text or 'not in time'}" if short else ""

    def _first_denial(self, basket: Basket) -> str:
        """What the checks would say to a leg as things stand. Nothing has left yet."""
        for leg in basket.legs.values():
            if leg.request_id in self._intake.pending:
                answer = decide(leg, self._book, self._intake.limits, self._intake.look(), self._context.now)
                if isinstance(answer, Deny):
                    return f"{leg.side} {leg.quantity} {leg.instrument}: {answer.denial.code}, {answer.denial.text}"
        return ""

    def _orders(self, leg: OrderRequest) -> list[Order]:
        """The leg's slices: their tags are known."""
        tags = (tag_for(leg.request_id, number) for number in count())
        return [self._book.orders[tag] for tag in takewhile(self._book.orders.__contains__, tags)]

    def _is_filled(self, leg: OrderRequest) -> bool:
        orders = self._orders(leg)
        return bool(orders) and all(o.filled_quantity >= o.quantity for o in orders)

    # ------------------------------------------------------------------ rolling back

    def _tell_broken(self, basket: Basket) -> None:
        filled = {leg.instrument: sum(o.filled_quantity for o in self._orders(leg)) for leg in basket.legs.values()}
        left = [leg for leg in basket.legs.values() if self._orders(leg)]
        then = "what has filled is closed again" if left else "nothing of it has left"
        verdict = Verdict(
            request_id=basket.name, instrument="", code=ROLLED_BACK if left else BROKEN,
            text=f"{basket.why}; {then}", figures=dict(filled), ts=self._context.now,
        )  # fmt: skip
        self._context.record(Kind.VERDICT, verdict)
        if left:
            self._context.alert(
                Level.WARNING, f"BASKET:{basket.name}", f"basket {basket.name} is broken: {verdict.text}"
            )
        for leg in left:
            for order in self._orders(leg):
                if not order.is_done:
                    self._intake.lifecycle.want_cancelled(order)

    def _close(self, basket: Basket, leg: OrderRequest) -> None:
        """Ask for what leads back to where the leg began, unless the strategy has said something else since."""
        word = self._intake.words.get(leg.instrument_token)
        exit_id = f"{leg.request_id}{ROLLBACK}"
        stands = word is not None and word.request.request_id == leg.request_id
        if not self._orders(leg) or not stands or exit_id in self._intake.state.seen:
            return
        last = self._book.last_price(leg.instrument_token)
        self._intake.take(
            msgspec.structs.replace(
                leg, request_id=exit_id, side=leg.side.opposite, intent=Intent.EXIT, stop=None, target=None,
                position_after=leg.position_after - leg.side.sign * leg.quantity, group="", group_size=0,
                reference_price=last if last > 0 else leg.reference_price,
                reason=f"basket {basket.name} is rolled back", ts_requested=self._context.now,
            )
        )  # fmt: skip
