"""What people ask of the Gatekeeper: kill, halt, resume, re-arm, settle. Each is in the journal with who said it and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tradealgo.domain.hours import ist_date
from tradealgo.domain.state import Action, Control, KillCause, KillState, Level, TradingState
from tradealgo.gatekeeper.messages import ControlReceived, ControlRecord, Kind, RearmRecord

if TYPE_CHECKING:
    from tradealgo.gatekeeper.core import Gate

SECOND_NS = 1_000_000_000
#: A second, forced re-arm must follow the first within this.
REARM_WINDOW_NS = 120 * SECOND_NS


class People:
    """Does what they ask of one gate, or says why not."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self._context = gate, gate.context
        self.cursor = ""  # the last entry of the control stream that the journal has
        self.last_heard = 0
        self._refused = 0  # when a re-arm was last refused for the day's loss

    def take(self, event: ControlReceived) -> None:
        """Take one request."""
        gate, control = self._gate, event.control
        self.last_heard = self._context.now
        self.cursor = event.entry_id or self.cursor
        self._context.record(Kind.CONTROL, ControlRecord(entry_id=event.entry_id, control=control))
        why = f"{control.source}: {control.reason}" if control.reason else control.source
        match control.action:
            case Action.KILL:
                gate.trip(KillCause.PERSON, why)
            case Action.HALT | Action.STOP:
                gate.overrides.put("person", TradingState.HALTED, f"{control.action} by {why}")
                for order in gate.book.working_risk():  # the kill's exits go on
                    gate.lifecycle.want_cancelled(order)
            case Action.RESUME:
                gate.comparison.unmatched = 0
                for source in ("person", "reconciliation", "doubled", "start"):
                    gate.overrides.lift(source)
                gate.pursuit.again()
            case Action.REARM:
                self._rearm(control)
            case Action.SETTLE:
                gate.settling.settle(control)

    def watch(self) -> None:
        """The dead-man timer: somebody must show up now and then while it is on."""
        limit = self._gate.limits.dead_man_s
        if limit and self._gate.killer.is_armed and self._context.now - self.last_heard > limit * SECOND_NS:
            self._gate.trip(KillCause.DEAD_MAN, f"no sign of life for {limit:g} s")

    def _rearm(self, control: Control) -> None:
        gate, refusal = self._gate, self._refusal(control)
        if refusal:
            self._context.note("REARM_REFUSED", refusal)
            self._context.alert(Level.WARNING, f"REARM:{self._context.now}", f"not re-armed: {refusal}")
            return
        if gate.killer.status.cause is KillCause.MTM and control.force:
            gate.loss_base = gate.book.mtm  # nothing but the second yes to this very question moves the line
        self._context.record(
            Kind.REARM,
            RearmRecord(reason=control.reason, source=control.source, base=gate.loss_base, ts=self._context.now),
        )
        gate.killer.rearm()
        gate.comparison.unmatched = 0

    def _refusal(self, control: Control) -> str:
        status, now = self._gate.killer.status, self._context.now
        if status.state is not KillState.LOCKED:
            return f"the kill switch is {status.state}, not LOCKED"
        if not control.reason.strip():
            return "a re-arm needs a reason"
        if status.cause is KillCause.MTM and ist_date(status.ts_tripped) == ist_date(now):
            asked, self._refused = self._refused, now
            if not control.force or now - asked > REARM_WINDOW_NS:
                return "the loss limit tripped today: ask again with force within two minutes if you must"
        return ""
