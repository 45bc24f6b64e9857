"""The kill switch as a literal table: latched, journaled before it acts, flat only when the broker says so.

ARMED → TRIPPED → CANCELLING → FLATTENING → VERIFIED_FLAT → LOCKED, and back to ARMED by an explicit act with a reason.
A second trip changes nothing. A position or an order of ours that turns up later (a fill that crossed its cancel, an
order given up for absent) takes even a locked session back to CANCELLING.
"""

from __future__ import annotations

from enum import StrEnum

from tradealgo.domain.errors import IllegalTransition
from tradealgo.domain.state import KillState


class KillEvent(StrEnum):
    TRIP = "TRIP"
    BEGIN = "BEGIN"  # the trip is in the journal
    NONE_WORKING = "NONE_WORKING"  # no own order but the kill's exits can fill any more
    FOUND_WORKING = "FOUND_WORKING"  # one can, after all
    PROVEN_FLAT = "PROVEN_FLAT"  # the broker's own positions, asked after our last fill, are flat
    LOCK = "LOCK"
    REARM = "REARM"


_S, _E = KillState, KillEvent
TABLE: dict[tuple[KillState, KillEvent], KillState] = {
    (_S.ARMED, _E.TRIP): _S.TRIPPED,
    (_S.TRIPPED, _E.TRIP): _S.TRIPPED,
    (_S.CANCELLING, _E.TRIP): _S.CANCELLING,
    (_S.FLATTENING, _E.TRIP): _S.FLATTENING,
    (_S.VERIFIED_FLAT, _E.TRIP): _S.VERIFIED_FLAT,
    (_S.LOCKED, _E.TRIP): _S.LOCKED,
    (_S.TRIPPED, _E.BEGIN): _S.CANCELLING,
    (_S.CANCELLING, _E.NONE_WORKING): _S.FLATTENING,
    (_S.FLATTENING, _E.FOUND_WORKING): _S.CANCELLING,
    (_S.FLATTENING, _E.PROVEN_FLAT): _S.VERIFIED_FLAT,
    (_S.VERIFIED_FLAT, _E.LOCK): _S.LOCKED,
    (_S.VERIFIED_FLAT, _E.FOUND_WORKING): _S.CANCELLING,
    (_S.LOCKED, _E.FOUND_WORKING): _S.CANCELLING,
    (_S.LOCKED, _E.REARM): _S.ARMED,
}


def next_kill_state(state: KillState, event: KillEvent) -> KillState:
    """The state after `event`. Raises IllegalTransition."""
    found = TABLE.get((state, event))
    if found is None:
        raise IllegalTransition(f"a kill switch that is {state} can't take {event}")
    return found
