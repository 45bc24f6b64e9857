"""The event engine asks, fills and books what the compiled engine says, and what only it knows is right."""

import datetime as dt
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.charges import Charges
from tradealgo.domain.hours import at, market_hours
from tradealgo.domain.limits import Limits
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import KillCause, KillState
from tradealgo.research.backtest import backtest
from tradealgo.research.event import event_backtest
from tradealgo.research.parity import parity
from tradealgo.strategies import FLAT, LONG, SHORT, SMA, EmaCross, Signal, Strategy

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
SHARED = Path(os.environ.get("TRADEALGO_SHARED_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
DAYS = [dt.date(2026, 7, 29), dt.date(2026, 7, 30), dt.date(2026, 7, 31)]
#: Nothing of these stops an order, so that every one can be compared.
WIDE = Limits(
    max_loss_fraction=10.0, fat_finger_fraction=10.0, max_order_value=1e12, max_gross_exposure=1e12,
    orders_per_second=1_000, orders_per_minute=100_000,
)  # fmt: skip


class ByVolume(Strategy):
    """The candle's volume says the target: 1 long, 2 short, else flat."""

    def on_candle(self, candle):
        return LONG if candle.volume == 1.0 else SHORT if candle.volume == 2.0 else FLAT


class Stopped(ByVolume):
    """With a stop of its own, a reason, and a memory."""

    span: int = 5

    def setup(self):
        self.mean = SMA(self.span)

    def on_candle(self, candle):
        mean = self.mean.update(candle.close)
        if np.isnan(mean) or candle.volume == 0.0:
            return FLAT
        return Signal(1, mean * 0.995, "above") if candle.close > mean else Signal(-1, mean * 1.005, "below")


def made(seed, count, volatile=1.0, late=False):
    """Candles in whole paise around 100 rupees, over days of trading, minutes missing anywhere, or with `late` none late."""
    rng = np.random.default_rng(seed)
    minutes = np.concatenate([at(d, dt.time(9, 15)) + np.arange(375) * MINUTE_NS for d in DAYS])
    chosen = np.zeros(len(minutes), bool)
    chosen[rng.choice(len(minutes), min(count, len(minutes)), replace=False)] = True
    if late:
        chosen |= np.arange(len(minutes)) % 375 >= 360  # 15:15 and later
    n = int(chosen.sum())
    array = np.zeros(n, CANDLE)
    array["start"] = minutes[chosen]
    closes = np.maximum(100.0 + volatile * np.cumsum(rng.integers(-60, 61, n)) / 100.0, 20.0)
    array["close"] = np.round(closes, 2)
    array["open"] = np.round(np.r_[100.0, array["close"][:-1]] + rng.integers(-20, 21, n) / 100.0, 2)
    top, bottom = np.maximum(array["open"], array["close"]), np.minimum(array["open"], array["close"])
    array["high"] = np.round(top + rng.integers(0, 40, n) / 100.0, 2)
    array["low"] = np.round(bottom - rng.integers(0, 40, n) / 100.0, 2)
    array["volume"] = rng.integers(0, 3, n)
    return array


@pytest.fixture(scope="module", autouse=True)
def _compiled_once():
    """Numba compiles by calling, which Hypothesis can't have inside an example."""
    for strategy in (EmaCross(), Stopped(), ByVolume(), AlwaysLong()):
        backtest(strategy, made(0, 50))


STRATEGIES = st.one_of(
    st.builds(lambda f, s: EmaCross(fast=f, slow=s), st.integers(1, 9), st.integers(2, 30)),
    st.builds(lambda n, x: Stopped(span=n, stop_loss=x), st.integers(1, 9), st.sampled_from([0.0, 0.002, 0.01])),
    st.builds(lambda n: ByVolume(max_candles=n), st.integers(0, 3)),
)


def same_orders(event, compiled):
    """Signal's candle, quantity and instrument of each order; where an open follows that day, fill, price and fees too."""
    compared = 0
    for ours, theirs in zip(event.runs, compiled.runs, strict=True):
        a, b = ours.orders, theirs.orders
        assert ours.instrument == theirs.instrument
        assert a["signal"].tolist() == b["signal"].tolist()
        assert a["quantity"].tolist() == b["quantity"].tolist()
        follows = ~np.isin(b["signal"] + 1, theirs.data.days)
        assert a["fill"][follows].tolist() == b["fill"][follows].tolist()
        np.testing.assert_allclose(a["price"][follows], b["price"][follows], rtol=0, atol=1e-9)
        assert a["fees"][follows].tolist() == b["fees"][follows].tolist()
        assert a["price"][~follows].tolist() == pytest.approx(theirs.data.close[b["signal"][~follows]].tolist())
        compared += len(a)
    return compared


@given(strategy=STRATEGIES, seed=st.integers(0, 2**32 - 1), count=st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_orders_are_the_compiled_engines(strategy, seed, count):
    """Every order of two instruments: instrument, side, quantity, candle, price and charges; and the very requests."""
    candles = {"NSE:A": made(seed, count, late=True), "NSE:B": made(seed + 1, count, late=True)}
    options = {"interval": 60}
    event = backtest(strategy, candles, engine="event", limits=WIDE, **options)
    compiled = backtest(strategy, candles, **options)
    assert event.denials.empty
    assert event.unfilled.empty
    assert same_orders(event, compiled) == compiled.order_count
    last = {r.instrument.instrument_token: int(r.data.start[-1]) for r in event.runs}
    asked = [r for r in compiled.request_records if r.start < last[r.instrument_token]]
    heard = parity(compiled, event.signal_records, event.request_records)
    assert len(event.request_records) == len(asked)
    assert all(d.field == "missing" and d.start in last.values() for d in heard.differences)
    assert len(event.trades) == len(compiled.trades)


@given(
    strategy=STRATEGIES, seed=st.integers(0, 2**32 - 1), count=st.integers(30, 120),
    slippage=st.sampled_from([0.0, 0.002, 0.0105]), loss=st.sampled_from([0.0005, 0.002, 0.02]),
    lots=st.sampled_from([100, 4_000]),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_skipping_quiet_candles_changes_nothing(strategy, seed, count, slippage, loss, lots):
    """Verdicts, orders, fills, trips and charges are those of a Gatekeeper that is shown every price of every candle."""
    candles = {k: made(seed + n, count, volatile=0.5) for n, k in enumerate(("NSE:A", "NSE:B", "NSE:C"))}
    same_as_shown_everything(strategy, candles, Sizing(units=lots), Limits(max_loss_fraction=loss), slippage)


def test_what_is_held_over_night_counts_its_loss_from_the_days_last_price():
    """Also where that price was in a candle that was skipped: the kill trips on the same price as if all had been shown."""
    candles = {k: made(3_051_438_190 + n, 34, volatile=0.5) for n, k in enumerate(("NSE:A", "NSE:B"))}
    quick = same_as_shown_everything(
        Stopped(span=3), candles, Sizing(units=4_000), Limits(max_loss_fraction=0.002), 0.0
    )
    assert len(quick.trips) == 2


class Always(Strategy):
    """One side for good."""

    side: int = 1

    def on_candle(self, candle):
        return LONG if self.side > 0 else SHORT


@pytest.mark.parametrize("side", [1, -1])
def test_a_gain_that_is_held_over_night_is_no_loss_of_the_next_day(side):
    """Of four per cent of the capital: it trades once, and nothing trips."""
    candles = np.zeros(750, CANDLE)
    for n, day in enumerate(DAYS[:2]):
        candles["start"][375 * n : 375 * (n + 1)] = at(day, dt.time(9, 15)) + np.arange(375) * MINUTE_NS
    candles["open"] = np.round(1_000.0 + 0.1 * side * np.arange(750), 2)
    candles["close"] = np.round(1_000.0 + 0.1 * side * np.arange(1, 751), 2)
    candles["high"] = np.maximum(candles["open"], candles["close"])
    candles["low"] = np.minimum(candles["open"], candles["close"])
    strategy, sizing, limits = Always(side=side), Sizing(units=800), Limits(max_order_value=1e9, max_gross_exposure=1e9)
    runs = backtest(strategy, candles, sizing=sizing, interval=60, intraday=False).runs
    for every_candle in (False, True):
        test = event_backtest(strategy, runs, 1e6, sizing, "s", limits, every_candle=every_candle)
        assert not test.trips
        assert len(test.fill_records) == 1
        assert test.final_equity > 1_050_000


def same_as_shown_everything(strategy, candles, sizing, limits, slippage):
    """The run, compared with one whose Gatekeeper is shown every price of every candle."""
    runs = backtest(strategy, candles, sizing=sizing, interval=60).runs
    quick, full = (
        event_backtest(strategy, runs, 1e6, sizing, "s", limits, slippage, every_candle=every)
        for every in (False, True)
    )
    assert quick.request_records == full.request_records
    assert quick.verdicts == full.verdicts
    assert quick.fill_records == full.fill_records
    assert quick.order_records == full.order_records
    assert quick.trips == full.trips
    assert quick.ledger_charges == full.ledger_charges
    return quick


@given(seed=st.integers(0, 2**32 - 1), slippage=st.sampled_from([0.0, 0.003]))
@settings(max_examples=10, deadline=None)
def test_cash_charges_and_equity_are_the_exchange_ledgers(seed, slippage):
    """Equity from our fills and charges is the cash of the exchange's own ledger once flat, to the paisa."""
    candles = {"NSE:A": made(seed, 200), "NSE:B": made(seed + 1, 200)}
    test = backtest(ByVolume(), candles, engine="event", limits=WIDE, slippage=slippage, interval=60)
    ledger = test._driver.venue.ledger
    last = {r.instrument.instrument_token: round(float(r.data.close[-1]) * 100) for r in test.runs}
    assert round(test.final_equity * 100) == ledger.capital + ledger.mtm(last)
    assert round(float(test.orders["fees"].sum()) * 100) == ledger.charges.total
    assert test.charges["total"] == ledger.charges.total / 100
    by_kind = sum((ledger.charges_of(o.order_id) for o in test.order_records if o.filled_quantity), Charges())
    assert by_kind == ledger.charges


class AlwaysLong(Strategy):
    """Long from the first candle on; every twentieth it steps out for one."""

    def setup(self):
        self.count = 0

    def on_candle(self, candle):
        self.count += 1
        return FLAT if self.count % 20 == 0 else LONG


def losing_day(day=DAYS[0], step=0.25):
    """A share that falls by a quarter of a rupee a minute from 1,000, then a day on which it rises."""
    array = np.zeros(750, CANDLE)
    for n, (start, sign) in enumerate(((day, -1.0), (DAYS[1], 1.0))):
        part = array[375 * n : 375 * (n + 1)]
        part["start"] = at(start, dt.time(9, 15)) + np.arange(375) * MINUTE_NS
        part["close"] = 1_000.0 + sign * step * np.arange(1, 376)
        part["open"] = 1_000.0 + sign * step * np.arange(375)
    array["high"], array["low"] = np.maximum(array["open"], array["close"]), np.minimum(array["open"], array["close"])
    return array


@pytest.mark.parametrize("limits", [Limits(protect_fraction=0.02), Limits(brackets=True)])
def test_protective_orders_are_said_to_be_left_out(limits):
    """They fill within a candle, which is not played."""
    with pytest.warns(UserWarning, match="the event engine leaves them out"):
        backtest(AlwaysLong(), losing_day(), engine="event", limits=limits)


def test_a_losing_day_trips_the_kill_at_two_per_cent():
    """MTM reaches 2 % of capital: the position goes at once, everything later is denied, and the next day trades again."""
    limits = Limits(max_order_value=1e9, max_gross_exposure=1e9)
    test = backtest(AlwaysLong(), losing_day(), sizing=Sizing(units=800), engine="event", limits=limits)
    (trip,) = test.trips
    assert (trip.cause, trip.kill) == (KillCause.MTM, KillState.LOCKED)
    assert trip.ts_tripped < trip.ts_flat < trip.ts_tripped + 5 * 10**9
    hours = market_hours(test.instruments[0], DAYS[0])
    assert hours.open < trip.ts_tripped < hours.square_off
    before = [f for f in test.fill_records if f.ts_event <= trip.ts_tripped]
    loss = sum(-f.side.sign * f.quantity * f.price for f in test.fill_records if f.ts_event < trip.ts_flat)
    assert -25_000 < loss < -15_000
    killed = [o for o in test.order_records if o.intent == "KILL"]
    assert sum(f.side.sign * f.quantity for f in before) == sum(o.filled_quantity for o in killed) == 800
    today = [v for v in test.verdicts if trip.ts_tripped < v.ts < hours.close]
    assert today
    assert {v.code for v in today} == {"KILLED"}
    assert set(test.denials["code"]) == {"KILLED"}
    after = [f for f in test.fill_records if trip.ts_flat < f.ts_event]
    assert after
    assert min(f.ts_event for f in after) > at(DAYS[1], dt.time(9, 15))
    assert test.plot().data


def test_the_trip_is_at_the_price_that_crosses_the_line():
    """Without a trip the same day loses more; with it, less than a candle's fall beyond the line and the charges."""
    limits = Limits(max_order_value=1e9, max_gross_exposure=1e9, max_loss_fraction=0.02)
    options = {"sizing": Sizing(units=800), "engine": "event"}
    candles = losing_day()[:375]
    killed = backtest(AlwaysLong(), candles, limits=limits, **options)
    free = backtest(AlwaysLong(), candles, limits=WIDE, **options)
    assert len(killed.trips) == 1
    assert not free.trips
    assert -21_000 <= killed.final_equity - 1e6 <= -20_000
    assert free.final_equity < killed.final_equity


def test_a_spread_beyond_the_limit_leaves_orders_unfilled():
    """Entries whose limit the quote never reaches are cancelled after their time; nothing is held, nothing is invented."""
    test = backtest(AlwaysLong(), losing_day()[:30], sizing=Sizing(units=10), engine="event", slippage=0.03)
    assert not test.fill_records
    assert len(test.unfilled) == len(test.order_records) > 0
    assert set(test.unfilled["state"]) == {"CANCELLED"}
    assert test.trades.empty
    assert test.final_equity == 1e6


def test_fifty_instruments_meet_the_brokers_rate_rule():
    """Fifty exits at one square-off take seconds, not one instant, and all of them fill."""
    candles = {f"NSE:S{n}": made(n, 1_125) for n in range(50)}
    test = backtest(EmaCross(fast=5, slow=20), candles, engine="event", limits=Limits(max_loss_fraction=1.0))
    seconds = np.array([o.ts_sent // 10**9 for o in test.order_records])
    assert np.bincount(seconds - seconds.min()).max() <= 10
    assert not any(test._driver.venue.net.values())


@pytest.mark.skipif(
    not (SHARED / "nifty_1min_2022.txt.gz").exists(), reason="the shared candles are not beside the project"
)
def test_a_year_of_real_minutes():
    """NIFTY of 2022 as the public file has it: every order of the compiled engine."""
    from tradealgo.research.history import read_candles

    frame = read_candles(SHARED / "nifty_1min_2022.txt.gz")
    options = {"sizing": Sizing(units=50)}
    event = backtest(EmaCross(), frame, engine="event", limits=WIDE, **options)
    compiled = backtest(EmaCross(), frame, **options)
    assert event.denials.empty
    assert same_orders(event, compiled) == compiled.order_count > 1_000
