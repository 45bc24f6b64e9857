"""Which protective order a position should have: the pure part of `protection`, as a table.

A position has one protective order at a time, never a stop and a target together: two orders that each close all of it
could both fill once nothing here runs to cancel the other, and turn the position round. One order that changes its
shape is the "one cancels the other" which can't fail: a stop while the price is near the entry or below it, the target
once most of the way there is done, and the stop again should the price come back.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from tradealgo.domain.instruments import Instrument
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Order, OrderRequest, Side
from tradealgo.gatekeeper.pricing import band, marketable_limit, to_tick

#: Parts of the way from the entry to the target: the target's order rests from the one on, the stop's again below the other.
NEAR_TARGET, NEAR_ENTRY = 2 / 3, 1 / 3


class Shape(StrEnum):
    """What a protective order is. The value is the order's `reason`."""

    NONE = "none"
    STOP = "protective stop"  # SL-M, for options SL with a premium band
    TARGET = "target"  # a resting limit
    LEAVE = "stop passed"  # the price is beyond the stop already: a marketable limit, chased like an exit


class Zone(StrEnum):
    """Where the last price is."""

    BEYOND = "BEYOND"  # at the stop or worse
    LOW = "LOW"  # nearer to the entry, or there is no target
    MIDDLE = "MIDDLE"
    HIGH = "HIGH"  # near the target or better, or there is no stop


_S, _Z = Shape, Zone
TABLE: dict[tuple[Shape, Zone], Shape] = {
    (_S.NONE, _Z.BEYOND): _S.LEAVE,
    (_S.NONE, _Z.LOW): _S.STOP,
    (_S.NONE, _Z.MIDDLE): _S.STOP,
    (_S.NONE, _Z.HIGH): _S.TARGET,
    #
    (_S.STOP, _Z.BEYOND): _S.STOP,  # triggered: it is chased until it has filled
    (_S.STOP, _Z.LOW): _S.STOP,
    (_S.STOP, _Z.MIDDLE): _S.STOP,
    (_S.STOP, _Z.HIGH): _S.TARGET,
    #
    (_S.TARGET, _Z.BEYOND): _S.LEAVE,
    (_S.TARGET, _Z.LOW): _S.STOP,
    (_S.TARGET, _Z.MIDDLE): _S.TARGET,
    (_S.TARGET, _Z.HIGH): _S.TARGET,
    #
    (_S.LEAVE, _Z.BEYOND): _S.LEAVE,  # once the stop was passed the position goes, wherever the price goes
    (_S.LEAVE, _Z.LOW): _S.LEAVE,
    (_S.LEAVE, _Z.MIDDLE): _S.LEAVE,
    (_S.LEAVE, _Z.HIGH): _S.LEAVE,
}


class Levels(NamedTuple):
    """A position's prices in rupees; None where it has none. `sign` is the position's."""

    sign: int
    entry: float
    stop: float | None
    target: float | None

    @property
    def any(self) -> bool:
        return self.stop is not None or self.target is not None


def levels(sign: int, entry: float, request: OrderRequest, limits: Limits) -> Levels:
    """What a position that `request` opened at `entry` is protected by: the strategy's own prices where `brackets` is on,
    else a stop at `protect_fraction`. A target on the wrong side of the entry is none.
    """
    stop = request.stop if limits.brackets else None
    if stop is None and limits.protect_fraction:
        stop = entry * (1 - sign * limits.protect_fraction)
    target = request.target if limits.brackets else None
    if target is not None and sign * (target - entry) <= 0:
        target = None
    return Levels(sign, entry, stop, target)


def zone(at: Levels, last: float) -> Zone:
    """Where a price is, seen from a position with any level."""
    if at.stop is not None and at.sign * (last - at.stop) <= 0:
        return Zone.BEYOND
    if at.target is None:
        return Zone.LOW
    done = (last - at.entry) / (at.target - at.entry)
    if at.stop is None or done >= NEAR_TARGET:
        return Zone.HIGH
    return Zone.MIDDLE if done > NEAR_ENTRY else Zone.LOW


def shape_of(order: Order) -> Shape:
    """The shape of a protective order."""
    return Shape(order.reason)


def is_due(order: Order, last: float) -> bool:
    """Whether a protective order should have filled by now at this last price: then it is chased as an exit is."""
    shape = shape_of(order)
    return shape is Shape.LEAVE or (shape is Shape.STOP and order.side.sign * (last - order.trigger) >= 0 and last > 0)


def prices(
    shape: Shape, at: Levels, instrument: Instrument, side: Side, last: float, slippage: float
) -> tuple[float, float]:
    """Limit and trigger in rupees, on ticks, of an order of this shape; 0.0 for none.

    A stop without a limit is an SL-M, which the broker protects by its own band. NSE takes none for options: theirs has
    a limit one premium band beyond the trigger.
    """
    tick = instrument.tick_size
    if shape is Shape.TARGET and at.target is not None:
        return to_tick(at.target, tick, side), 0.0
    if shape is Shape.STOP and at.stop is not None:
        trigger = to_tick(at.stop, tick, side)
        limit = to_tick(trigger * (1 + side.sign * band(instrument, trigger)), tick, side)
        return (limit if instrument.is_option else 0.0), trigger
    return marketable_limit(instrument, side, last, slippage), 0.0
