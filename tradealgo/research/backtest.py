"""`backtest(strategy, candles)`: what a session would have done on these candles, with its costs.

Signals come from the same strategy and exits, and order requests from the same maker, as in a live session.
"""

from __future__ import annotations

import datetime as dt
import html
import re
import warnings
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.instruments import INDEX_SYMBOLS, LOTS, Instrument, InstrumentBook, Kind, lot_size
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import OrderRequest
from tradealgo.domain.shown import many
from tradealgo.domain.signals import SignalRecord
from tradealgo.domain.sizing import Sizing
from tradealgo.research import records, stats, tables
from tradealgo.research.cautions import cautions
from tradealgo.research.columns import Columns, columns
from tradealgo.research.runs import Signals, run
from tradealgo.research.simulate import Costs, Size, costs, equity_curve, last_value, simulated, size
from tradealgo.research.warm_up import First, warm_up_columns
from tradealgo.strategies.base import Strategy
from tradealgo.strategies.basket import BasketStrategy

if TYPE_CHECKING:
    import pandas as pd

FILLS = {"next_open": 1, "close": 0}


class InstrumentRun(NamedTuple):
    """One instrument's part of a backtest. `orders` is an array of `simulate.ORDER`."""

    instrument: Instrument
    data: Columns
    signals: Signals
    orders: np.ndarray
    size: Size
    costs: Costs


def backtest(
    strategy: Strategy | type[Strategy], candles: Any, *, instruments: Any = None, capital: float = 1_000_000.0,
    sizing: Sizing | None = None, charges: bool | float = True, slippage: float = 0.0, fill: str = "next_open",
    intraday: bool = True, interval: int | None = None, engine: str = "compiled", session_id: str = "backtest",
    limits: Limits | None = None, warm_up: Any = None,
) -> Backtest:  # fmt: skip
    """Run a strategy over candles.

    Args:
        strategy: an instance, or a class for its default parameters. A basket takes engine="event" (`research.basket`).
        candles: a DataFrame (starts as index, columns open high low close volume oi), a `CANDLE` array, or a dict of
            either by instrument key.
        instruments: Instruments of the keys, for lots and segments; without, shares are assumed (futures and options by
            the key's ending).
        capital: rupees. sizing: per instrument; default nine tenths of capital in equal parts.
        charges: True for NSE's and Zerodha's of the day, False for none, or a fraction of turnover.
        slippage: fraction of the price, against us on each fill.
        fill: "next_open" (at the next candle's open) or "close" (at the signal's own close).
        intraday: square off before each day's close, as sessions do.
        interval: the candles', in seconds; None takes the smallest step between two of them.
        engine: "compiled"; "interpreted" for the class as Python runs it; "event" for sessions with the Gatekeeper's checks,
            limits and kill switch and the exchange's matching, with NSE's charges and fills at the next open (an
            `event.EventBacktest`).
        limits: the Gatekeeper's, for engine "event".
        warm_up: earlier candles, given as `candles` are, which the strategy hears before and doesn't trade; of a session those
            that it was launched with. After them it is flat.

    A strategy that raises is stopped and its position left, as in a session: a warning, the result's repr, figure and `errors`
    name the line.

    Raises:
        BadCandles, BadConfig, UnknownInstrument: with what was received and the mend.
    """
    strategy = strategy() if isinstance(strategy, type) else strategy
    check_options(strategy, capital, fill, engine)
    if engine == "event" and (charges is not True or fill != "next_open"):
        raise BadConfig(
            "the event engine charges what NSE and Zerodha do and fills at the next open: leave out charges and fill"
        )
    if limits is not None and (limits.protect_fraction or limits.brackets):
        warnings.warn(
            "protective orders rest at the broker and fill within a candle: the event engine leaves them out, and judges stops "
            "on closed candles",
            stacklevel=2,
        )
    given = by_instrument(candles, instruments)
    if isinstance(strategy, BasketStrategy):
        if sizing is not None:
            raise BadConfig(f"{type(strategy).__name__} is a basket, which sizes its own targets: leave sizing out")
        from tradealgo.research.basket import basket_backtest

        return _told(
            basket_backtest(
                strategy, given, capital, session_id, limits=limits, slippage=slippage,
                intraday=intraday, interval=interval, warm_up=warm_up,
            ),
            intraday,
        )  # fmt: skip
    check_tradable(given)
    chosen = sizing or default_sizing(len(given))
    read = {i: columns(c, i.key, interval) for i, c in given.items()}
    earlier = warm_up_columns(warm_up, {i: First(d.start.item(0), d.interval) for i, d in read.items()})
    runs = []
    for instrument, data in read.items():
        if intraday and data.interval >= 86_400:
            raise BadConfig(
                f"{instrument.key} has candles of a day, which can't be traded intraday: pass intraday=False"
            )
        signals = run(
            strategy, instrument, data, intraday=intraday, engine="compiled" if engine == "event" else engine,
            warm_up=earlier.get(instrument),
        )  # fmt: skip
        how_much, cost = size(chosen, capital, instrument.lot_size), costs(instrument, charges, slippage)
        orders = simulated(data, signals.at, signals.targets, FILLS[fill], how_much, cost)
        runs.append(InstrumentRun(instrument, data, signals, orders, how_much, cost))
    if engine == "event":
        from tradealgo.research.event import event_backtest

        return _told(event_backtest(strategy, runs, capital, chosen, session_id, limits, slippage), intraday)
    return _told(Backtest(strategy, runs, capital, chosen, fill, session_id), intraday)


