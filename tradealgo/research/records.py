"""A backtest's signals and order requests as the very messages that a session publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tradealgo.consumer.requests import RequestMaker
from tradealgo.domain.candles import SECOND_NS, ClosedCandle
from tradealgo.domain.orders import OrderRequest
from tradealgo.domain.signals import SignalRecord

if TYPE_CHECKING:
    from tradealgo.research.backtest import Backtest, InstrumentRun


def signal_records(test: Backtest) -> list[SignalRecord]:
    """In the order of time, then of instruments."""
    rows = [
        (int(r.data.start[i]), n, signal_record(r, i)) for n, r in enumerate(test.runs) for i in range(r.signals.said)
    ]
    return [record for _, _, record in sorted(rows, key=lambda row: row[:2])]


def request_records(test: Backtest) -> list[OrderRequest]:
    """In the order of time, then of instruments. Only changes of target can give rise to one."""
    maker = RequestMaker(test.session_id, type(test.strategy).__name__, test.sizing, test.capital, test.strategy)
    moments = [(int(r.data.start[i]), n, i) for n, r in enumerate(test.runs) for i in r.signals.changes]
    found: list[OrderRequest] = []
    for _, n, i in sorted(moments):
        run = test.runs[n]
        closed = closed_candle(run, i)
        if i == run.signals.said:
            found += maker.leave(run.instrument, closed, closed.ts_closed, "strategy raised")
        else:
            found += maker.on_signal(signal_record(run, i), run.instrument, closed, closed.ts_closed)
    return found


def signal_record(run: InstrumentRun, i: int) -> SignalRecord:
    """The signal after candle `i`."""
    s, data = run.signals, run.data
    end = int(data.start[i]) + data.interval * SECOND_NS
    return SignalRecord(
        run.instrument.instrument_token, int(data.start[i]), int(s.target[i]), float(s.stop[i]),
        s.texts[int(s.reason[i])], float(data.close[i]), end, end,
    )  # fmt: skip


def closed_candle(run: InstrumentRun, i: int) -> ClosedCandle:
    """Candle `i` as the Consumer publishes one; every stamp is its end."""
    data = run.data
    start = int(data.start[i])
    end = start + data.interval * SECOND_NS
    candle = data.candle(i)
    return ClosedCandle(
        run.instrument.instrument_token, data.interval, start, candle.open, candle.high, candle.low, candle.close,
        candle.volume, candle.oi, 0, end, end, end,
    )  # fmt: skip
