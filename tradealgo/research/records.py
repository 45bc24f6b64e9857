"""A backtest's signals and order requests as the very messages that a session publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tradealgo.consumer.requests import RequestMaker
from tradealgo.domain.candles import SECOND_NS, ClosedCandle
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import OrderRequest
from tradealgo.domain.signals import SignalRecord

if TYPE_CHECKING:
    from tradealgo.research.backtest import Backtest, InstrumentRun


class Change(NamedTuple):
    """A candle that changed a target, as the Consumer publishes it (every stamp is its end), and the signal: None of a
    strategy that raised.
    """

    closed: ClosedCandle
    signal: SignalRecord | None


def signal_records(test: Backtest) -> list[SignalRecord]:
    """In the order of time, then of instruments."""
    rows = [
        (int(r.data.start[i]), n, signal_record(r, i)) for n, r in enumerate(test.runs) for i in range(r.signals.said)
    ]
    return [record for _, _, record in sorted(rows, key=lambda row: row[:2])]


def request_records(test: Backtest) -> list[OrderRequest]:
    """In the order of time, then of instruments. Only changes of target can give rise to one."""
    maker = RequestMaker(test.session_id, type(test.strategy).__name__, test.sizing, test.capital, test.strategy)
    moments = [(r.instrument, change) for r in test.runs for change in changes(r)]
    found: list[OrderRequest] = []
    for instrument, change in sorted(moments, key=lambda moment: moment[1].closed.start):
        found += asked(maker, instrument, change, change.closed.ts_closed)
    return found


def asked(maker: RequestMaker, instrument: Instrument, change: Change, ts: int) -> list[OrderRequest]:
    """What a change of target gives rise to."""
    closed, signal = change
    if signal is None:
        return maker.leave(instrument, closed, ts, "strategy raised")
    return maker.on_signal(signal, instrument, closed, ts)


def changes(run: InstrumentRun) -> list[Change]:
    """All changes of an instrument's target, in order."""
    s, data = run.signals, run.data
    token, interval, width = run.instrument.instrument_token, data.interval, data.interval * SECOND_NS
    spans = s.changed
    at = s.at[spans]
    candles = zip(*(column[at].tolist() for column in data.arrays), strict=True)
    said = zip(at.tolist(), *(values[spans].tolist() for values in (s.targets, s.stops, s.reasons)), strict=True)
    found = []
    for (start, first, high, low, last, volume, oi), (i, target, stop, reason) in zip(candles, said, strict=True):
        end = start + width
        closed = ClosedCandle(token, interval, start, first, high, low, last, volume, oi, 0, end, end, end)
        signal = None if i == s.said else SignalRecord(token, start, target, stop, s.texts[reason], last, end, end)
        found.append(Change(closed, signal))
    return found


def signal_record(run: InstrumentRun, i: int) -> SignalRecord:
    """The signal after candle `i`."""
    s, data = run.signals, run.data
    end = int(data.start[i]) + data.interval * SECOND_NS
    return SignalRecord(
        run.instrument.instrument_token, int(data.start[i]), int(s.target[i]), float(s.stop[i]),
        s.texts[int(s.reason[i])], float(data.close[i]), end, end,
    )  # fmt: skip