def _told(result: Backtest, intraday: bool) -> Backtest:
    """Itself, with warnings: that it raised, else that it isn't compiled; and what its figures leave out."""
    refused = next((r.signals.refused for r in result.runs if r.signals.refused), "")
    if result.error_text:
        warnings.warn(f"{result.error_text}; it trades no more from there on, as in a session", stacklevel=3)
    elif refused:
        warnings.warn(f"{refused}; it runs interpreted, which is slower and gives the same result", stacklevel=3)
    for sentence in cautions(result.runs, intraday):
        warnings.warn(sentence, stacklevel=3)
    return result


def default_sizing(instruments: int) -> Sizing:
    """Nine tenths of capital in equal parts: what a backtest and a sweep use unless told."""
    return Sizing(fraction=0.9 / instruments)


def check_options(strategy: Any, capital: float, fill: str, engine: str) -> None:
    if not isinstance(strategy, Strategy):
        raise BadConfig(f"strategy is {strategy!r}: expected a Strategy such as EmaCross(fast=10)")
    if isinstance(strategy, BasketStrategy) and engine != "event":
        raise BadConfig(
            f"{type(strategy).__name__} is a basket of instruments: run it with backtest(…, engine='event')"
        )
    if not capital > 0:
        raise BadConfig(f"capital is {capital!r}: expected rupees above 0")
    if fill not in FILLS:
        raise BadConfig(f"fill is {fill!r}: expected {' or '.join(map(repr, FILLS))}")
    if engine not in ("compiled", "interpreted", "event"):
        raise BadConfig(f"engine is {engine!r}: expected 'compiled', 'interpreted' or 'event'")


def check_tradable(instruments: Iterable[Instrument]) -> None:
    """Raise BadConfig for an index: it has a price, but nobody can buy it."""
    if index := next((i for i in instruments if not i.tradable), None):
        raise BadConfig(
            f"{index.key} is an index, which can't be traded: give candles of its future, as NFO:NIFTY26NOVFUT"
        )


def by_instrument(candles: Any, instruments: Any) -> dict[Instrument, Any]:
    """Candles as `backtest` takes them, by instrument."""
    if isinstance(candles, Mapping) and not candles:
        raise BadConfig(
            "candles are an empty dict: expected candles of at least one instrument, as in {'NSE:INFY': frame}"
        )
    named = candles if isinstance(candles, Mapping) else {_only_key(instruments): candles}
    return dict(_paired(named, instruments))


