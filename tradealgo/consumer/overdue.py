"""Positions whose square-off candle never came. Pure.

A position is squared off by the signal of a candle, in a session as in the backtest. An instrument that nobody trades any
more has no candle, so a session leaves it by time: half-way between the end of the candle that should have done it and the
close. By then any candle that the backtest squares off by has been heard, and there is time left to trade.
"""

from __future__ import annotations

from collections.abc import Iterable

from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.hours import ist_date, ist_text, market_hours
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import OrderRequest
from tradealgo.domain.state import Alert, Level, Module

NEVER = 2**63 - 1


class Overdue:
    """By when each position should have been squared off. `interval` is the candles', in seconds."""

    def __init__(self, instruments: Iterable[Instrument], interval: int) -> None:
        self._instruments = {i.instrument_token: i for i in instruments}
        self._interval_ns = interval * SECOND_NS
        self._held: dict[int, tuple[int, int, int]] = {}  # by token: leave at, start of the candle, signed units
        self.next = NEVER  # event time, UTC nanoseconds, from which a position is overdue

    def note(self, requests: Iterable[OrderRequest]) -> None:
        """What is to be held after these requests."""
        for request in requests:
            token, units = request.instrument_token, request.position_after
            if units:
                self._held[token] = (*self._leave_at(self._instruments[token], request.start), units)
            else:
                self._held.pop(token, None)
            self.next = min((at for at, _, _ in self._held.values()), default=NEVER)

    def taken(self, watermark: int) -> list[tuple[Instrument, int]]:
        """Instruments overdue at an event time, with the start of the candle that never came; what is sold short comes
        first, so that a hedge outlives what it covers. To be asked for once `next` has come."""
        due = [(units > 0, token, start) for token, (at, start, units) in self._held.items() if at <= watermark]
        return [(self._instruments[token], start) for _, token, start in sorted(due)]

    def _leave_at(self, instrument: Instrument, start: int) -> tuple[int, int]:
        hours = market_hours(instrument, ist_date(start))
        candles = -((hours.open - hours.flat_from(self._interval_ns)) // self._interval_ns)  # rounded up
        end = hours.open + candles * self._interval_ns
        return (end + hours.close) // 2, end - self._interval_ns


def overdue_alert(instrument: Instrument, start: int, ts: int) -> Alert:
    """What people are told: nothing but the exit's order says whether somebody takes the other side."""
    text = (
        f"{instrument.key} had no candle at {ist_text(start, '%H:%M')} IST, when its square-off was due, nor since: its "
        "position is being closed by time. See that the exit trades before the close"
    )
    return Alert(level=Level.WARNING, module=Module.CONSUMER, code="square_off_by_time", text=text, ts=ts)
