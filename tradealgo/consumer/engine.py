"""The strategy engine of a session: closed candles in; signals, order requests and alerts out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from tradealgo.config import Manifest, Mode
from tradealgo.consumer.overdue import Overdue, overdue_alert
from tradealgo.consumer.requests import RequestMaker
from tradealgo.domain.candles import Candle, ClosedCandle
from tradealgo.domain.errors import StrategyError
from tradealgo.domain.hours import ist_text
from tradealgo.domain.instruments import Instrument, InstrumentBook
from tradealgo.domain.orders import OrderRequest
from tradealgo.domain.shown import many
from tradealgo.domain.signals import Signal, SignalRecord
from tradealgo.domain.state import Alert, Level, Module
from tradealgo.strategies.base import Strategy
from tradealgo.strategies.runner import Runner

#: Candles named in one alert; the others are counted.
NAMED = 5


class EngineOutput(msgspec.Struct, frozen=True):
    """What one closing of candles gave rise to, in the order to publish."""

    signals: list[SignalRecord]
    requests: list[OrderRequest]
    alerts: list[Alert]


class StrategyEngine:
    """One strategy instance an instrument of the manifest. A restart rebuilds it with `replay`.

    A strategy that raises, or returns what is no signal, stops for that instrument alone: a held position gets an exit
    request, the others trade on, and one alert says what happened.
    """

    def __init__(self, manifest: Manifest, strategy_class: type[Strategy], instruments: Iterable[Instrument]) -> None:
        book = InstrumentBook(instruments)
        strategy = strategy_class(**manifest.parameters)
        traded = [book.find(key) for key in manifest.instruments]
        self._runners = {i.instrument_token: Runner(strategy, i, manifest.interval) for i in traded}
        self._maker = RequestMaker(
            manifest.session_id, strategy_class.__name__, manifest.sizing, manifest.capital, strategy
        )
        self._overdue = Overdue(traded, manifest.interval)
        self._last: dict[int, ClosedCandle] = {}  # heard, by instrument token
        self._hears_from, self._live = manifest.hears_from, manifest.mode is Mode.LIVE
        self.stopped: dict[int, str] = {}  # why, by instrument token
        self._too_small: set[int] = set()  # tokens of which the sizing buys nothing

    def warm_up(self, candles: Mapping[str, np.ndarray]) -> None:
        """Hear candles of before the session (`CANDLE` by instrument's key): nothing comes of them. Raises StrategyError."""
        for runner in self._runners.values():
            rows = candles.get(runner.instrument.key)
            if rows is not None:
                runner.warm_up([*map(Candle._make, rows.tolist())])

    def is_due(self, watermark: int) -> bool:
        """Whether time alone asks for something: candles are heard as they close, but a square-off doesn't wait for one."""
        return watermark >= self._overdue.next

    def on_candles(self, closed: Iterable[ClosedCandle], ts: int, watermark: int = 0) -> EngineOutput:
        """Hear candles that closed together.

        Args:
            ts: wall-clock UTC nanoseconds; stamps what comes of them.
            watermark: event time before which nothing is folded any more.
        """
        out = EngineOutput([], [], [])
        partial: list[ClosedCandle] = []
        for candle in closed:
            runner = self._runners.get(candle.instrument_token)
            if runner is None or candle.instrument_token in self.stopped or candle.start < self._hears_from:
                continue
            if candle.partial and self._live:
                partial.append(candle)
                continue
            self._last[candle.instrument_token] = candle
            try:
                signal = runner.on_candle(candle.candle)
            except StrategyError as error:
                self._stop(runner.instrument, candle, str(error), ts, out)
            else:
                record = signal_record(signal, candle, ts)
                out.signals.append(record)
                out.requests.extend(self._maker.on_signal(record, runner.instrument, candle, ts))
                if record.target and not self._maker.wanted(record.instrument_token):
                    self._tell_too_small(runner.instrument, candle, ts, out)
        if partial:
            book = {token: runner.instrument for token, runner in self._runners.items()}
            out.alerts.append(partial_alert(partial, book, ts))
        self._overdue.note(out.requests)
        if watermark >= self._overdue.next:
            self._square_off(ts, watermark, out)
        return out

    def replay(self, closed: Iterable[ClosedCandle], watermark: int = 0) -> None:
        """Hear candles again after a restart, the watermark with the last; what they gave rise to is on the bus already."""
        self.on_candles(closed, 0, watermark)

    def _square_off(self, ts: int, watermark: int, out: EngineOutput) -> None:
        """Leave what is held though the candle that should have squared it off hasn't come."""
        for instrument, start in self._overdue.taken(watermark):
            last = self._last[instrument.instrument_token]
            about = msgspec.structs.replace(last, start=start, ts_event=watermark, ts_init=ts, ts_closed=ts)
            exits = self._maker.leave(instrument, about, ts, "square-off")
            self._overdue.note(exits)
            out.requests.extend(exits)
            out.alerts.append(overdue_alert(instrument, start, ts))

    def _tell_too_small(self, instrument: Instrument, candle: ClosedCandle, ts: int, out: EngineOutput) -> None:
        """Once an instrument: else a session whose capital buys nothing of it looks like one that waits for its chance."""
        if instrument.instrument_token not in self._too_small:
            self._too_small.add(instrument.instrument_token)
            lot = f"a lot of {instrument.lot_size}" if instrument.lot_size > 1 else "one"
            text = (
                f"the strategy wants to hold {instrument.key}, but its sizing doesn't reach for {lot} at Rs {candle.close:,.2f}: "
                "nothing is traded in it; launch with more capital, fewer instruments or another sizing"
            )
            code = f"TOO_SMALL:{instrument.key}"
            out.alerts.append(Alert(level=Level.WARNING, module=Module.CONSUMER, code=code, text=text, ts=ts))

    def _stop(self, instrument: Instrument, candle: ClosedCandle, text: str, ts: int, out: EngineOutput) -> None:
        self.stopped[instrument.instrument_token] = text
        exits = self._maker.leave(instrument, candle, ts, "strategy raised")
        out.requests.extend(exits)
        what = "its position is being closed" if exits else "it holds no position"
        left = len(self._runners) - len(self.stopped)
        others = (
            f"{many(left, 'other instrument')} trade{'s' if left == 1 else ''} on"
            if left
            else "nothing is traded any more"
        )
        said = f"{text}. {instrument.key} is stopped and {what}; {others}"
        code = f"strategy_raised:{instrument.key}"  # of its own: else only the last one of several would be shown
        out.alerts.append(Alert(level=Level.CRITICAL, module=Module.CONSUMER, code=code, text=said, ts=ts))


def partial_alert(candles: list[ClosedCandle], book: Mapping[int, Instrument], ts: int) -> Alert:
    """What people are told of candles that a strategy doesn't hear: their open, extremes and volume would be no backtest's."""
    names = ", ".join(f"{book[c.instrument_token].key} {ist_text(c.start, '%H:%M')}" for c in candles[:NAMED])
    more = f" and {len(candles) - NAMED} more" if len(candles) > NAMED else ""
    text = f"the feed was away, so the strategy doesn't hear the candles of {names}{more}"
    return Alert(level=Level.WARNING, module=Module.CONSUMER, code="CANDLE_PARTIAL", text=text, ts=ts)


def signal_record(signal: Signal, closed: ClosedCandle, ts: int) -> SignalRecord:
    """A signal as it goes on the bus."""
    return SignalRecord(
        closed.instrument_token, closed.start, signal.target, signal.stop, signal.reason,
        closed.close, closed.ts_init, ts,
    )  # fmt: skip
