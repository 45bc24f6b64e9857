"""The random lives notice each of these mutants: a guard that can be taken out unseen is no guard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gate_world import BrokenInvariantError
from test_gatekeeper_soak import live

from tradealgo.domain.order_machine import TABLE, OrderEvent
from tradealgo.domain.orders import Intent, OrderRequest, OrderState
from tradealgo.gatekeeper import lifecycle
from tradealgo.gatekeeper.calls import Calls
from tradealgo.gatekeeper.checks import CHECKS, position, trading
from tradealgo.gatekeeper.core import Gate
from tradealgo.gatekeeper.intake import Intake
from tradealgo.gatekeeper.killer import Killer
from tradealgo.gatekeeper.orders import Orders
from tradealgo.gatekeeper.pursuit import Pursuit

Patch = Callable[[pytest.MonkeyPatch], Any]


def without_check(module: Any) -> Patch:
    """`decide` without one check: its proposal passes as it is."""

    def patch(mp: pytest.MonkeyPatch) -> None:
        rest = tuple(c for c in CHECKS if c is not module.check)
        mp.setattr("tradealgo.gatekeeper.checks.CHECKS", rest)

    return patch


def forgetful_kill_ids(self: Killer, token: int) -> str:
    self._attempts[token] = self._attempts.get(token, 0) + 1
    return f"kill:{self.status.ts_tripped}:{token}:{self._attempts[token]}"


def hasty_recovery(self: Gate, now: int) -> Any:
    """What was under way when the process died is simply sent again."""
    for order in list(self.book.working.values()):
        if order.state is OrderState.SUBMITTING:
            self.orders.move(order.tag, OrderEvent.UNSENT)
    return ORIGINAL_RECOVER(self, now)


ORIGINAL_RECOVER = Gate.recover
ORIGINAL_MUST_WAIT = Intake._must_wait


def heedless_of_protection(self: Intake, request: OrderRequest) -> bool:
    """As if no protective order worked."""
    waits = ORIGINAL_MUST_WAIT(self, request)
    others = [o for o in self.book.working_in(request.instrument_token) if o.intent is not Intent.PROTECT]
    return waits and bool(others)


MUTANTS: dict[str, Patch] = {
    "exits are not cut to the position": without_check(position),
    "requests pass after a trip": lambda mp: (
        without_check(trading)(mp), mp.setattr(Calls, "_place_wanted", lambda self, o: o.state is OrderState.JOURNALED),
    ),
    "one early look confirms an absence": lambda mp: (
        mp.setattr(lifecycle, "ABSENCES", 1),
        mp.setattr("tradealgo.domain.limits.Limits.absence_s", property(lambda self: 0.0), raising=False),
    ),
    "kill ids begin anew after a restart": lambda mp: mp.setattr(Killer, "_next_id", forgetful_kill_ids),
    "flat is assumed": lambda mp: mp.setattr(Killer, "_own_net", property(lambda self: dict, lambda self, v: None), raising=False),
    "the kill doesn't wait for working orders": lambda mp: mp.setattr(Killer, "_crossing", lambda self, t, s: False),
    "the process forgets what it was sending": lambda mp: mp.setattr(Gate, "recover", hasty_recovery),
    "requests don't wait for the other side": lambda mp: mp.setattr(Intake, "_must_wait", lambda self, r: False),
    "trades are not booked": lambda mp: mp.setattr(Orders, "take_trade", lambda self, row: None),
    "a cancelled order stays so, whatever fills": lambda mp: [
        mp.setitem(TABLE, (state, OrderEvent.FILL), OrderState.CANCELLED)
        for state in (OrderState.CANCEL_PENDING, OrderState.CANCELLED)
    ],
    "a lost answer counts as a rejection": lambda mp: mp.setitem(
        TABLE, (OrderState.SUBMITTING, OrderEvent.LOSE), OrderState.REJECTED
    ),
    "an exit that did not come off is forgotten": lambda mp: mp.setattr(Pursuit, "work", lambda self: None),
    "a request doesn't wait for a protective order": lambda mp: mp.setattr(Intake, "_must_wait", heedless_of_protection),
    "the latch is not restored": lambda mp: mp.setattr(Killer, "restore", lambda self, told: None),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some seed breaks an invariant, or an error inside the gate shows."""
    MUTANTS[name](monkeypatch)
    limits = {"protect_fraction": 0.02, "brackets": True} if "protective" in name else {}
    for seed in range(2_000):
        try:
            live(seed, 100, **limits)
        except (BrokenInvariantError, AttributeError):
            return
    pytest.fail(f"nobody noticed that {name}")
