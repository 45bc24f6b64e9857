"""What a session says of itself: trading state, kill state, MTM, heartbeats, alerts; and what people may ask of it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tradealgo.domain.shown import Shown


class TradingState(StrEnum):
    """Overrides combine strictest-wins: ACTIVE < REDUCING < HALTED."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"  # only what lowers risk
    HALTED = "HALTED"  # only cancels and exits that lower risk; once the kill has tripped, only the kill's own

    @property
    def rank(self) -> int:
        return ("ACTIVE", "REDUCING", "HALTED").index(self.value)


def strictest(*states: TradingState) -> TradingState:
    """The strictest of some states; ACTIVE of none."""
    return max(states, key=lambda s: s.rank, default=TradingState.ACTIVE)


class KillState(StrEnum):
    ARMED = "ARMED"
    TRIPPED = "TRIPPED"
    CANCELLING = "CANCELLING"
    FLATTENING = "FLATTENING"
    VERIFIED_FLAT = "VERIFIED_FLAT"
    LOCKED = "LOCKED"


class KillCause(StrEnum):
    MTM = "MTM"
    PERSON = "PERSON"
    DEAD_MAN = "DEAD_MAN"
    RECONCILIATION = "RECONCILIATION"


class Action(StrEnum):
    """What a person (desk, CLI, notebook) may ask of the Gatekeeper on the control stream."""

    KILL = "KILL"  # cancel all, flatten, verify, lock
    HALT = "HALT"  # cancel all and stop; positions stay
    RESUME = "RESUME"  # from HALTED or REDUCING by a person, back to ACTIVE
    REARM = "REARM"  # after LOCKED; needs a reason
    SETTLE = "SETTLE"  # says what became of an order whose fate is unknown; needs a reason
    ALIVE = "ALIVE"  # nothing but a sign of life for the dead-man timer
    STOP = "STOP"  # end the session: nothing new, positions as they are


class Control(Shown, msgspec.Struct, frozen=True, kw_only=True):
    """One request on the control stream. `source` is "desk", "cli", "notebook", "panel", "flag" or "telegram".

    Of a SETTLE, `order` is the order's tag or its beginning, and `found` the broker's order id; empty: it isn't there.
    """

    action: Action
    source: str
    reason: str = ""
    force: bool = False
    order: str = ""
    found: str = ""
    ts: int = 0

    def cleaned(self) -> Control:
        """The same with texts that every file and stream takes: no half of a surrogate pair, not longer than 500."""
        texts = {name: _cleaned(getattr(self, name)) for name in ("source", "reason", "order", "found")}
        return msgspec.structs.replace(self, **texts)


def _cleaned(text: str) -> str:
    return text[:500].encode("utf-8", "replace").decode()


class SessionState(Shown, msgspec.Struct, frozen=True, kw_only=True):
    """Published by the Gatekeeper at each change. `ts_tripped` and `ts_flat` are wall-clock UTC nanoseconds."""

    trading: TradingState
    kill: KillState
    cause: KillCause | None = None
    reason: str = ""
    ts_tripped: int = 0
    ts_flat: int = 0
    ts: int = 0


class MtmPoint(Shown, msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The session's figures at one moment, in paise. `limit` is the (negative) MTM at which the kill trips."""

    PAISE = frozenset({"realised", "unrealised", "charges", "mtm", "drawdown", "limit"})

    ts_event: int
    ts: int
    realised: int
    unrealised: int
    charges: int
    mtm: int
    drawdown: int
    limit: int


class Module(StrEnum):
    SENTINEL = "sentinel"
    PRODUCER = "producer"
    CONSUMER = "consumer"
    GATEKEEPER = "gatekeeper"
    RECORDER = "recorder"
    MONITOR = "monitor"
    EXCHANGE = "exchange"
    BUS = "bus"


class Beat(Shown, msgspec.Struct, frozen=True, kw_only=True):
    """A module's heartbeat, at least once a second. `state` is the module's own word; `figures` its numbers.

    `ts_event` is the latest exchange time that the module has seen (0: none yet).
    """

    module: Module
    pid: int
    ts: int
    state: str
    ts_event: int = 0
    figures: dict[str, float | int | str] = {}


class Level(StrEnum):
    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class Alert(Shown, msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should see. `code` is stable, for deduplication; `resolved` ends an earlier one."""

    level: Level
    module: Module
    code: str
    text: str
    ts: int
    resolved: bool = False