def _only_key(instruments: Any) -> str:
    if isinstance(instruments, Instrument):
        return instruments.key
    if instruments is not None and not isinstance(instruments, str) and len(found := list(instruments)) == 1:
        return found[0].key if isinstance(found[0], Instrument) else str(found[0])
    return instruments if isinstance(instruments, str) else "NSE:CANDLES"


def _paired(named: Mapping[Any, Any], instruments: Any) -> Iterable[tuple[Instrument, Any]]:
    book = _book(instruments)
    for token, (key, given) in enumerate(named.items(), 1):
        if isinstance(key, Instrument):
            yield key, given
        else:
            yield book.find(key) if len(book) else assumed_instrument(key, token), given


def _book(instruments: Any) -> InstrumentBook:
    if isinstance(instruments, InstrumentBook):
        return instruments
    given = [instruments] if isinstance(instruments, (Instrument, str)) else list(instruments or ())
    return InstrumentBook(i if isinstance(i, Instrument) else assumed_instrument(i, n) for n, i in enumerate(given, 1))


def assumed_instrument(key: str, token: int) -> Instrument:
    """An instrument from its key alone: a future, call or put by the symbol's ending in a derivative exchange, else a share."""
    exchange, _, symbol = key.rpartition(":")
    exchange = exchange or "NSE"
    kind = Kind.INDEX if symbol in INDEX_SYMBOLS.values() else Kind.EQUITY
    if exchange in ("NFO", "BFO"):
        kind = next((k for k in (Kind.FUTURE, Kind.CALL, Kind.PUT) if symbol.endswith(k.value)), Kind.EQUITY)
    elif exchange not in ("NSE", "BSE") or re.search(r"\d[A-Z]{3}FUT$|\d(CE|PE)$", symbol, re.IGNORECASE):
        raise BadConfig(
            f"{key!r} is no share of NSE or BSE: futures and options are written as in NFO:NIFTY26NOVFUT (or BFO:…), and what "
            "trades elsewhere has charges and hours that aren't known here"
        )
    name = re.split(r"\d", symbol.removesuffix("FUT"))[0]
    if kind not in (Kind.EQUITY, Kind.INDEX) and name not in LOTS:
        raise BadConfig(
            f"the lot of {key} isn't known ({', '.join(LOTS)} are): pass instruments=[Instrument(…, lot_size=…)], as the "
            "broker's dump has it"
        )
    lot = lot_size(name, _NEWEST) if name in LOTS and kind not in (Kind.EQUITY, Kind.INDEX) else 1
    return Instrument(
        instrument_token=token, exchange=exchange, tradingsymbol=symbol, kind=kind, name=name, lot_size=lot
    )


_NEWEST = dt.date.max


