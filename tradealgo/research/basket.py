"""Baskets in the event backtest: the Consumer's own engine over candles, and its requests through the Gatekeeper's core.

    basket = Hybrid()
    test = backtest(basket, basket_candles(basket, "2026-11-20", seed=1), engine="event")

Signals and requests come of candles alone, so they are made before the driver plays the market. A minute is heard when it
has ended, so what it asks for meets the market at the next minute's open, or, of a day's last minute, at its close.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from tradealgo.config import Manifest, Market, Mode
from tradealgo.consumer.basket_engine import PAST_ALL, BasketEngine
from tradealgo.consumer.requests import RequestMaker
from tradealgo.domain.candles import SECOND_NS, ClosedCandle
from tradealgo.domain.errors import BadCandles
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, OrderRequest
from tradealgo.domain.signals import SignalRecord
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Alert
from tradealgo.gatekeeper.situation import Terms
from tradealgo.research import tables
from tradealgo.research.backtest import InstrumentRun
from tradealgo.research.columns import Columns, columns
from tradealgo.research.event import EventBacktest
from tradealgo.research.event_driver import Driver
from tradealgo.research.event_timeline import CLOSE, OPEN
from tradealgo.research.runs import Signals
from tradealgo.research.simulate import ORDER, costs, size
from tradealgo.research.tables import candle_array
from tradealgo.research.warm_up import First, warm_up_columns
from tradealgo.strategies import BasketStrategy

if TYPE_CHECKING:
    import pandas as pd

#: What a Manifest needs and a basket doesn't use.
UNUSED_SIZING = Sizing(lots=1)


class Heard(NamedTuple):
    """What a basket made of its candles."""

    signals: list[SignalRecord]
    requests: list[OrderRequest]
    alerts: list[Alert]


def basket_candles(
    basket: BasketStrategy, day: dt.date | str, seed: int = 1, *, days: int = 1, file: str | None = None
) -> dict[Instrument, np.ndarray]:
    """Candles of all that a basket watches, as the paper exchange plays them for Market(day, seed): `CANDLE` by instrument.

    Args:
        days: that many trading days, `day` (or the last one before it) being the last of them; each has its own chain.
        file: a market file instead of a simulated day.
    """
    from tradealgo.domain.hours import previous_trading_day

    last = dt.date.fromisoformat(str(day))
    found: dict[str, tuple[Instrument, list[np.ndarray]]] = {}
    for _ in range(days):
        last = previous_trading_day(last)
        for instrument, candles in _day(basket, Market(day=last.isoformat(), seed=seed, file=file)).items():
            found.setdefault(instrument.key, (instrument, []))[1].append(candles)
        last -= dt.timedelta(days=1)
    return {instrument: np.concatenate(parts[::-1]) for instrument, parts in found.values()}


def _day(basket: BasketStrategy, market: Market) -> dict[Instrument, np.ndarray]:
    from tradealgo.exchange.market import load_market
    from tradealgo.live.manifest import market_instruments
    from tradealgo.live.watch import paper_closes, watched

    book = market_instruments(market)
    chosen = watched(basket, None, book, dt.date.fromisoformat(market.day), paper_closes(market))
    played = load_market(market, [i.key for i in chosen])
    return {i: played.candles[i.instrument_token] for i in chosen}


def basket_backtest(
    basket: BasketStrategy, given: Mapping[Instrument, Any], capital: float, session_id: str, *,
    limits: Limits | None = None, slippage: float = 0.0, intraday: bool = True, interval: int | None = None,
    every_candle: bool = False, warm_up: Any = None,
) -> BasketBacktest:  # fmt: skip
    """Run sessions of a basket over candles by instrument; what has none is watched like the others, and never trades."""
    data, width = basket_columns(given, interval)
    begins = min(d.start.item(0) for d in data.values())
    earlier = warm_up_columns(warm_up, dict.fromkeys(given, First(begins, width)))
    heard = hear(basket, data, capital, session_id, width, intraday=intraday, watched=given, warm_up=earlier)
    runs = [_run(i, d, capital, slippage) for i, d in data.items()]
    # As for strategies of one instrument: stops are judged on closed candles, and nothing rests at a broker between them
    limits = msgspec.structs.replace(limits or Limits(), protect_fraction=0.0, brackets=False)
    driver = BasketDriver(runs, heard.requests, Terms(session_id, "BACKTEST", capital), limits, slippage,
                          every_candle=every_candle)  # fmt: skip
    return BasketBacktest(basket, runs, capital, session_id, driver.run(), heard)


def basket_columns(
    given: Mapping[Instrument, Any], interval: int | None = None
) -> tuple[dict[Instrument, Columns], int]:
    """Candles as columns, by instrument, and their one interval in seconds. Raises BadCandles."""
    data = {i: columns(c, i.key, interval) for i, c in given.items() if len(c)}
    widths = {d.interval for i, d in data.items() if not i.is_option} or {d.interval for d in data.values()}
    if len(widths) != 1:
        raise BadCandles(
            f"a basket needs candles of one interval, got {sorted(widths)} s: resample them, or give interval"
        )
    width = widths.pop()
    # An option may trade every other minute at best
    return {i: d._replace(interval=width) for i, d in data.items()}, width


def hear(
    basket: BasketStrategy, data: Mapping[Instrument, Columns], capital: float, session_id: str, interval: int, *,
    intraday: bool = True, before: Callable[[int], None] | None = None,
    watched: Iterable[Instrument] = (), warm_up: Mapping[Instrument, Columns] | None = None,
) -> Heard:  # fmt: skip
    """The Consumer's engine over candles, minute by minute; `before` is told the start of each that it hears next."""
    known = list(dict.fromkeys([*watched, *data]))
    manifest = Manifest(
        session_id=session_id, mode=Mode.PAPER, account="BACKTEST", strategy="", parameters=basket.parameters,
        instruments=tuple(i.key for i in known), capital=capital, sizing=UNUSED_SIZING, interval=interval,
    )  # fmt: skip
    engine = BasketEngine(manifest, type(basket), known, intraday=intraday)
    heard = Heard([], [], [])
    if warm_up:
        engine.warm_up({i.key: candle_array(c) for i, c in warm_up.items()})
    for closed in _minutes(data, interval):
        if before is not None:
            before(closed[0].start)
        end = closed[0].ts_event
        out = engine.on_candles(closed, end, PAST_ALL)
        heard.signals.extend(out.signals)
        heard.requests.extend(out.requests)
        heard.alerts.extend(out.alerts)
    return heard


