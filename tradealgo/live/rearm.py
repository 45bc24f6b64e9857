"""Trading again after a kill, a halt or REDUCING, as a person asks for it; and what came of that, in words."""

from __future__ import annotations

import time

from tradealgo.domain.errors import TradeAlgoError
from tradealgo.domain.state import KillState, SessionState, TradingState
from tradealgo.live.session import LiveSession

ANSWER_S = 10.0
#: How long trading is waited for; what a person can't lift (a dead login, say) stays.
ACTIVE_S = 5.0


def trade_again(session: LiveSession, reason: str, *, source: str, force: bool = False) -> str:
    """Re-arm a kill that is LOCKED, and resume what a person or a reconciliation has halted; a line that says what is now.

    Raises TradeAlgoError where the Gatekeeper refuses, with its reason.
    """
    if session.is_running:
        session.wait(until=lambda s: s.state is not None, timeout_s=ANSWER_S)
    if not session.is_running or (now := _state(session)).kill is not KillState.ARMED:
        _rearm(session, reason, source, force)
    elif now.trading is TradingState.ACTIVE:
        return f"{session.id}: nothing to re-arm, it is ARMED and trading is ACTIVE"
    if _state(session).trading is not TradingState.ACTIVE:
        _resume(session, reason, source)
    now = _state(session)
    why = "" if now.trading is TradingState.ACTIVE else f": {now.reason}"
    return f"{session.id}: ARMED, trading {now.trading}{why}"


def _rearm(session: LiveSession, reason: str, source: str, force: bool) -> None:
    asked = time.time_ns()
    session.rearm(reason, source=source, force=force)

    def refusal(s: LiveSession) -> str:
        return next((a.text for a in s.alerts if a.code.startswith("REARM:") and a.ts >= asked), "")

    session.wait(until=lambda s: _state(s).kill is KillState.ARMED or refusal(s), timeout_s=ANSWER_S)
    if said := refusal(session):
        raise TradeAlgoError(f"session {session.id}: {said}")


def _resume(session: LiveSession, reason: str, source: str) -> None:
    session.resume(reason, source=source)
    deadline = time.monotonic() + ACTIVE_S
    while _state(session).trading is not TradingState.ACTIVE and time.monotonic() < deadline:
        time.sleep(0.05)


def _state(session: LiveSession) -> SessionState:
    state = session.state
    if state is None:
        raise TradeAlgoError(f"session {session.id} has said nothing yet: is its bus there? See `tradealgo status`")
    return state