class Backtest:
    """What came of a backtest. Prices and sums in rupees, times in IST. Everything but the orders is made when asked for."""

    def __init__(
        self, strategy: Strategy, runs: list[InstrumentRun], capital: float, sizing: Sizing, fill: str, session_id: str
    ) -> None:
        self.strategy = strategy
        self.runs = runs
        self.capital = capital
        self.sizing = sizing
        self.fill = fill
        self.session_id = session_id

    @property
    def instruments(self) -> list[Instrument]:
        return [r.instrument for r in self.runs]

    @property
    def errors(self) -> list[str]:
        """Of strategies that raised: one sentence an instrument."""
        return [r.signals.error for r in self.runs if r.signals.error]

    @property
    def error_text(self) -> str:
        """The first of `errors`, and how many more there are; empty where nothing was raised."""
        more = f" (and {len(self.errors) - 1} more in .errors)" if len(self.errors) > 1 else ""
        return self.errors[0] + more if self.errors else ""

    @property
    def order_count(self) -> int:
        return sum(len(r.orders) for r in self.runs)

    @cached_property
    def signal_records(self) -> list[SignalRecord]:
        """One a candle and instrument, in the order of time: what a session publishes."""
        return records.signal_records(self)

    @cached_property
    def request_records(self) -> list[OrderRequest]:
        """What a session asks of the Gatekeeper, made by the same maker."""
        return records.request_records(self)

    @cached_property
    def signals(self) -> pd.DataFrame:
        return tables.signals(self)

    @cached_property
    def requests(self) -> pd.DataFrame:
        return tables.requests(self)

    @cached_property
    def orders(self) -> pd.DataFrame:
        """One row a simulated order, with its charges by kind."""
        return tables.orders(self)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """Round trips, entry to exit; the last one of an instrument may be open."""
        return tables.trades(self)

    @cached_property
    def charges(self) -> pd.Series:
        """Rupees by kind and in total."""
        return tables.charges(self)

    def equity_of(self, run: InstrumentRun) -> np.ndarray:
        """Rupees at each of an instrument's closes, as if it alone had the capital."""
        out = np.empty(run.data.size)
        equity_curve(run.data.close, run.orders, self.capital, out)
        return out

    @cached_property
    def equity(self) -> pd.Series:
        """Cash and positions at each candle's close."""
        return tables.equity(self)

    @property
    def final_equity(self) -> float:
        if len(self.runs) == 1:
            return float(last_value(self.runs[0].data.close, self.runs[0].orders, self.capital))
        return self.capital + sum(last_value(r.data.close, r.orders, self.capital) - self.capital for r in self.runs)

    @property
    def drawdown(self) -> pd.Series:
        """Fraction below the highest equity so far (0 or negative)."""
        return self.equity / self.equity.cummax().clip(lower=self.capital) - 1.0

    def raw_figures(self) -> np.ndarray:
        """One instrument's figures as a sweep keeps them (`sweep_loop.FIGURES`)."""
        return stats.raw(self)

    def stats(self) -> pd.Series:
        """The figures that people ask for: rupees, fractions of 1. The result itself shows them with units."""
        return stats.summary(self)

    @cached_property
    def portfolio(self) -> Any:
        """The vectorbt Portfolio of the same orders (one column an instrument)."""
        from tradealgo.research.vectorbt_portfolio import portfolio

        return portfolio(self)

    def plot(self, instrument: str | None = None) -> Any:
        """Price with entries and exits, equity and drawdown: a plotly Figure."""
        from tradealgo.research.figures import backtest_figure

        return backtest_figure(self, instrument)

    def plot_returns(self) -> Any:
        """Heatmap of returns by month and year; of a few months, by day and week."""
        from tradealgo.research.return_figures import returns_figure

        return returns_figure(self)

    def plot_trades(self) -> Any:
        """How the trades' profits are distributed, and profit by how long they were held."""
        from tradealgo.research.return_figures import trades_figure

        return trades_figure(self)

    def __repr__(self) -> str:
        made = f"{self.strategy!r}, {many(len(self.runs), 'instrument')}, {many(self.order_count, 'order')}, net Rs {self.final_equity - self.capital:+,.2f}"
        return f"Backtest(RAISED, {made})\n{self.error_text}" if self.errors else f"Backtest({made})"

    def _repr_html_(self) -> str:
        head = f"<b>Backtest of {html.escape(repr(self.strategy))}</b>"
        return red(self.error_text) + head + stats.shown(self.stats()).to_frame("").to_html(header=False)


def red(text: str) -> str:
    """What went wrong, as HTML; nothing for nothing."""
    return f'<div style="color:#d1495b"><b>{html.escape(text)}</b></div>' if text else ""


def interval_ns(run: InstrumentRun) -> int:
    """Nanoseconds of the run's candles."""
    return run.data.interval * SECOND_NS
