"""From a signal's target to units: the same arithmetic in backtest and live, on the candle's close alone."""

from __future__ import annotations

import math

import msgspec


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """How much one instrument's target of +-1 means. Exactly one of `units`, `lots` and `fraction` is set.

    `fraction` is of the session's capital, at the candle's close, rounded down to whole lots. Capital is the sum given
    at launch, not the running equity, so that a size depends on one candle and nothing else.
    """

    units: int | None = None
    lots: int | None = None
    fraction: float | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.units, self.lots, self.fraction) if v is not None]
        if len(given) != 1 or not given[0] > 0:
            raise ValueError(
                f"sizing needs one positive value of units, lots or fraction, got {self!r}: try Sizing(lots=1)"
            )
        if self.fraction is None and given[0] != int(given[0]):
            raise ValueError(f"units and lots are whole numbers, got {self!r}: nobody trades a part of one")

    def quantity(self, close: float, capital: float, lot_size: int) -> int:
        """Units to hold for a target of 1, a whole number of lots, 0 if the capital doesn't reach."""
        if self.units is not None:
            return self.units // lot_size * lot_size
        if self.lots is not None:
            return self.lots * lot_size
        return math.floor(capital * (self.fraction or 0.0) / (close * lot_size)) * lot_size
