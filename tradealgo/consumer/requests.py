"""From signals to order requests: pure, and the only place where requests are made, for the backtest as for live."""

from __future__ import annotations

import math

from tradealgo.domain.candles import ClosedCandle
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import Intent, OrderRequest, Side, request_id
from tradealgo.domain.signals import SignalRecord
from tradealgo.domain.sizing import Sizing
from tradealgo.strategies.base import Strategy

EXIT_LEG, ENTRY_LEG = "x", "e"
NO_LEVELS = (None, None)
#: Read often: before Python 3.12 to look up an enum's member takes as long as a call.
BUY, SELL, EXIT, ENTRY = Side.BUY, Side.SELL, Intent.EXIT, Intent.ENTRY


class RequestMaker:
    """Turns each instrument's changes of target into sized requests. Capital in rupees.

    A target heard twice changes nothing: a position keeps the size it was entered with. A turn from long to short is
    two requests, the exit first, because an exit must never wait behind an entry's checks.
    """

    def __init__(
        self, session_id: str, strategy_name: str, sizing: Sizing, capital: float, exits: Strategy | None = None
    ) -> None:
        self._session_id = session_id
        self._strategy_name = strategy_name
        self._sizing = sizing
        self._capital = capital
        self._exits = exits  # whose stop-loss and take-profit an entry's stop and target come from
        self._targets: dict[int, int] = {}
        self._requested: dict[int, int] = {}  # signed units, by instrument token

    def on_signal(
        self, record: SignalRecord, instrument: Instrument, closed: ClosedCandle, ts: int
    ) -> list[OrderRequest]:
        """The requests that a signal gives rise to: none, an exit, an entry, or both. `ts` stamps them."""
        token = instrument.instrument_token
        if record.target == self._targets.get(token, 0):
            return []
        self._targets[token] = record.target
        requests = []
        if self._requested.get(token):
            requests += self._exit(instrument, closed, ts, record.reason, record.ts_signalled)
        if record.target:
            requests += self._entry(record, instrument, closed, ts)
        return requests

    def wanted(self, instrument_token: int) -> int:
        """Signed units of the last request's target; 0 too where the sizing buys not one."""
        return self._requested.get(instrument_token, 0)

    def toward(
        self, instrument: Instrument, units: int, record: SignalRecord, closed: ClosedCandle, ts: int
    ) -> list[OrderRequest]:
        """The requests that lead a basket's instrument to signed `units`: an exit for what is given up, an entry for what is
        added, both where the side turns."""
        held = self._requested.get(instrument.instrument_token, 0)
        stays = min(abs(held), abs(units)) * (1 if units > 0 else -1) if held * units > 0 else 0
        said, requests = record.ts_signalled, []
        if stays != held:
            left = stays - held
            requests.append(
                self._request(EXIT_LEG, instrument, closed, left, stays, NO_LEVELS, record.reason, said, ts)
            )
        if units != stays:
            more, levels = units - stays, self._levels(record, closed.close)
            requests.append(self._request(ENTRY_LEG, instrument, closed, more, units, levels, record.reason, said, ts))
        return requests

    def leave(self, instrument: Instrument, closed: ClosedCandle, ts: int, reason: str) -> list[OrderRequest]:
        """An exit without a signal, for an instrument whose strategy has failed; none if nothing is held."""
        self._targets[instrument.instrument_token] = 0
        return self._exit(instrument, closed, ts, reason, ts)

    def _exit(
        self, instrument: Instrument, closed: ClosedCandle, ts: int, reason: str, ts_signalled: int
    ) -> list[OrderRequest]:
        held = self._requested.get(instrument.instrument_token, 0)
        if not held:
            return []
        return [self._request(EXIT_LEG, instrument, closed, -held, 0, NO_LEVELS, reason, ts_signalled, ts)]

    def _entry(self, record: SignalRecord, instrument: Instrument, closed: ClosedCandle, ts: int) -> list[OrderRequest]:
        quantity = self._sizing.quantity(closed.close, self._capital, instrument.lot_size)
        if not quantity:
            return []
        change, levels = record.target * quantity, self._levels(record, closed.close)
        return [
            self._request(
                ENTRY_LEG, instrument, closed, change, change, levels, record.reason, record.ts_signalled, ts
            )
        ]  # fmt: skip

    def _levels(self, record: SignalRecord, close: float) -> tuple[float | None, float | None]:
        """An entry's stop, the nearest of the strategy's own and its contract's, and its target; rupees."""
        stops = [] if math.isnan(record.stop) else [record.stop]
        if self._exits is None:
            return (stops[0] if stops else None), None
        stops += [close * (1 - record.target * f) for f in (self._exits.stop_loss, self._exits.trailing_stop) if f]
        gain = self._exits.take_profit
        nearest = (max(stops) if record.target > 0 else min(stops)) if stops else None
        return nearest, close * (1 + record.target * gain) if gain else None

    def _request(
        self, leg: str, instrument: Instrument, closed: ClosedCandle, change: int, after: int,
        levels: tuple[float | None, float | None], reason: str, ts_signalled: int, ts: int,
    ) -> OrderRequest:  # fmt: skip
        token, start = instrument.instrument_token, closed.start
        self._requested[token] = after
        return OrderRequest(
            request_id=request_id(self._session_id, token, start, leg),
            session_id=self._session_id,
            strategy=self._strategy_name,
            instrument_token=token,
            instrument=instrument.key,
            side=BUY if change > 0 else SELL,
            quantity=abs(change),
            position_after=after,
            reference_price=closed.close,
            intent=EXIT if leg == EXIT_LEG else ENTRY,
            start=start,
            stop=levels[0],
            target=levels[1],
            reason=reason,
            ts_event=closed.ts_event,
            ts_init=closed.ts_init,
            ts_closed=closed.ts_closed,
            ts_signalled=ts_signalled,
            ts_requested=ts,
        )
