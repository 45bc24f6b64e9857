"""What a check looks at: the ask, the state of the gate, and the denial it may return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import OrderRequest
from tradealgo.domain.state import KillState, TradingState

Figure = float | int | str | None


class Denial(msgspec.Struct, frozen=True):
    """A check's no: a stable code, one sentence, and the figures behind it."""

    code: str
    text: str
    figures: Mapping[str, Figure] = {}


class Submit(msgspec.Struct, frozen=True):
    """The gate's yes: how much, at which limit price, in which slices; the last price and the position behind it."""

    quantity: int
    price: float
    slices: tuple[int, ...]
    last: float
    held: int


class Deny(msgspec.Struct, frozen=True):
    denial: Denial


class Terms(NamedTuple):
    """What a session's manifest fixes, beside its limits. Capital in rupees; `speed` is data seconds a wall second; `day` the
    only Indian day (days since 1970) on which it enters positions, 0 for any.
    """

    session_id: str
    account: str
    capital: float
    speed: float = 1.0
    day: int = 0


class GateState(msgspec.Struct):
    """What checks may know of the gate, as of now. `mtm` and `loss_line` in paise."""

    terms: Terms
    trading: TradingState = TradingState.ACTIVE
    kill: KillState = KillState.ARMED
    reason: str = ""
    mtm: int = 0
    loss_line: int = 0
    breaker_passes: bool = True
    breaker_failures: int = 0
    calls_today: int = 0
    lease_held: bool = True
    seen: dict[str, OrderRequest] = {}


class Proposal(msgspec.Struct, gc=False):
    """A request on its way through the checks, and what those before have found out: the instrument, our own position in
    it in signed units, the quantity as cut down, the last price and the limit price in rupees, the slices.
    """

    request: OrderRequest
    quantity: int
    instrument: Instrument = None  # type: ignore[assignment]  # none gets past the check `instrument` without
    held: int = 0
    last: float = 0.0
    price: float = 0.0
    slices: tuple[int, ...] = ()
    exits: bool = False  # only lowers risk: entry checks don't apply
