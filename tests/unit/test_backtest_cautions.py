"""What backtest() warns of, and what it refuses instead of guessing."""

import datetime as dt
import warnings

import numpy as np
import pandas as pd
import pytest

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.errors import BadCandles, BadConfig
from tradealgo.domain.hours import at, trading_days
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.sizing import Sizing
from tradealgo.research.backtest import assumed_instrument, backtest
from tradealgo.research.deflated_sharpe import deflated_sharpe
from tradealgo.research.event_venue import Venue
from tradealgo.research.monte_carlo import monte_carlo
from tradealgo.research.sweep import sweep
from tradealgo.strategies import FLAT, LONG, SHORT, EmaCross, Strategy

pytestmark = pytest.mark.timeout(300)
DAYS = [dt.date(2026, 11, 19), dt.date(2026, 11, 20), dt.date(2026, 11, 23)]
UNITS = Sizing(units=100)
EXPIRY = dt.date(2026, 11, 20)


class AlwaysLong(Strategy):
    def on_candle(self, candle):
        return LONG


class AlwaysShort(Strategy):
    def on_candle(self, candle):
        return SHORT


class OneMinuteOfFour(Strategy):
    """By the candle's volume."""

    def on_candle(self, candle):
        return LONG if candle.volume == 1.0 else FLAT


def flat_day(day, opens=dt.time(9, 15), count=375, price=1_000.0):
    array = np.zeros(count, CANDLE)
    array["start"] = at(day, opens) + np.arange(count) * MINUTE_NS
    for name in ("open", "high", "low", "close"):
        array[name] = price
    return array


def days(count=375, price=1_000.0):
    return np.concatenate([flat_day(day, count=count, price=price) for day in DAYS])


def said(*args, **options):
    """What a backtest warns of, after that it isn't compiled."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        backtest(*args, **options)
    return [str(w.message) for w in caught if "interpreted" not in str(w.message)]


@pytest.mark.parametrize("engine", ["compiled", "event"])
def test_days_that_end_before_the_square_off_are_named(engine):
    """A file that ends at 15:05 leaves the position open every night; one to the close says nothing."""
    assert said(AlwaysLong, days(), instruments="NSE:INFY", sizing=UNITS, engine=engine) == []
    (text,) = said(AlwaysLong, days(350), instruments="NSE:INFY", sizing=UNITS, engine=engine)
    assert text.startswith("NSE:INFY was held over the end of 2026-11-19 and of 1 more day in an intraday backtest")


def test_times_in_utc_without_a_zone_are_noticed():
    """03:45 to 09:59 are no hours of trading."""
    array = days()
    index = pd.DatetimeIndex(array["start"], tz="UTC", name="start")
    frame = pd.DataFrame({n: array[n] for n in ("open", "high", "low", "close")}, index=index)
    assert said(AlwaysLong, frame, instruments="NSE:INFY", sizing=UNITS) == []
    told = said(AlwaysLong, frame.tz_localize(None), instruments="NSE:INFY", sizing=UNITS)
    assert any("outside trading hours, as on 2026-11-19 at 03:45 IST" in text for text in told)


@pytest.mark.parametrize(
    ("day", "opens", "count"),
    [
        (dt.date(2025, 10, 21), dt.time(13, 45), 60),
        (dt.date(2024, 11, 1), dt.time(18, 0), 60),
        (dt.date(2023, 11, 12), dt.time(18, 15), 60),
        (dt.date(2024, 3, 2), dt.time(9, 15), 195),
    ],
)
def test_special_sessions_are_squared_off(day, opens, count):
    """Muhurat and Saturdays from the other site: flat by their own end."""
    assert day in trading_days(day.year)
    after = flat_day(day + dt.timedelta(days=2 if day.weekday() == 5 else 1))
    candles = np.concatenate([flat_day(day, opens, count), after])
    assert said(AlwaysLong, candles, instruments="NSE:INFY", sizing=UNITS) == []
    trades = backtest(AlwaysLong, candles, instruments="NSE:INFY", sizing=UNITS).trades
    assert trades["exit_time"].iloc[0].date() == day


def test_shares_over_night_have_other_charges_and_no_short_side():
    """Delivery's charges aren't in the table, and a share can't be short over night; a future may be held."""
    given = {"sizing": UNITS, "intraday": False}
    (text,) = said(AlwaysLong, days(), instruments="NSE:INFY", **given)
    assert "charges of intraday trades" in text
    assert "charges=0.0011" in text
    assert said(AlwaysLong, days(), instruments="NSE:INFY", charges=0.0011, **given) == []
    (text,) = said(AlwaysShort, days(), instruments="NSE:INFY", charges=0.0011, **given)
    assert "lets no short share stand over night" in text
    assert said(AlwaysShort, days(), instruments="NFO:NIFTY26NOVFUT", sizing=Sizing(lots=1), intraday=False) == []


