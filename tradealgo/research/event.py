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
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tradealgo.consumer.requests import RequestMaker
from tradealgo.domain.charges import Charges
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Fill, Order, OrderRequest, Verdict
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Alert, SessionState
from tradealgo.gatekeeper.situation import Terms
from tradealgo.research import event_tables
from tradealgo.research.backtest import Backtest, InstrumentRun
from tradealgo.research.event_driver import Driver
from tradealgo.research.simulate import ORDER
from tradealgo.strategies.base import Strategy

if TYPE_CHECKING:
    import pandas as pd


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


class EventBacktest(Backtest):
    """A Backtest whose orders were checked, sent, matched and booked; and what was refused, cancelled or killed."""

    def __init__(
        self, strategy: Strategy, runs: Iterable[InstrumentRun], capital: float, sizing: Sizing, session_id: str,
        driver: Driver,
    ) -> None:  # fmt: skip
        self._driver = driver
        filled = self._filled()
        done = [r._replace(orders=_order_array(r, filled.get(r.instrument.instrument_token, []))) for r in runs]
        super().__init__(strategy, done, capital, sizing, "next_open", session_id)

    def _filled(self) -> dict[int, list[tuple[Order, list[Fill]]]]:
        """Orders that traded, by token, in the order of their first trade."""
        by_tag: dict[str, list[Fill]] = {}
        for fill in self._driver.fills:
            by_tag.setdefault(fill.tag, []).append(fill)
        orders = {o.tag: o for o in self._driver.orders}
        found: dict[int, list[tuple[Order, list[Fill]]]] = {}
        for tag, fills in by_tag.items():
            found.setdefault(fills[0].instrument_token, []).append((orders[tag], fills))
        return found

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


def _order_array(run: InstrumentRun, filled: list[tuple[Order, list[Fill]]]) -> np.ndarray:
    """Orders that traded as `simulate.ORDER`: an order's signal is the candle it was asked for, a kill's the one it fell in."""
    array = np.zeros(len(filled), ORDER)
    first = np.array([fills[0].ts_event for _, fills in filled], np.int64)
    asked = np.array([order.start or fills[0].ts_event for order, fills in filled], np.int64)
    array["fill"], array["signal"] = (np.searchsorted(run.data.start, ts, side="right") - 1 for ts in (first, asked))
    traded = zip(*(_traded(run, order, fills) for order, fills in filled), strict=True)
    for name, values in zip(("quantity", "price", "fees"), traded, strict=False):
        array[name] = values
    return array


def _traded(run: InstrumentRun, order: Order, fills: list[Fill]) -> tuple[int, float, float]:
    """Signed units, average price and fees of one order, in rupees."""
    units = sum([f.quantity for f in fills])
    value = sum([round(f.price * 100) * f.quantity for f in fills])
    fees = event_tables.charges_of_order(run, fills).total
    return order.side.sign * units, value / units / 100, fees / 100
