"""The basket engine of a session: candles gathered into minutes; signals, order requests and alerts out. Pure.

A minute is heard once it is whole: every instrument that trades then has closed its candle, or the builder's watermark
has passed its end, after which no tick can change it. Either is a fact of the ticks alone, so the same ticks give the same
minutes however they are cut into frames, and a restarted Consumer finds from the published candles and the restored
builder which were heard.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from tradealgo.config import Manifest, Mode
from tradealgo.consumer.engine import EngineOutput, partial_alert
from tradealgo.consumer.overdue import Overdue, overdue_alert
from tradealgo.consumer.requests import RequestMaker
from tradealgo.domain.candles import SECOND_NS, Candle, ClosedCandle
from tradealgo.domain.errors import StrategyError
from tradealgo.domain.hours import MarketHours, ist_date, market_hours
from tradealgo.domain.instruments import Instrument, InstrumentBook
from tradealgo.domain.orders import Intent, OrderRequest
from tradealgo.domain.signals import SignalRecord
from tradealgo.domain.state import Alert, Level, Module
from tradealgo.strategies.basket import BasketStrategy
from tradealgo.strategies.basket_runner import BasketRunner, Decision

#: A watermark that is past everything: of candles of the past, among which no time passes.
PAST_ALL = 2**63 - 1


class BasketEngine:
    """One basket over the manifest's instruments. A restart rebuilds it with `replay`.

    A basket that raises, or returns what are no targets, stops: what it holds gets exit requests, and one alert says what
    happened.
    """

    def __init__(
        self, manifest: Manifest, strategy_class: type[BasketStrategy], instruments: Iterable[Instrument],
        *, intraday: bool = True,
    ) -> None:  # fmt: skip
        book = InstrumentBook(instruments)
        self._watched = {i.instrument_token: i for i in map(book.find, manifest.instruments)}
        self._interval, self._interval_ns = manifest.interval, manifest.interval * SECOND_NS
        self._day = dt.date.min
        self._hours: list[MarketHours] = []
        strategy = strategy_class(**manifest.parameters)
        self._runner = BasketRunner(
            strategy, self._watched.values(), manifest.interval, manifest.capital,
            intraday=intraday,
        )  # fmt: skip
        self._maker = RequestMaker(
            manifest.session_id, strategy_class.__name__, manifest.sizing, manifest.capital, strategy
        )
        self._overdue = Overdue(self._watched.values(), manifest.interval)
        self._last: ClosedCandle | None = None  # of the last minute heard
        self._gathered: dict[int, dict[int, ClosedCandle]] = {}  # by start, then by token
        self._hears_from, self._live = manifest.hears_from, manifest.mode is Mode.LIVE
        self.stopped: dict[int, str] = {}  # why, by instrument token

    def warm_up(self, candles: Mapping[str, np.ndarray]) -> None:
        """Hear candles of before the session (`CANDLE` by instrument's key): nothing comes of them. Raises StrategyError."""
        minutes: dict[int, dict[int, Candle]] = {}
        for token, instrument in sorted(self._watched.items()):
            if (rows := candles.get(instrument.key)) is not None:
                for candle in map(Candle._make, rows.tolist()):
                    minutes.setdefault(candle.start, {})[token] = candle
        for start in sorted(minutes):
            self._runner.on_candles(start, minutes[start])
        self._runner.begin_flat()

    def is_due(self, watermark: int) -> bool:
        """Whether time alone, without a candle that closes now, lets a minute be heard or a position be overdue."""
        return (bool(self._gathered) and watermark >= min(self._gathered) + self._interval_ns) or (
            PAST_ALL > watermark >= self._overdue.next
        )

    def on_candles(self, closed: Iterable[ClosedCandle], ts: int, watermark: int) -> EngineOutput:
        """Gather closed candles, and hear the minutes that are whole.

        Args:
            ts: wall-clock UTC nanoseconds; stamps what comes of them.
            watermark: event time before which nothing is folded any more.
        """
        partial: list[ClosedCandle] = []
        for candle in closed:
            watched = candle.instrument_token in self._watched and candle.start >= self._hears_from
            if watched and candle.interval == self._interval and candle.partial and self._live:
                partial.append(candle)
            elif watched and candle.interval == self._interval:
                self._gathered.setdefault(candle.start, {})[candle.instrument_token] = candle
        out = EngineOutput([], [], [partial_alert(partial, self._watched, ts)] if partial else [])
        while self._gathered and self._is_whole(start := min(self._gathered), watermark):
            minute = self._gathered.pop(start)
            if not self.stopped:
                self._hear(start, minute, ts, out)
        self._overdue.note(out.requests)
        if PAST_ALL > watermark >= self._overdue.next:
            self._square_off(ts, watermark, out)
        return out

    def replay(self, closed: Iterable[ClosedCandle], watermark: int = 0) -> None:
        """Hear candles again after a restart, the watermark with the last; what they gave rise to is on the bus already."""
        self.on_candles(closed, 0, watermark)

    def _is_whole(self, start: int, watermark: int) -> bool:
        if watermark >= start + self._interval_ns:
            return True
        day = ist_date(start)
        if day != self._day:
            self._day, self._hours = day, [market_hours(i, day) for i in self._watched.values()]
        return len(self._gathered[start]) == sum(h.open <= start < h.close for h in self._hours)

    def _square_off(self, ts: int, watermark: int, out: EngineOutput) -> None:
        """Leave what is held though not one minute that should have squared it off has come."""
        assert self._last is not None
        for instrument, start in self._overdue.taken(watermark):
            about = msgspec.structs.replace(
                self._last, instrument_token=instrument.instrument_token, close=self._runner.book.price(instrument),
                start=start, ts_event=watermark, ts_init=ts, ts_closed=ts,
            )  # fmt: skip
            exits = self._maker.leave(instrument, about, ts, "square-off")
            self._overdue.note(exits)
            out.requests.extend(exits)
            out.alerts.append(overdue_alert(instrument, start, ts))

    def _hear(self, start: int, minute: dict[int, ClosedCandle], ts: int, out: EngineOutput) -> None:
        last = self._last = max(minute.values(), key=lambda c: c.ts_event)
        candles = {token: minute[token].candle for token in sorted(minute)}
        try:
            decisions = self._runner.on_candles(start, candles)
        except StrategyError as error:
            self._stop(str(error), last, ts, out)
            return
        begun = len(out.requests)
        groups: dict[str, str] = {}
        for d in decisions:
            closed = self._as_closed(d, last)
            record = SignalRecord(
                closed.instrument_token, start, d.signal.target, d.signal.stop, d.signal.reason, d.price,
                closed.ts_init, ts,
            )  # fmt: skip
            out.signals.append(record)
            asked = self._maker.toward(d.instrument, d.units, record, closed, ts)
            groups |= {r.request_id: d.group for r in asked if r.intent is Intent.ENTRY and d.group}
            out.requests.extend(asked)
        out.requests[begun:] = _grouped(out.requests[begun:], groups)

    def _as_closed(self, decision: Decision, last: ClosedCandle) -> ClosedCandle:
        """What a request of this minute is about: also of an instrument that was silent in it."""
        return msgspec.structs.replace(
            last, instrument_token=decision.instrument.instrument_token, close=decision.price
        )

    def _stop(self, text: str, last: ClosedCandle, ts: int, out: EngineOutput) -> None:
        self.stopped = dict.fromkeys(self._watched, text)
        held = sorted(self._runner.book.held, key=lambda i: self._runner.book.units(i) > 0)
        for instrument in held:
            price = self._runner.book.price(instrument)
            closed = msgspec.structs.replace(last, instrument_token=instrument.instrument_token, close=price)
            out.requests.extend(self._maker.leave(instrument, closed, ts, "strategy raised"))
        what = f"its {len(held)} positions are being closed" if held else "it holds nothing"
        said = f"{text}. The basket is stopped and {what}"
        out.alerts.append(Alert(level=Level.CRITICAL, module=Module.CONSUMER, code="strategy_raised", text=said, ts=ts))


def _grouped(requests: list[OrderRequest], groups: dict[str, str]) -> list[OrderRequest]:
    """The requests with the groups of their entries; an entry alone needs none."""
    sizes = Counter(groups.values())
    return [
        msgspec.structs.replace(r, group=f"{r.start}:{name}", group_size=sizes[name])
        if (name := groups.get(r.request_id, "")) and sizes[name] > 1
        else r
        for r in requests
    ]