def expiring(expiry):
    return Instrument(
        instrument_token=3, exchange="NFO", tradingsymbol="NIFTY26NOVFUT", kind=Kind.FUTURE, name="NIFTY", lot_size=65,
        expiry=expiry,
    )  # fmt: skip


def test_candles_after_expiry_and_what_is_open_at_it_are_told():
    """A contract ends on its day; what is still open then isn't settled."""
    given = {"sizing": Sizing(lots=1), "intraday": False}
    assert said(AlwaysLong, {expiring(dt.date(2026, 11, 24)): days()}, **given) == []
    (text,) = said(AlwaysLong, {expiring(EXPIRY): days()}, **given)
    assert "expired on 2026-11-20 and has candles up to 2026-11-23" in text
    (text,) = said(AlwaysLong, {expiring(DAYS[-1]): days()}, **given)
    assert "position still open" in text
    assert said(AlwaysLong, {expiring(DAYS[-1]): days(385)}, sizing=Sizing(lots=1)) == []


def test_a_sizing_that_reaches_no_lot_is_told():
    """Nine tenths of a million buy no lot of NIFTY's future."""
    (text,) = said(AlwaysLong, days(price=25_000.0), instruments="NFO:NIFTY26NOVFUT")
    assert "is never traded: the sizing doesn't reach one lot of 65 units" in text
    assert said(AlwaysLong, days(385), instruments="NFO:NIFTY26NOVFUT") == []


def test_an_order_larger_than_a_session_sends_is_told():
    """A cheap option with the default sizing: far more lots than ten slices hold."""
    given = {"instruments": "NFO:NIFTY26NOV25000CE"}
    (text,) = said(AlwaysLong, days(385, price=10.0), **given)
    assert "an order of 89,960 units, and a session sends at most 18,000 at once" in text
    assert said(AlwaysLong, days(385, price=10.0), sizing=Sizing(lots=10), **given) == []


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("NFO:RELIANCE26NOVFUT", "the lot of NFO:RELIANCE26NOVFUT isn't known"),
        ("BFO:SENSEX26NOVFUT", "the lot of BFO:SENSEX26NOVFUT isn't known"),
        ("NFO:NIFTYNXT5026NOVFUT", "the lot of NFO:NIFTYNXT5026NOVFUT isn't known"),
        ("MCX:CRUDEOIL26NOVFUT", "is no share of NSE or BSE"),
        ("nfo:nifty26novfut", "is no share of NSE or BSE"),
        ("NIFTY26NOVFUT", "is no share of NSE or BSE"),
        ("NIFTY26N2425000CE", "is no share of NSE or BSE"),
        ("NSE:NIFTY 50", "is an index, which can't be traded"),
    ],
)
def test_what_is_not_known_of_a_key_is_refused(key, text):
    """No lot of 1, no share's charges, for what is no share."""
    with pytest.raises(BadConfig, match=text):
        backtest(AlwaysLong, days(), instruments=key)


@pytest.mark.parametrize(
    ("key", "kind", "lot"),
    [
        ("NFO:NIFTY26NOVFUT", Kind.FUTURE, 65),
        ("NFO:BANKNIFTY26NOV50000PE", Kind.PUT, 30),
        ("NSE:NIFTYBEES", Kind.EQUITY, 1),
        ("NSE:BAJFINANCE", Kind.EQUITY, 1),
        ("360ONE", Kind.EQUITY, 1),
    ],
)
def test_what_is_known_of_a_key(key, kind, lot):
    """Shares, funds, and the derivatives of the indices whose lots are in the table."""
    found = assumed_instrument(key, 1)
    assert (found.kind, found.lot_size) == (kind, lot)


