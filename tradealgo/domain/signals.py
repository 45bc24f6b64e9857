"""A signal is a target, not an event: hearing it twice changes nothing."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Signal(NamedTuple):
    """Where a strategy wants to be. `target` is -1, 0 or 1; `stop` a price in rupees, nan for none."""

    target: int
    stop: float = float("nan")
    reason: str = ""


LONG = Signal(1)
FLAT = Signal(0)
SHORT = Signal(-1)


class SignalRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A signal on the bus: what a strategy said when the candle that began at `start` closed."""

    instrument_token: int
    start: int
    target: int
    stop: float
    reason: str
    close: float
    ts_init: int
    ts_signalled: int