def _minutes(data: Mapping[Instrument, Columns], interval: int) -> list[list[ClosedCandle]]:
    """All candles that began together, in the order of time; every stamp is their end."""
    found: dict[int, list[ClosedCandle]] = {}
    for instrument, column in data.items():
        token = instrument.instrument_token
        for start, o, h, low, c, volume, oi in zip(*(a.tolist() for a in column.arrays), strict=True):
            end = start + interval * SECOND_NS
            closed = ClosedCandle(token, interval, start, o, h, low, c, volume, oi, 0, end, end, end)
            found.setdefault(start, []).append(closed)
    return [found[start] for start in sorted(found)]


def _run(instrument: Instrument, data: Columns, capital: float, slippage: float) -> InstrumentRun:
    """A run without signals: a basket's are about several instruments."""
    nothing = Signals(
        data.size, tuple(np.zeros(1, k) for k in (np.int64, np.int8, float, np.int64)), {0: ""}, 0, None, False
    )
    how_much = size(UNUSED_SIZING, capital, instrument.lot_size)
    return InstrumentRun(instrument, data, nothing, np.zeros(0, ORDER), how_much, costs(instrument, True, slippage))


class BasketDriver(Driver):
    """Plays requests that are made already."""

    def __init__(
        self, runs: Sequence[InstrumentRun], asked: list[OrderRequest], terms: Terms, limits: Limits, slippage: float,
        *, every_candle: bool = False,
    ) -> None:  # fmt: skip
        self._heard = asked
        maker = RequestMaker(terms.session_id, "", UNUSED_SIZING, terms.capital)  # makes nothing here
        super().__init__(runs, maker, terms, limits, slippage, every_candle=every_candle)

    def _plan(self) -> None:
        """At the open of the next row of the day, or the close of the day's last. What is left trades as its own next candle of
        the day opens: an option's last price may be of long ago, and nobody would pay it.
        """
        ends = np.array([end for _, end in self.timeline.days()])
        rows = self.timeline.rows_of(np.array([r.start for r in self._heard], np.int64))
        for request, row in zip(self._heard, rows, strict=True):
            k, end = self._column[request.instrument_token], ends[np.searchsorted(ends, row, side="right")]
            next_row = self.timeline.next_row(row, k) if request.intent is Intent.EXIT else row + 1
            self._ask_at(*((next_row, OPEN) if next_row < end else (row, CLOSE)), k, request)

    def _made(self, k: int, what: OrderRequest) -> list[OrderRequest]:
        return [msgspec.structs.replace(what, ts_signalled=self.now, ts_requested=self.now)]


class BasketBacktest(EventBacktest):
    """An event backtest of a basket: the same tables, equity and figures as any."""

    def __init__(
        self, basket: BasketStrategy, runs: list[InstrumentRun], capital: float, session_id: str, driver: Driver,
        heard: Heard,
    ) -> None:  # fmt: skip
        self._heard = heard
        super().__init__(basket, runs, capital, UNUSED_SIZING, session_id, driver)

    @property
    def max_loss_fraction(self) -> float:
        """Of capital: where the kill switch trips."""
        return self._driver.limits.max_loss_fraction

    @property
    def errors(self) -> list[str]:
        """Of a basket that raised: the sentence."""
        return [a.text for a in self._heard.alerts]

    @property
    def traded(self) -> list[InstrumentRun]:
        """The instruments that had orders."""
        return [r for r in self.runs if len(r.orders)]

    def plot(self, instrument: str | None = None) -> Any:
        """The index with the basket's orders, equity and loss line; of one instrument, its own price and orders."""
        from tradealgo.research.basket_figures import basket_figure

        return basket_figure(self) if instrument is None else super().plot(instrument)

    @property
    def signal_records(self) -> list[SignalRecord]:  # type: ignore[override]
        """One a minute and instrument that is held, or was left in it: what a session publishes."""
        return self._heard.signals

    @property
    def request_records(self) -> list[OrderRequest]:  # type: ignore[override]
        """What was asked for, in the order of asking."""
        return self._heard.requests

    @cached_property
    def signals(self) -> pd.DataFrame:
        """instrument, target, stop, reason, close, by the candles' start."""
        import pandas as pd

        keys = {i.instrument_token: i.key for i in self.instruments}
        rows = [(keys[s.instrument_token], s.target, s.stop, s.reason, s.close) for s in self.signal_records]
        index = tables.times([s.start for s in self.signal_records]).rename("start")
        return pd.DataFrame(rows, index, columns=["instrument", "target", "stop", "reason", "close"])