@pytest.mark.parametrize("given", [{"lots": 1.5}, {"units": 100.7}])
def test_a_part_of_a_unit_is_no_size(given):
    """Lots and units are whole; a fraction of the capital need not be."""
    with pytest.raises(ValueError, match="units and lots are whole numbers"):
        Sizing(**given)
    assert Sizing(fraction=0.5).quantity(100.0, 1_000.0, 1) == 5


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sizing": 10}, "sizing is 10: expected a Sizing"),
        ({"charges": "zerodha"}, "charges is 'zerodha': expected True"),
    ],
)
def test_odd_options_are_refused_by_backtest_and_sweep(options, text):
    """One sentence, not an error from within."""
    with pytest.raises(BadConfig, match=text):
        backtest(EmaCross, days(), **options)
    with pytest.raises(BadConfig, match=text):
        sweep(EmaCross, {"fast": [3]}, days(), progress=False, **options)


def test_odd_candles_are_refused():
    """None at all, a column twice, a row without a time."""
    with pytest.raises(BadConfig, match="candles are an empty dict"):
        backtest(AlwaysLong, {})
    array = days()
    index = pd.DatetimeIndex(array["start"], tz="UTC", name="start")
    frame = pd.DataFrame({n: array[n] for n in ("open", "high", "low", "close")}, index=index)
    with pytest.raises(BadCandles, match="several columns 'close'"):
        backtest(AlwaysLong, pd.concat([frame, frame["close"]], axis=1))
    with pytest.raises(BadCandles, match=r"row 7 has no start time \(NaT\)"):
        backtest(AlwaysLong, frame.set_axis(index.where(np.arange(len(index)) != 7)))


@pytest.mark.parametrize("premium", [0.05, 2.0, 4.0, 9.35])
def test_slippage_of_a_cheap_option_is_never_lost(premium):
    """Where it is less than half a paisa it costs a whole one; without slippage both sides are the price itself."""
    for slippage, apart in ((0.001, 1), (0.0, 0)):
        venue = Venue({}, 0, slippage)
        venue.show([1], [premium], 0)
        quote = venue._quote(1)
        last = round(premium * 100)
        assert quote.asks[0].price >= last + apart
        assert quote.bids[0].price <= max(last - apart, 1)
        if not slippage:
            assert quote.bids[0].price == quote.asks[0].price == last


def test_a_portfolio_has_every_order_of_a_candle():
    """Several orders of one candle, at several prices or coming to nothing: vectorbt ends where the backtest does."""
    pytest.importorskip("vectorbt")
    array = days()
    array["volume"][::4] = 1.0
    test = backtest(OneMinuteOfFour, array, instruments="NSE:INFY", sizing=UNITS)
    run = test.runs[0]
    orders = run.orders.copy()
    orders["fill"][1] = orders["fill"][0]  # in and out within a candle
    orders["price"][1] -= 3.0
    test.runs[0] = run._replace(orders=orders)
    assert test.portfolio.final_value() == pytest.approx(test.final_equity, abs=1e-6)
    assert test.portfolio.orders.count() == len(orders)


def test_a_portfolio_that_needs_more_cash_says_so():
    """vectorbt has no margin, so that its percentages are of another capital."""
    pytest.importorskip("vectorbt")
    test = backtest(AlwaysLong, days(), instruments="NSE:INFY", sizing=Sizing(units=5_000))
    with pytest.warns(UserWarning, match="vectorbt has no margin: its portfolio starts with Rs 5,00"):
        assert test.portfolio.init_cash > test.capital


def test_a_deflated_sharpe_of_another_backtest_warns():
    """The best point over other candles has another end."""
    rng = np.random.default_rng(5)
    array = days()
    close = np.round(1_000.0 + np.cumsum(rng.normal(0.0, 1.0, len(array))), 2)
    for name in ("open", "high", "low", "close"):
        array[name] = close
    found = sweep(EmaCross, {"fast": [3, 5], "slow": [20]}, array, progress=False)
    best = backtest(found.best_strategy(), array)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deflated_sharpe(found, best)
    with pytest.warns(UserWarning, match="as no point of the sweep does"):
        deflated_sharpe(found, backtest(found.best_strategy(), array, charges=False))


def test_monte_carlo_says_which_falls_it_compares():
    """Its own are at closed trades: not those of the backtest's stats."""
    assert "at closed trades" in monte_carlo([10.0, -5.0, 3.0], capital=1_000.0, runs=10).reading
