"""Market facts that code relies on: hours, expiries, lots, ticks, charges."""

import datetime as dt

import pytest

from tradealgo.domain.charges import order_charges
from tradealgo.domain.errors import UnknownInstrument
from tradealgo.domain.hours import at, is_trading_day, ist_date, ist_text, market_hours, monthly_expiry, weekly_expiry
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind, lot_size, share_tick
from tradealgo.domain.orders import Side, request_id, tag_for
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import TradingState, strictest

SHARE = Instrument(instrument_token=408065, exchange="NSE", tradingsymbol="INFY", kind=Kind.EQUITY)
FUTURE = Instrument(instrument_token=2, exchange="NFO", tradingsymbol="NIFTY26NOVFUT", kind=Kind.FUTURE, name="NIFTY")
OPTION = Instrument(instrument_token=3, exchange="NFO", tradingsymbol="NIFTY26NOV24000CE", kind=Kind.CALL, name="NIFTY")


@pytest.mark.parametrize(
    ("instrument", "day", "close"),
    [
        (SHARE, dt.date(2026, 7, 31), dt.time(15, 30)),
        (SHARE, dt.date(2026, 8, 3), dt.time(15, 15)),
        (FUTURE, dt.date(2026, 7, 31), dt.time(15, 30)),
        (FUTURE, dt.date(2026, 8, 3), dt.time(15, 40)),
    ],
)
def test_hours_change_in_august_2026(instrument, day, close):
    """Shares with derivatives end at 15:15 for the auction; derivatives run to 15:40."""
    hours = market_hours(instrument, day)
    assert hours.open == at(day, dt.time(9, 15))
    assert hours.close == at(day, close)
    assert hours.square_off < hours.close
    assert hours.is_open(hours.open)
    assert not hours.is_open(hours.close)


def test_shares_without_derivatives_keep_half_past_three():
    """No auction for them."""
    hours = market_hours(SHARE, dt.date(2026, 11, 20), has_derivatives=False)
    assert hours.close == at(dt.date(2026, 11, 20), dt.time(15, 30)) == hours.auction_end


@pytest.mark.parametrize("day", [dt.date(2026, 2, 1), dt.date(2026, 11, 8)])
def test_special_sundays_trade(day):
    """Budget Sunday and Muhurat are sessions that the public calendars miss."""
    assert day.weekday() == 6
    assert is_trading_day(day)


def test_holiday_moves_expiry():
    """24 November 2026 is a holiday and a Tuesday: weekly and monthly expire on Monday the 23rd."""
    assert not is_trading_day(dt.date(2026, 11, 24))
    assert weekly_expiry(dt.date(2026, 11, 20)) == dt.date(2026, 11, 23) == monthly_expiry(2026, 11)
    assert weekly_expiry(dt.date(2026, 11, 24)) == dt.date(2026, 12, 1)
    assert monthly_expiry(2026, 12) == dt.date(2026, 12, 29)


def test_an_hour_on_diwali_is_no_expiry():
    """21 October 2025, a Tuesday, was a holiday with an hour of Muhurat trading: its options expired on Monday."""
    assert is_trading_day(dt.date(2025, 10, 21))
    assert weekly_expiry(dt.date(2025, 10, 17)) == dt.date(2025, 10, 20)
    assert weekly_expiry(dt.date(2025, 10, 21)) == dt.date(2025, 10, 28)


def test_indian_dates_and_times():
    """A day begins at 18:30 UTC."""
    midnight = at(dt.date(2026, 11, 20), dt.time(0, 0))
    assert ist_date(midnight) == dt.date(2026, 11, 20)
    assert ist_date(midnight - 1) == dt.date(2026, 11, 19)
    assert ist_text(midnight) == "00:00:00"


def test_lots_and_ticks():
    """Figures of 2026; a name without derivatives trades in ones."""
    assert [lot_size(n, dt.date(2026, 11, 20)) for n in ("NIFTY", "BANKNIFTY", "INFY")] == [65, 30, 1]
    assert [share_tick(p) for p in (100, 250, 1_500, 9_999, 12_000, 30_000)] == [0.01, 0.05, 0.10, 0.50, 1.0, 5.0]


@pytest.mark.parametrize(
    ("instrument", "side", "rupees", "total"),
    [
        # 1 lakh of shares sold: brokerage 20, STT 25, NSE 3.07, SEBI 0.10, GST 4.17
        (SHARE, Side.SELL, 100_000, 5234),
        (SHARE, Side.BUY, 100_000, 3 * 100 + 2000 + 307 + 10 + 417),
        # 10,000 of premium sold: brokerage 20, STT 15, NSE 3.55, SEBI 0.01, GST 4.24
        (OPTION, Side.SELL, 10_000, 2000 + 1500 + 355 + 1 + 424),
        # a lot of 65 at 0.05, a hedge on its last day: brokerage 20 all the same, GST 3.60
        (OPTION, Side.BUY, 3.25, 2000 + 360),
        (FUTURE, Side.SELL, 1_000_000, 2000 + 50_000 + 1830 + 100 + 707),
    ],
)
def test_charges_by_hand(instrument, side, rupees, total):
    """Worked by hand from MARKET's table, in paise."""
    assert order_charges(instrument, side, round(rupees * 100), dt.date(2026, 11, 20)).total == total


def test_unknown_instrument_suggests():
    """A wrong name is answered with near ones."""
    book = InstrumentBook([SHARE, FUTURE])
    assert book.find("INFY") is book.find("NSE:INFY") is SHARE
    with pytest.raises(UnknownInstrument, match=r"'NSE:INFI'.*NSE:INFY"):
        book.find("NSE:INFI")
    with pytest.raises(UnknownInstrument, match="EXCHANGE:TRADINGSYMBOL"):
        book.find("????")


def test_tags_are_valid_and_stable():
    """At most 20 alphanumeric characters, the same for the same request and slice, others for others."""
    name = request_id("s", 1, 2, "x")
    assert tag_for(name) == tag_for(name) != tag_for(name, 1)
    assert len(tag_for(name)) == 20
    assert tag_for(name).isalnum()


def test_sizing_rounds_down_to_lots():
    """A fraction of the capital at the close, in whole lots; nothing where it doesn't reach."""
    assert Sizing(fraction=0.5).quantity(100.0, 1_000_000, 1) == 5_000
    assert Sizing(fraction=1.0).quantity(24_000.0, 1_000_000, 65) == 0
    assert Sizing(lots=2).quantity(24_000.0, 0, 65) == 130
    assert Sizing(units=100).quantity(1.0, 0, 65) == 65
    with pytest.raises(ValueError, match="one positive value"):
        Sizing()


def test_strictest_state_wins():
    """Overrides combine strictest-wins."""
    assert strictest() is TradingState.ACTIVE
    assert strictest(TradingState.REDUCING, TradingState.ACTIVE) is TradingState.REDUCING
    assert strictest(TradingState.REDUCING, TradingState.HALTED) is TradingState.HALTED


@pytest.mark.parametrize("minutes", [1, 3, 5, 10, 15, 30, 60])
@pytest.mark.parametrize("instrument", [SHARE, FUTURE])
def test_flat_before_trading_ends(instrument, minutes):
    """Whatever the interval, the last candle that could still hold a position ends while its exit can be traded."""
    hours = market_hours(instrument, dt.date(2026, 11, 20))
    width = minutes * 60_000_000_000
    ends = range(hours.open + width, hours.close + 1, width)
    decisive = next(e for e in ends if e >= hours.flat_from(width))
    assert decisive < hours.close
    assert hours.flat_from(width) <= hours.square_off
