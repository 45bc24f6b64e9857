"""What a backtest's figures leave out or take for granted: sentences to warn with, from its orders and candles."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.hours import (
    DAY_NS,
    EPOCH,
    IST_OFFSET_NS,
    OPEN,
    SPECIAL_SESSIONS,
    ist_date,
    ist_text,
    market_hours,
)
from tradealgo.domain.instruments import FREEZE_QUANTITIES, MAX_SLICES, Kind
from tradealgo.domain.shown import many
from tradealgo.research.simulate import SCHEDULED, quantity_at

if TYPE_CHECKING:
    from tradealgo.research.backtest import InstrumentRun

#: Time of day (ns, IST) of the open, and of the latest close of any instrument.
_OPENS = (OPEN.hour * 60 + OPEN.minute) * 60 * SECOND_NS
_CLOSES = (15 * 60 + 40) * 60 * SECOND_NS


def cautions(runs: Iterable[InstrumentRun], intraday: bool) -> Iterator[str]:
    """One sentence a kind of fault and instrument."""
    for run in runs:
        if intraday and (strange := outside_hours(run)):
            yield strange
        if too_small(run):
            yield (
                f"{run.instrument.key} is never traded: the sizing doesn't reach one lot of {run.instrument.lot_size} units at "
                "any close; give more capital, or Sizing(lots=1)"
            )
        most = MAX_SLICES * FREEZE_QUANTITIES.get(run.instrument.name, 0) if run.instrument.is_derivative else 0
        if most and len(run.orders) and (largest := int(np.abs(run.orders["quantity"]).max())) > most:
            yield (
                f"{run.instrument.key} has an order of {largest:,} units, and a session sends at most {most:,} at once "
                f"({MAX_SLICES} slices): give a smaller sizing"
            )
        nights, short = over_night(run)
        if nights and intraday:
            yield (
                f"{run.instrument.key} was held over {_days(nights)} in an intraday backtest: such a day has no candle after "
                "its square-off, so that nothing closed the position; give candles up to the close, or intraday=False"
            )
        elif nights and run.instrument.kind is Kind.EQUITY:
            if short:
                yield (
                    f"{run.instrument.key} was sold short over {_days(nights)}, and NSE's cash market lets no short share "
                    "stand over night: trade its future"
                )
            elif run.costs.kind == SCHEDULED:
                yield (
                    f"{run.instrument.key} was held over night with the charges of intraday trades: delivery pays STT of "
                    "0.1 % on both sides and stamp duty of 0.015 %, in all about 0.22 % a round trip and Rs 15.34 a sale; "
                    "charges=0.0011 comes near to it (the event engine takes no other charges)"
                )
        if run.instrument.expiry is not None and (expired := _expired(run, run.instrument.expiry)):
            yield expired


def too_small(run: InstrumentRun) -> bool:
    """Whether targets were asked for and none could be a lot. A basket sizes its own."""
    if len(run.orders) or not run.signals.targets.any():
        return False
    return quantity_at(run.data.close.min(), run.size) == 0


def over_night(run: InstrumentRun) -> tuple[list[int], bool]:
    """The last candles' starts (UTC ns) of days over whose end units were held; and whether any were sold short."""
    if not len(run.orders) or len(run.data.days) < 2:
        return [], False
    held = np.zeros(len(run.orders) + 1, np.int64)  # after so many orders
    run.orders["quantity"].cumsum(out=held[1:])
    nights = run.data.days[1:]  # the first candle of each day but the first
    carried = held[run.orders["fill"].searchsorted(nights)]
    if not carried.any():
        return [], False
    ends = run.data.start[nights[carried != 0] - 1].tolist()
    return ends, bool((carried < 0).any())


def outside_hours(run: InstrumentRun) -> str:
    """A sentence if a candle lies outside every instrument's trading hours; a day's first and last tell."""
    start, days, width = run.data.start, run.data.days, run.data.interval * SECOND_NS
    firsts, lasts = start[days], start[np.concatenate((days[1:], (len(start),))) - 1]
    early = (firsts + IST_OFFSET_NS) % DAY_NS <= _OPENS - width
    late = (lasts + IST_OFFSET_NS) % DAY_NS >= _CLOSES
    if not (early.any() or late.any()):
        return ""
    for day in np.flatnonzero(early | late).tolist():
        hours = market_hours(run.instrument, ist_date(firsts.item(day)))
        inside = hours.day in SPECIAL_SESSIONS and hours.open <= firsts[day] and lasts[day] < hours.close
        if not inside:
            odd = firsts.item(day) if early[day] else lasts.item(day)
            return (
                f"{run.instrument.key} has candles outside trading hours, as on {ist_text(odd, '%Y-%m-%d at %H:%M')} IST: times "
                "without a zone are taken for Indian ones; tz_localize('UTC') says otherwise, and read_candles drops such rows"
            )
    return ""


def _expired(run: InstrumentRun, expiry: dt.date) -> str:
    last = EPOCH + (run.data.start.item(run.data.size - 1) + IST_OFFSET_NS) // DAY_NS
    key = f"{run.instrument.key} expired on {expiry}"
    if last > expiry.toordinal():
        return f"{key} and has candles up to {dt.date.fromordinal(last)}: a contract ends on its day; leave out what follows"
    if last == expiry.toordinal() and run.orders["quantity"].sum():
        return (
            f"{key} with a position still open: it is valued at the last close, without the settlement and its charges"
        )
    return ""


def _days(days: list[int]) -> str:
    return f"the end of {ist_date(days[0])}" + (f" and of {many(len(days) - 1, 'more day')}" if len(days) > 1 else "")
