"""The event backtest: the Gatekeeper's core and the exchange's matching and ledger between a strategy and its result.

    test = backtest(EmaCross(), candles, engine="event", limits=Limits(max_loss_fraction=0.02))
    test.denials        # what the Gatekeeper refused, and why
    test.trips          # when the kill switch tripped, and when it was flat

What a session would do with every check, limit, charge and the kill switch in its way. Signals come from the same class
(compiled where it compiles), requests from the Consumer's maker. Without a denial or a trip its orders are the compiled
engine's (instrument, side, quantity, candle, and price to the paisa), but for one: what a day's last candle asks for trades
at that candle's close here, and at the next day's open there.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import astuple

from tradealgo.consumer.requests import RequestMaker
from tradealgo.domain.charges import Charges
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Fill, Order, OrderRequest, Side, Verdict
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Alert, SessionState
from tradealgo.gatekeeper.situation import Terms
from tradealgo.research import event_tables
from tradealgo.research.backtest import Backtest, InstrumentRun
from tradealgo.research.event_driver import Driver
from tradealgo.research.simulate import CHARGE_KINDS, ORDER
from tradealgo.strategies.base import Strategy

if TYPE_CHECKING:
    import pandas as pd

BUY = Side.BUY


def event_backtest(
    strategy: Strategy, runs: list[InstrumentRun], capital: float, sizing: Sizing, session_id: str,
    limits: Limits | None = None, slippage: float = 0.0, *, every_candle: bool = False,
) -> EventBacktest:  # fmt: skip
    """Run sessions over what a compiled backtest has prepared: candles and signals by instrument.

    Args:
        every_candle: show the Gatekeeper's core every price, also where nothing can come of it: slow, and the same.
    """
    if len({r.data.interval for r in runs}) > 1:
        raise BadConfig(
            "instruments have candles of different intervals: give the event engine candles of one interval"
        )
    if not 0.0 <= slippage < 1.0:
        raise BadConfig(f"slippage is {slippage!r}: expected a fraction of the price, as in 0.0005")
    name = type(strategy).__name__
    maker = RequestMaker(session_id, name, sizing, capital, strategy)
    terms = Terms(session_id, "BACKTEST", capital)
    # Judged on closed candles the strategy's own stops are all there is: nothing rests at a broker between them
    limits = msgspec.structs.replace(limits or Limits(), protect_fraction=0.0, brackets=False)
    driver = Driver(runs, maker, terms, limits, slippage, every_candle=every_candle).run()
    return EventBacktest(strategy, runs, capital, sizing, session_id, driver)


class Traded(NamedTuple):
    """The orders that traded, in the order of their first trade, whose time is `first` (UTC ns).

    By order: signed units, average price in rupees, and paise charged (`[orders, kinds of charges]`).
    """

    orders: list[Order]
    token: np.ndarray
    first: np.ndarray
    units: np.ndarray
    price: np.ndarray
    charges: np.ndarray

    def of(self, run: InstrumentRun) -> np.ndarray:
        """The positions of an instrument's."""
        return np.flatnonzero(self.token == run.instrument.instrument_token)


def traded(driver: Driver) -> Traded:
    """Fills summed by order; charges are the exchange's ledger's."""
    fills, by_tag, charged = driver.fills, {o.tag: o for o in driver.orders}, driver.venue.ledger.charges_of
    numbers: dict[str, int] = {}
    number = np.array([numbers.setdefault(f.tag, len(numbers)) for f in fills], np.int64)
    first = np.unique(number, return_index=True)[1].tolist()
    orders = [by_tag[tag] for tag in numbers]
    quantities = np.array([f.quantity for f in fills], np.int64)
    paise = np.rint(np.array([f.price for f in fills]) * 100.0).astype(np.int64)
    units, value = np.zeros((2, len(orders)), np.int64)
    np.add.at(units, number, quantities)
    np.add.at(value, number, paise * quantities)
    return Traded(
        orders,
        np.array([o.instrument_token for o in orders], np.int64),
        np.array([fills[i].ts_event for i in first], np.int64),
        np.where([o.side is BUY for o in orders], units, -units),
        value / units / 100.0,
        np.array([astuple(charged(fills[i].order_id)) for i in first], np.int64).reshape(-1, len(CHARGE_KINDS)),
    )


class EventBacktest(Backtest):
    """A Backtest whose orders were checked, sent, matched and booked; and what was refused, cancelled or killed."""

    def __init__(
        self, strategy: Strategy, runs: Iterable[InstrumentRun], capital: float, sizing: Sizing, session_id: str,
        driver: Driver,
    ) -> None:  # fmt: skip
        self._driver = driver
        self._traded = traded(driver)
        done = [r._replace(orders=_order_array(r, self._traded)) for r in runs]
        super().__init__(strategy, done, capital, sizing, "next_open", session_id)

    # ------------------------------------------------------------------ messages

    @property
    def request_records(self) -> list[OrderRequest]:  # type: ignore[override]
        """What was asked of the Gatekeeper, in the order of asking."""
        return self._driver.requests

    @property
    def verdicts(self) -> list[Verdict]:
        """The Gatekeeper's answer to each request."""
        return self._driver.verdicts

    @property
    def order_records(self) -> list[Order]:
        """All orders, filled or not, the kill's exits included, as they ended."""
        return self._driver.orders

    @property
    def fill_records(self) -> list[Fill]:
        """Executions, in the order of time."""
        return self._driver.fills

    @property
    def alerts(self) -> list[Alert]:
        return self._driver.alerts

    @property
    def trips(self) -> list[SessionState]:
        """Each trip of the kill switch: cause, reason, `ts_tripped` and `ts_flat` (UTC ns; 0: not flat by the day's end)."""
        return self._driver.trips

    # ------------------------------------------------------------------ tables

    @cached_property
    def orders(self) -> pd.DataFrame:
        """One row an order that traded, with its charges by kind; price is the average."""
        return event_tables.orders(self)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """Round trips from flat to flat; the last one of an instrument may be open."""
        return event_tables.trades(self)

    @cached_property
    def fills(self) -> pd.DataFrame:
        """One row an execution."""
        return event_tables.fills(self)

    @cached_property
    def denials(self) -> pd.DataFrame:
        """One row a request that the Gatekeeper refused: when, what, the code and the sentence."""
        return event_tables.denials(self)

    @cached_property
    def unfilled(self) -> pd.DataFrame:
        """One row an order that did not fill whole: cancelled, rejected, or denied while it waited."""
        return event_tables.unfilled(self)

    @cached_property
    def charges(self) -> pd.Series:
        """Rupees by kind and in total, from the exchange's ledger."""
        return event_tables.charges_of(self.ledger_charges)

    @property
    def ledger_charges(self) -> Charges:
        """Paise by kind, from the exchange's ledger."""
        return self._driver.venue.ledger.charges


def _order_array(run: InstrumentRun, traded: Traded) -> np.ndarray:
    """Orders that traded as `simulate.ORDER`: an order's signal is the candle it was asked for, a kill's the one it fell in."""
    mine = traded.of(run)
    array, first = np.zeros(len(mine), ORDER), traded.first[mine]
    asked = np.array([traded.orders[n].start for n in mine.tolist()], np.int64)
    for name, ts in (("fill", first), ("signal", np.where(asked > 0, asked, first))):
        array[name] = np.searchsorted(run.data.start, ts, side="right") - 1
    array["quantity"], array["price"] = traded.units[mine], traded.price[mine]
    array["fees"] = traded.charges[mine].sum(axis=1) / 100.0
    return array
