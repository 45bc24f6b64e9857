"""Orders beyond the freeze quantity go in slices, at most ten."""

from __future__ import annotations

from tradealgo.domain.instruments import FREEZE_QUANTITIES, MAX_SLICES, Instrument
from tradealgo.domain.limits import Limits
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.situation import Denial, GateState, Proposal


def largest_order(instrument: Instrument) -> int | None:
    """Units that one order may have, whole lots; None where the exchange sets no limit that matters."""
    freeze = FREEZE_QUANTITIES.get(instrument.name)
    if freeze is None or not instrument.is_derivative:
        return None
    return freeze // instrument.lot_size * instrument.lot_size


def slice_up(quantity: int, largest: int | None) -> tuple[int, ...]:
    """Full slices first."""
    if not largest or quantity <= largest:
        return (quantity,)
    full, rest = divmod(quantity, largest)
    return (largest,) * full + ((rest,) if rest else ())


def check(proposal: Proposal, book: Book, limits: Limits, state: GateState, now: int) -> Denial | None:
    """More than ten slices can't be had."""
    proposal.slices = slice_up(proposal.quantity, largest_order(proposal.instrument))
    count = len(proposal.slices)
    if count > MAX_SLICES:
        return Denial(
            "TOO_MANY_SLICES",
            f"{proposal.quantity} units of {proposal.instrument.key} are {count} slices: at most {MAX_SLICES} may go",
            {"quantity": proposal.quantity, "slices": count, "largest": largest_order(proposal.instrument)},
        )
    return None
